/* What is known of a recording, as tables. */
import { get } from "../lib/api.js";
import { bitRate, bytes, count, duration, instant, isFinal, seconds } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";

export function Facts({ recording }) {
  const { progress } = recording;
  return html`<section class="card" aria-labelledby="facts-title">
    <h2 id="facts-title">About</h2>
    <dl class="facts">
      <dt>Stream</dt><dd>${recording.stream_id}</dd>
      <dt>Started</dt><dd>${instant(recording.started_at)}</dd>
      ${recording.completed_at && html`<dt>Completed</dt><dd>${instant(recording.completed_at)}</dd>`}
      <dt>Duration</dt><dd class="num">${duration(recording.duration || null)}</dd>
      ${isFinal(recording)
        ? html`<dt>Size</dt><dd class="num">${bytes(recording.file_size)}</dd>`
        : html`<dt>Segments</dt><dd class="num">${count(progress.segments)}</dd>
          <dt>Made so far</dt><dd class="num">${duration(progress.seconds)}</dd>`}
      ${recording.user_id && html`<dt>User</dt><dd>${recording.user_id}</dd>`}
      ${recording.file_path && html`<dt>File</dt><dd class="path">${recording.file_path}</dd>`}
      <dt>Id</dt><dd class="path">${recording.id}</dd>
    </dl>
  </section>`;
}

export function Renditions({ recording }) {
  if (!recording.renditions.length) return null;
  return html`<section class="card" aria-labelledby="renditions-title">
    <h2 id="renditions-title">Renditions</h2>
    <div class="scroll" tabindex="0" role="region" aria-labelledby="renditions-title">
    <table>
      <thead><tr><th>Name</th><th>Picture</th><th class="right">Rate</th></tr></thead>
      <tbody>${recording.renditions.map((each) => html`<tr key=${each.name}>
        <td>${each.name}<br /><span class="path faint">${each.codecs}</span></td>
        <td class="num">${each.height ? `${each.width}×${each.height}` : "–"}${each.frame_rate
          ? html`<br /><span class="faint">${Math.round(each.frame_rate * 100) / 100}/s</span>` : ""}</td>
        <td class="num right">${bitRate(each.average_bandwidth)}</td></tr>`)}</tbody>
    </table></div>
  </section>`;
}

export function Gaps({ recording, onSeek }) {
  const { gaps } = recording;
  if (!gaps.length) return null;
  return html`<section class="card" aria-labelledby="gaps-title">
    <h2 id="gaps-title">Missing media <span class="faint num">${gaps.length}</span></h2>
    <div class="scroll" tabindex="0" role="region" aria-labelledby="gaps-title">
    <table>
      <thead><tr><th>At</th><th>Missing</th><th>Reason</th><th>Wall clock</th></tr></thead>
      <tbody>${gaps.map((gap) => html`<tr>
        <td><button class="link num" onClick=${() => onSeek(Math.max(0, gap.start - 2))}>${
          duration(gap.start)}</button></td>
        <td class="num">${seconds(gap.duration)}</td>
        <td>${gap.reason}</td>
        <td class="num">${gap.wall_clock ? instant(gap.wall_clock) : "–"}</td></tr>`)}</tbody>
    </table></div>
  </section>`;
}

export function Report({ recording }) {
  const [report, setReport] = useState(null);
  const [error, setError] = useState("");
  useEffect(() => {
    get(`/recordings/${recording.id}/report`).then(setReport, (e) => setError(e.message));
  }, [recording.id, recording.completed_at]);
  if (error) return html`<p class="error">${error}</p>`;
  if (!report) return html`<section class="card" aria-busy="true"><h2>Report</h2></section>`;
  const { frames_in: framesIn, frames_out: framesOut, checks = {}, timings_s: timings = {} } = report;
  const stages = Object.entries(timings.in_workers ?? {}).sort((a, b) => b[1] - a[1]);
  return html`<section class="card" aria-labelledby="report-title">
    <h2 id="report-title">Report</h2>
    <p class="verdict" data-good=${report.verified ? "yes" : null}>
      ${report.verified ? "Verified: every frame that came in is there." : "Not verified."}</p>
    <dl class="facts">
      <dt>Frames in / out</dt><dd class="num">${count(framesIn)} / ${count(framesOut)}</dd>
      <dt>Segments</dt><dd class="num">${count(report.segments)}${
        report.segments_lost ? html`, <span class="bad">${count(report.segments_lost)} lost</span>` : ""}</dd>
      <dt>Missing</dt><dd class="num">${seconds(sum(recording.gaps.map((gap) => gap.duration)))}</dd>
      ${checks.borders_decoded !== undefined && html`<dt>Borders decoded</dt>
        <dd class="num">${count(checks.borders_decoded)}${
          checks.borders_failed ? html`, <span class="bad">${checks.borders_failed} failed</span>` : ""}</dd>`}
      ${timings.total && html`<dt>Time it took</dt><dd class="num">${seconds(timings.total)}</dd>`}
    </dl>
    ${report.remedies?.length ? html`<h3>Remedies</h3><ul class="plain">${
      report.remedies.map((each) => html`<li>${each.remedy}</li>`)}</ul>` : ""}
    ${stages.length ? html`<h3>Workers' time</h3><${Bars} of=${stages} />` : ""}
    <p><a href=${`/recordings/${recording.id}/report`}>Whole report</a></p>
  </section>`;
}

/** Seconds by name, as a list and as bars. */
export function Bars({ of }) {
  const all = sum(of.map(([, value]) => value)) || 1;
  return html`<ul class="bars">${of.map(([name, value]) => html`<li key=${name}>
    <span>${name}</span>
    <span class="bar" aria-hidden="true"><i style=${{ width: `${(100 * value) / all}%` }}></i></span>
    <span class="num">${seconds(value)}</span></li>`)}</ul>`;
}

const sum = (values) => values.reduce((all, value) => all + value, 0);
