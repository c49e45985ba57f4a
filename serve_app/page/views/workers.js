/* The workers: who does what, how much is made, and whether all parts of the service are well. */
import { get } from "../lib/api.js";
import { bytes, count, duration, seconds } from "../lib/format.js";
import { useEvery } from "../lib/hooks.js";
import { html, useEffect, useState } from "../lib/html.js";

const EVERY_MS = 2000;
const SLOTS = 2;
const KINDS = {
  look: "first look", chunk: "chunk", fill: "filling gaps", join: "joining a part", poster: "poster",
  sheet: "storyboard",
};

export function WorkersView({ config }) {
  const [told, setTold] = useState(null);
  const [health, setHealth] = useState(null);
  useEffect(() => { document.title = "Workers – vodray"; }, []);
  useEvery(EVERY_MS, async () => {
    try {
      setTold(await get("/workers"));
    } catch (error) {
      setTold({ error: error.message });
    }
  });
  useEvery(5 * EVERY_MS, async () => setHealth(await readHealth()));

  return html`
    <div class="head"><h1>Workers</h1>
      <div class="actions">
        ${config.dashboard_url && html`<a class="button" href=${config.dashboard_url}>Ray dashboard</a>`}
        ${config.grafana_url && html`<a class="button" href=${config.grafana_url}>Grafana</a>`}
      </div></div>
    ${health && html`<p class="verdict" data-good=${health.isWell ? "yes" : null}>${health.text}</p>`}
    ${told?.error && html`<p class="error" role="alert">${told.error}</p>`}
    ${told?.recent && html`<${Tiles} told=${told} />`}
    ${told?.workers && html`<section class="card" aria-labelledby="workers-title">
      <h2 id="workers-title">At work</h2>
      ${told.workers.length ? html`<div class="scroll" tabindex="0" role="region"
        aria-labelledby="workers-title"><table>
        <thead><tr><th>Worker</th><th>Now</th><th class="right">Chunks</th>
          <th class="right">Media</th><th class="right">Bytes</th></tr></thead>
        <tbody>${told.workers.map((worker) => html`<${Worker} key=${worker.name} worker=${worker} />`)}
        </tbody></table></div>` : html`<p class="empty">No worker answers.</p>`}
    </section>`}`;
}

function Worker({ worker }) {
  return html`<tr>
    <td>${worker.name.replace("vodray:", "")}<br /><span class="faint">${worker.node ?? ""}</span></td>
    <td>${worker.jobs.length ? worker.jobs.map((job) => html`<div>
        <${Job} job=${job} />
        <span class="num faint"> ${seconds(job.seconds)}${
          job.tries > 1 ? `, try ${job.tries}` : ""}</span></div>`)
      : html`<span class="faint">idle</span>`}</td>
    <td class="num right">${count(worker.chunks)}</td>
    <td class="num right">${duration(worker.seconds)}</td>
    <td class="num right">${bytes(worker.bytes)}</td>
  </tr>`;
}

/** Whose recording it is, only an admin is told. */
function Job({ job }) {
  const what = `${KINDS[job.kind] ?? job.kind}${job.chunk === null ? "" : ` ${job.chunk}`}`;
  return job.recording_id ? html`<a href=${`#/recordings/${job.recording_id}`}>${what}</a>` : what;
}

function Tiles({ told }) {
  const { recent } = told;
  const busy = told.workers.reduce((all, worker) => all + worker.jobs.length, 0);
  const tiles = [
    ["Jobs at workers", `${busy} / ${told.workers.length * SLOTS}`],
    ["Waiting", count(told.waiting)],
    ["Chunks, last minute", count(recent.chunks)],
    ["Speed", `${(recent.seconds / recent.window_seconds).toFixed(1)}×`],
    ["Written, last minute", bytes(recent.bytes)],
  ];
  return html`<dl class="tiles">${tiles.map(([name, value]) => html`<div key=${name}>
    <dt>${name}</dt><dd class="num">${value}</dd></div>`)}</dl>`;
}

/** 503 is an answer here: it says what is wrong. */
async function readHealth() {
  try {
    const told = await (await fetch("/health")).json();
    if (told.status === "healthy") return { isWell: true, text: "PostgreSQL, S3 and workers answer." };
    const bad = Object.entries(told.checks ?? {}).filter(([, said]) => said !== "ok");
    return { isWell: false, text: bad.map(([part, said]) => `${part}: ${said}`).join("; ") };
  } catch {
    return { isWell: false, text: "The service cannot be reached." };
  }
}
