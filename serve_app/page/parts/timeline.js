/* The timeline below the player: where one is, what is missing, what it looks like there. */
import { duration, seconds } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { readStoryboard, tileAt } from "./storyboard.js";

export function Timeline({ recording, at, length, onSeek }) {
  const own = useRef(null);
  const [pointed, setPointed] = useState(null);
  const [tiles, setTiles] = useState(null);
  const isAsked = useRef(false);

  useEffect(() => {
    isAsked.current = false;
    setTiles(null);
  }, [recording.id, recording.completed_at]);

  function point(event) {
    const { left, width } = own.current.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - left) / width, 0), 1);
    setPointed({ share, at: share * length, width });
    if (!isAsked.current && recording.status === "completed" && recording.thumbnail_path) {
      isAsked.current = true;
      readStoryboard(`/recordings/${recording.id}/storyboard.vtt`).then(setTiles, () => {});
    }
  }
  const gaps = recording.gaps.filter((gap) => gap.start <= length);
  const percent = (value) => `${length ? Math.min(100, (100 * value) / length) : 0}%`;
  return html`<div class="timeline" ref=${own} onPointerMove=${point}
      onPointerLeave=${() => setPointed(null)}>
    ${pointed && length > 0 && html`<${Preview} pointed=${pointed} tiles=${tiles} gaps=${gaps} length=${length} />`}
    <div class="track"><div class="played" style=${{ width: percent(at) }}></div>
      ${gaps.map((gap) => html`<i class="gap" style=${{ left: percent(gap.start) }}></i>`)}</div>
    <input type="range" aria-label="Position" min="0" max=${Math.max(length, 1)} step="0.1"
      value=${at} aria-valuetext=${`${duration(at)} of ${duration(length)}`}
      onInput=${(event) => onSeek(Number(event.target.value))} />
  </div>`;
}

function Preview({ pointed, tiles, gaps, length }) {
  const tile = tiles && tileAt(tiles, pointed.at);
  const near = gaps.find((gap) => Math.abs(gap.start - pointed.at) < length / 80);
  const half = Math.max((tile?.width ?? 90) / 2, 60);
  const left = Math.min(Math.max(pointed.share * pointed.width, half), pointed.width - half);
  return html`<div class="preview" style=${{ left: `${left}px` }} aria-hidden="true">
    ${tile && html`<i style=${{
      width: `${tile.width}px`, height: `${tile.height}px`,
      backgroundImage: `url("${tile.url}")`, backgroundPosition: `-${tile.x}px -${tile.y}px`,
    }}></i>`}
    <span class="num">${duration(pointed.at)}</span>
    ${near && html`<span class="missing">${seconds(near.duration)} missing: ${near.reason}</span>`}
  </div>`;
}
