/* The recordings: searched, filtered, page by page, and changing while one looks. */
import { get } from "../lib/api.js";
import { onRecordings } from "../lib/events.js";
import { bytes, count, duration, instant, isFinal, nameOf } from "../lib/format.js";
import { useEvery, useSettled } from "../lib/hooks.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Poster, Status, STATUSES } from "../parts/status.js";

const PAGE = 50;
/* That the service answers at once. */
const MOST = 1000;
const TYPING_MS = 250;

export function ListView({ query }) {
  const [text, setText] = useState(query.get("q") ?? "");
  const [status, setStatus] = useState(query.get("status") ?? "");
  const q = useSettled(text.trim(), TYPING_MS);
  const { items, next, error, isLoading, more } = useRecordings(q, status);

  useEffect(() => {
    document.title = "Recordings – vodray";
    const kept = new URLSearchParams({ ...(q && { q }), ...(status && { status }) });
    history.replaceState(null, "", `#/${kept.size ? `?${kept}` : ""}`);
  }, [q, status]);

  return html`
    <div class="head">
      <h1>Recordings</h1>
      <${Overview} />
    </div>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <input type="search" aria-label="Search title or stream" placeholder="Search title or stream"
        value=${text} onInput=${(event) => setText(event.target.value)} />
      <select aria-label="State" value=${status} onChange=${(event) => setStatus(event.target.value)}>
        <option value="">All states</option>
        ${STATUSES.map(([value, word]) => html`<option value=${value}>${word}</option>`)}
      </select>
    </form>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    <ul class="rows" aria-busy=${isLoading} aria-label="Recordings">
      ${items.map((recording) => html`<${Row} key=${recording.id} recording=${recording} />`)}
    </ul>
    ${!isLoading && !items.length && !error && html`<${Empty} isFiltered=${q || status} />`}
    ${next && html`<${More} onMore=${more} isLoading=${isLoading} />`}`;
}

function Row({ recording }) {
  const { progress, status } = recording;
  const done = progress.chunks_total ? progress.chunks_done / progress.chunks_total : 0;
  return html`<li><a class="row" href=${`#/recordings/${recording.id}`}>
    <${Poster} recording=${recording} />
    <span class="what">
      <strong>${nameOf(recording)}</strong>
      <span class="meta">${recording.title && html`<span>${recording.stream_id}</span>`}
        <span>${instant(recording.started_at)}</span></span>
      ${recording.error && html`<span class="meta bad">${recording.error}</span>`}
    </span>
    <span class="numbers">
      <span class="num">${duration(recording.duration || null)}</span>
      <span class="num faint">${isFinal(recording)
        ? recording.file_size > 0 && bytes(recording.file_size)
        : `${count(progress.chunks_done)}/${count(progress.chunks_total)} chunks`}</span>
    </span>
    <${Status} recording=${recording} />
    ${!isFinal(recording) && html`<progress value=${done} max="1"
      aria-label=${`Chunks done of ${nameOf(recording)}`} data-status=${status}></progress>`}
  </a></li>`;
}

function Empty({ isFiltered }) {
  return html`<p class="empty">${isFiltered
    ? "Nothing matches."
    : html`Nothing is recorded yet. A webhook, a Kafka message or the button Record begins.`}</p>`;
}

/** Loads the next page when it is scrolled to; a button as well, for keyboards. */
function More({ onMore, isLoading }) {
  const own = useRef();
  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && onMore(),
      { rootMargin: "400px" });
    seen.observe(own.current);
    return () => seen.disconnect();
  });
  return html`<p class="more" ref=${own}>
    <button onClick=${onMore} disabled=${isLoading}>Show more</button></p>`;
}

/** What all workers do, in one line. */
function Overview() {
  const [told, setTold] = useState(null);
  useEvery(5000, async () => {
    try {
      setTold(await get("/workers"));
    } catch {
      setTold(null);
    }
  });
  if (!told) return html`<p class="overview"></p>`;
  const busy = told.workers.filter((worker) => worker.jobs.length).length;
  const speed = told.recent.seconds / told.recent.window_seconds;
  return html`<p class="overview"><a href="#/workers">${told.workers.length
    ? `${busy} of ${told.workers.length} workers busy` : "no workers answer"}</a>${
    speed >= 0.1 ? html`<span class="num">${speed.toFixed(1)}× real time</span>` : ""}</p>`;
}

function useRecordings(q, status) {
  const [state, setState] = useState({ items: [], next: null, isLoading: true, error: "" });
  const asked = useRef(null);
  const shown = useRef(0);
  shown.current = state.items.length;

  async function load(cursor, count = PAGE) {
    asked.current?.abort();
    const own = (asked.current = new AbortController());
    setState((before) => ({ ...before, isLoading: true, error: "" }));
    const parameters = new URLSearchParams({
      limit: count, ...(q && { q }), ...(status && { status }), ...(cursor && { cursor }),
    });
    try {
      const page = await get(`/recordings?${parameters}`, { signal: own.signal });
      setState((before) => ({
        items: cursor ? merged(before.items, page.recordings) : page.recordings,
        next: page.next_cursor ?? null, isLoading: false, error: "",
      }));
    } catch (error) {
      if (error.name === "AbortError") return;
      setState((before) => ({ ...before, isLoading: false, error: error.message }));
    }
  }

  useEffect(() => {
    load(null);
    return () => asked.current?.abort();
  }, [q, status]);
  useEffect(() => onRecordings({
    changed: (recording) => setState((before) => ({
      ...before, items: withNews(before, recording, q, status),
    })),
    gone: (id) => setState((before) => ({
      ...before, items: before.items.filter((each) => each.id !== id),
    })),
    again: () => load(null, Math.min(Math.max(PAGE, shown.current), MOST)),
  }), [q, status]);
  return { ...state, more: () => state.isLoading || load(state.next) };
}

const merged = (items, more) => {
  const known = new Set(items.map((each) => each.id));
  return [...items, ...more.filter((each) => !known.has(each.id))];
};

/** The list with what was just told of one recording; older ones than are shown come by paging. */
function withNews({ items, next, isLoading }, recording, q, status) {
  const fits = !status || recording.status === status;
  const at = items.findIndex((each) => each.id === recording.id);
  if (at >= 0) return fits ? items.with(at, recording) : items.toSpliced(at, 1);
  const [newest, last] = [items[0], items[items.length - 1]];
  const isOlder = next && last && (recording.started_at < last.started_at
    || (isFinal(recording) && recording.started_at < newest.started_at));
  if (!fits || isOlder || (isLoading && !items.length) || !isFound(recording, q)) return items;
  const before = items.findIndex((each) => each.started_at <= recording.started_at);
  return items.toSpliced(before < 0 ? items.length : before, 0, recording);
}

const isFound = (recording, q) => [recording.title, recording.stream_id, recording.id]
  .some((text) => text?.toLowerCase().includes(q.toLowerCase()));
