/* One recording: while it is made, and what has become of it. */
import { ApiError, call, get } from "../lib/api.js";
import { onRecordings } from "../lib/events.js";
import { isFinal, nameOf } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { ChunkMap } from "../parts/chunk_map.js";
import { FormDialog } from "../parts/dialog.js";
import { Facts, Gaps, Renditions, Report } from "../parts/facts.js";
import { Player } from "../parts/player.js";
import { Status } from "../parts/status.js";

export function RecordingView({ id, say }) {
  const { recording, error, update } = useRecording(id);
  const [dialog, setDialog] = useState(null);
  const player = useRef(null);

  useEffect(() => {
    document.title = `${recording ? nameOf(recording) : "Recording"} – vodray`;
  }, [recording]);

  if (!recording) {
    return html`<nav class="back"><a href="#/">All recordings</a></nav>
      <h1>Recording</h1>
      ${error ? html`<p class="error" role="alert">${error}</p>` : html`<p aria-busy="true">…</p>`}`;
  }
  const close = () => setDialog(null);
  const seek = (at) => player.current?.(at);
  return html`
    <nav class="back"><a href="#/">All recordings</a></nav>
    <div class="head">
      <h1>${nameOf(recording)}</h1>
      <span aria-live="polite"><${Status} recording=${recording} /></span>
      <${Actions} recording=${recording} say=${say} onDialog=${setDialog} onChange=${update} />
    </div>
    ${recording.error && html`<p class="error">${recording.error}</p>`}
    <div class="columns">
      <div>
        ${recording.status !== "failed" && html`<${Player} recording=${recording} seeker=${player} />`}
        <${ChunkMap} recording=${recording} onSeek=${seek} />
        <${Gaps} recording=${recording} onSeek=${seek} />
      </div>
      <div>
        <${Facts} recording=${recording} />
        <${Renditions} recording=${recording} />
        ${recording.status === "completed" && html`<${Report} recording=${recording} />`}
      </div>
    </div>
    ${dialog === "rename" && html`<${Rename} recording=${recording} onClose=${close}
      onDone=${(renamed) => { update(renamed); close(); }} />`}
    ${dialog === "delete" && html`<${Delete} recording=${recording} onClose=${close}
      onDone=${() => { say(`${nameOf(recording)} is deleted`); location.hash = "#/"; }} />`}
    ${dialog === "cancel" && html`<${Cancel} recording=${recording} onClose=${close}
      onDone=${() => { say("Cancelled"); close(); update(); }} />`}`;
}

/** As it is, and as it changes. */
function useRecording(id) {
  const [state, setState] = useState({ recording: null, error: "" });
  async function update(known) {
    try {
      const recording = known ?? (await get(`/recordings/${id}`)).recording;
      setState({ recording, error: "" });
    } catch (error) {
      if (error.status === 404) setState({ recording: null, error: error.message });
      else setState((before) => ({ ...before, error: error.message }));
    }
  }
  useEffect(() => {
    update();
    return onRecordings({
      changed: (recording) => recording.id === id && setState({ recording, error: "" }),
      gone: (deleted) => deleted === id
        && setState({ recording: null, error: "This recording is deleted" }),
      again: () => update(),
    });
  }, [id]);
  return { ...state, update };
}

function Actions({ recording, say, onDialog, onChange }) {
  const path = `/recordings/${recording.id}`;
  const trying = (work) => async () => {
    try {
      await work();
    } catch (error) {
      say(error.message);
    }
  };
  const download = trying(async () => {
    const link = document.createElement("a");
    Object.assign(link, { href: (await get(`${path}/url`)).url, target: "_blank", rel: "noopener" });
    link.click();
  });
  const copy = trying(async () => {
    await navigator.clipboard.writeText((await get(`${path}/url`)).url);
    say("The link is copied; it works for a while, for whoever has it");
  });
  const retry = trying(async () => {
    await call("POST", `${path}/retry`);
    say("It is tried again");
    await onChange();
  });
  const keep = trying(async () => {
    const told = await call("PATCH", path, { body: { keep: !recording.keep } });
    await onChange(told.recording);
  });
  const { status } = recording;
  return html`<div class="actions">
    ${status === "completed" && html`<button onClick=${download}>Download</button>
      <button onClick=${copy}>Copy link</button>
      <button onClick=${keep} aria-pressed=${recording.keep ? "true" : "false"}
        title="Do not delete it for its age">Keep</button>`}
    ${status === "failed" && html`<button class="primary" onClick=${retry}>Retry</button>`}
    ${!isFinal(recording) && html`<button onClick=${() => onDialog("cancel")}>Cancel</button>`}
    <button onClick=${() => onDialog("rename")}>Rename</button>
    ${isFinal(recording) && html`<button class="quiet danger" onClick=${() => onDialog("delete")}>Delete</button>`}
  </div>`;
}

function Rename({ recording, onClose, onDone }) {
  async function submit({ title }) {
    const told = await call("PATCH", `/recordings/${recording.id}`, { body: { title: title.trim() } });
    onDone(told.recording ?? { ...recording, title: title.trim() });
  }
  return html`<${FormDialog} title="Rename" submit="Rename" onSubmit=${submit} onClose=${onClose}>
    <label>Title <input name="title" defaultValue=${recording.title ?? ""} maxlength="200" autofocus
      autocomplete="off" /></label>
  <//>`;
}

function Delete({ recording, onClose, onDone }) {
  async function submit() {
    try {
      await call("DELETE", `/recordings/${recording.id}`);
    } catch (error) {
      /* Somebody else was faster. */
      if (!(error instanceof ApiError && error.status === 404 && /not found/i.test(error.message))
        || (await isThere(recording))) throw error;
    }
    onDone();
  }
  return html`<${FormDialog} title="Delete this recording?" submit="Delete" danger onSubmit=${submit}
      onClose=${onClose}>
    <p>${nameOf(recording)} and its files are removed for good.</p>
  <//>`;
}

async function isThere(recording) {
  try {
    await get(`/recordings/${recording.id}`);
    return true;
  } catch {
    return false;
  }
}

function Cancel({ recording, onClose, onDone }) {
  async function submit() {
    await call("POST", `/recordings/${recording.id}/cancel`);
    onDone();
  }
  return html`<${FormDialog} title="Cancel this recording?" submit="Stop and discard" danger
      onSubmit=${submit} onClose=${onClose}>
    <p>What is recorded so far of ${nameOf(recording)} is discarded.</p>
  <//>`;
}
