/* Recording by hand: where a stream's playlist is becomes a task. */
import { call } from "../lib/api.js";
import { html } from "../lib/html.js";
import { FormDialog } from "./dialog.js";

export function RecordDialog({ config, onClose, onDone }) {
  async function submit({ source, name, profile }) {
    const path = source.trim().replace(/^s3:\/\//, "");
    const stream = name.trim() || nameFor(path);
    await call("POST", "/webhook/stream", {
      mayAsk: config.auth && !config.webhooks_signed,
      body: {
        event: "stream.started", stream_id: stream, stream_key: stream, hls_path: path,
        ...(profile ? { profile } : {}),
      },
    });
    onDone(stream);
  }
  return html`<${FormDialog} title="Record a stream" submit="Record" onSubmit=${submit}
      onClose=${onClose}>
    <label>Playlist
      <input name="source" required autofocus spellcheck="false" autocomplete="off"
        placeholder="s3://hls-streams/webinar/stream.m3u8" /></label>
    <p class="hint">In the bucket of live streams, or the URL of an allowed host. A live stream is
      followed until it ends; one that has ended is recorded whole.</p>
    <label>Stream <input name="name" autocomplete="off" spellcheck="false"
      placeholder="from the playlist's folder" /></label>
    <label>Profile <select name="profile">
      <option value="">${config.profile} (default)</option>
      ${config.profiles.filter((each) => each !== config.profile)
        .map((each) => html`<option value=${each}>${each}</option>`)}
    </select></label>
    ${config.webhooks_signed && html`<p class="hint">Tasks must be signed here
      (<code>WEBHOOK_SECRET</code>), which this page cannot do.</p>`}
  <//>`;
}

/** The playlist's folder, as streams are named in the bucket. */
function nameFor(path) {
  const parts = path.split(/[?#]/)[0].split("/").filter(Boolean);
  const folder = parts.length > 1 ? parts[parts.length - 2] : parts[0];
  return (folder ?? "stream").replace(/\.m3u8$/, "").slice(0, 200);
}
