/* What the player plays: HLS by hls.js, or by the browser itself; the plain MP4 where there is no
   HLS. */

const HLS_JS = "/ui/vendor/hls.js/hls.min.js";
const CONFIG = {
  /* No scripts from blobs: the page needs none, so its policy need not allow any. */
  enableWorker: false,
  maxBufferLength: 20,
  backBufferLength: 30,
};
let loading = null;

export class Source {
  /** `told`: `setLevels` gets names of qualities, `setError` what is wrong. */
  constructor(video, recording, isLive, told) {
    this.video = video;
    this.told = told;
    this.path = `/recordings/${recording.id}`;
    this.playlist = `${this.path}/${isLive ? "live.m3u8" : "hls/master.m3u8"}`;
    this.isLive = isLive;
    this.hls = null;
    this.opening = null;
    this.isClosed = false;
  }

  /** Resolves once something can be played; `at`: where it begins. */
  open(at) {
    return (this.opening ??= this.#open(at));
  }

  choose(level) {
    if (this.hls) this.hls.nextLevel = level;
  }

  close() {
    this.isClosed = true;
    this.hls?.destroy();
    if (this.opening) {
      this.video.removeAttribute("src");
      this.video.load();
    }
  }

  async #open(at) {
    this.told.setError("");
    const Hls = await library();
    if (this.isClosed) return;
    if (!Hls?.isSupported()) {
      await this.#plain(this.playlist, at);
      return;
    }
    const hls = (this.hls = new Hls({ ...CONFIG, ...(at !== undefined && { startPosition: at }) }));
    hls.on(Hls.Events.MANIFEST_PARSED, () => this.told.setLevels(hls.levels.map(nameOf)));
    const problem = new Promise((resolve) => {
      hls.on(Hls.Events.ERROR, (_, data) => data.fatal && resolve(data));
    });
    const ready = new Promise((resolve) => {
      this.video.addEventListener("loadedmetadata", () => resolve(null), { once: true });
    });
    hls.loadSource(this.playlist);
    hls.attachMedia(this.video);
    const wrong = await Promise.race([ready, problem]);
    if (wrong) await this.#instead(wrong, at);
    else problem.then((data) => this.#recover(Hls, data));
  }

  async #instead(wrong, at) {
    this.hls.destroy();
    this.hls = null;
    if (!this.isLive) return this.#plain(`${this.path}/stream`, at);
    this.#fail(wrong.response?.code === 404
      ? "Nothing can be played yet." : "What is recorded so far cannot be loaded.");
  }

  /** By the browser itself. */
  #plain(url, at) {
    return new Promise((resolve) => {
      this.video.addEventListener("loadedmetadata", resolve, { once: true });
      this.video.addEventListener("error", () => {
        if (!this.isClosed) this.#fail("This recording cannot be played here.");
        resolve();
      }, { once: true });
      this.video.src = at ? `${url}#t=${at}` : url;
      this.video.load();
    });
  }

  /** Once: a decoder may stumble, and a server be away for a moment. */
  #recover(Hls, data) {
    if (this.isClosed) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR) this.hls.recoverMediaError();
    else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) this.hls.startLoad();
    else this.#fail("Playback broke off.");
  }

  #fail(message) {
    this.opening = null;
    this.told.setError(message);
  }
}

const nameOf = (level) => (level.height ? `${level.height}p` : `${Math.round(level.bitrate / 1000)} kbit/s`);

function library() {
  return (loading ??= new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = HLS_JS;
    script.onload = () => resolve(globalThis.Hls);
    script.onerror = () => resolve(null);
    document.head.append(script);
  }));
}
