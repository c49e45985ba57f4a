/* A recording's state: a shape and a word, never a colour alone. */
import { html } from "../lib/html.js";

const WORDS = {
  recording: "Recording", processing: "Finishing", completed: "Completed", failed: "Failed",
};

export const STATUSES = Object.entries(WORDS);

export function Status({ recording }) {
  const { status, gaps } = recording;
  const more = status === "completed" && gaps.length
    ? `, ${gaps.length} ${gaps.length === 1 ? "gap" : "gaps"}` : "";
  return html`<span class="status" data-status=${status}><i aria-hidden="true"></i>${
    WORDS[status] ?? status}${more}</span>`;
}

/** A picture, or a calm place for one. */
export function Poster({ recording }) {
  const src = recording.thumbnail_path && `/recordings/${recording.id}/thumbnail`;
  const fail = (event) => event.currentTarget.remove();
  return html`<span class="poster" aria-hidden="true">
    <svg viewBox="0 0 24 24"><path d="M4 6h16v12H4zM10 9.5v5l4.5-2.5z"/></svg>
    ${src && html`<img src=${src} alt="" loading="lazy" onError=${fail} />`}
  </span>`;
}
