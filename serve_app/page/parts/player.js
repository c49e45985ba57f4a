/* The player: what is recorded so far while it goes on, the finished recording afterwards. It loads
   nothing until somebody plays or seeks. */
import { isFinal, duration } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Source } from "./source.js";
import { Timeline } from "./timeline.js";

const LIVE_EDGE_S = 15;

export function Player({ recording, seeker }) {
  const video = useRef(null);
  const box = useRef(null);
  const source = useRef(null);
  const kept = useRef(null);
  const [state, setState] = useState({ at: 0, length: 0, isPaused: true, isMuted: false });
  const [levels, setLevels] = useState([]);
  const [error, setError] = useState("");
  const isLive = !isFinal(recording);

  useEffect(() => {
    const own = (source.current = new Source(video.current, recording, isLive, { setLevels, setError }));
    setError("");
    setLevels([]);
    /* A stream that ends while one looks goes on as a recording, at the same place. */
    const { at, isPlaying } = kept.current ?? {};
    if (kept.current) own.open(at).then(() => isPlaying && video.current?.play().catch(() => {}));
    return () => {
      const { currentTime, paused } = video.current ?? {};
      kept.current = own.opening ? { at: currentTime, isPlaying: !paused } : null;
      own.close();
    };
  }, [recording.id, isLive, recording.completed_at]);

  function look() {
    const { currentTime, duration: length, paused, muted } = video.current;
    setState({
      at: currentTime, length: Number.isFinite(length) ? length : 0, isPaused: paused, isMuted: muted,
    });
  }
  async function toggle() {
    if (!video.current.paused) return video.current.pause();
    await source.current.open();
    return video.current.play().catch(() => {});
  }
  async function seek(at) {
    await source.current.open(at);
    video.current.currentTime = at;
  }
  seeker.current = async (at) => {
    await seek(at);
    box.current.scrollIntoView({ block: "nearest" });
  };
  const full = () => (document.fullscreenElement
    ? document.exitFullscreen() : box.current.requestFullscreen());
  const length = state.length || recording.duration;
  const isBehind = isLive && state.length > 0 && state.length - state.at > LIVE_EDGE_S;
  const keys = { k: toggle, f: full, m: () => { video.current.muted = !video.current.muted; } };

  return html`<section class="player" ref=${box} aria-label="Player" onKeyDown=${(event) => {
      if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
      keys[event.key]?.();
    }}>
    <div class="screen" onClick=${toggle}>
      <video ref=${video} playsinline preload="none" crossorigin="anonymous"
        poster=${recording.thumbnail_path ? `/recordings/${recording.id}/thumbnail` : null}
        onTimeUpdate=${look} onDurationChange=${look} onPlay=${look} onPause=${look}
        onVolumeChange=${look} onSeeking=${look}></video>
      ${state.isPaused && !error && html`<span class="big" aria-hidden="true">
        <svg viewBox="0 0 24 24"><path d="M7 4v16l13-8z"/></svg></span>`}
      ${error && html`<p class="broken" role="alert">${error}</p>`}
    </div>
    <${Timeline} recording=${recording} at=${state.at} length=${length} onSeek=${seek} />
    <div class="controls">
      <${Icon} name=${state.isPaused ? "play" : "pause"} label=${state.isPaused ? "Play" : "Pause"}
        onClick=${toggle} />
      <${Icon} name=${state.isMuted ? "muted" : "sound"} label=${state.isMuted ? "Unmute" : "Mute"}
        onClick=${keys.m} />
      <span class="num clock">${duration(state.at)} / ${duration(length)}</span>
      ${isLive && html`<button class="live" disabled=${!isBehind}
        onClick=${() => seek(Math.max(0, state.length - 6))}>Live</button>`}
      <span class="space"></span>
      ${levels.length > 1 && html`<label class="quality"><span class="hidden">Quality</span>
        <select onChange=${(event) => source.current.choose(Number(event.target.value))}>
          <option value="-1">Auto</option>
          ${levels.map((level, n) => html`<option value=${n}>${level}</option>`)}
        </select></label>`}
      <${Icon} name="full" label="Full screen" onClick=${full} />
    </div>
  </section>`;
}

const PATHS = {
  play: "M7 4v16l13-8z",
  pause: "M6 4h4v16H6zM14 4h4v16h-4z",
  sound: "M4 9v6h4l5 4V5L8 9zM16 8a5 5 0 0 1 0 8M18.5 5.5a9 9 0 0 1 0 13",
  muted: "M4 9v6h4l5 4V5L8 9zM16 9l5 6M21 9l-5 6",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
};

function Icon({ name, label, onClick }) {
  return html`<button class="icon" data-line=${name in { full: 1, sound: 1, muted: 1 } ? "yes" : null}
    aria-label=${label} title=${label} onClick=${onClick}>
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg></button>`;
}
