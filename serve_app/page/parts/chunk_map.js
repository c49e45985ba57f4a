/* The chunk map: a square for each planned chunk, in order. Thousands of them change while one
   looks, so squares are drawn by hand: only those that changed are touched. */
import { subscribe } from "../lib/events.js";
import { get } from "../lib/api.js";
import { bytes, count, duration, isFinal, seconds } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";

const STATES = [
  ["planned", "planned"], ["waiting", "waiting"], ["working", "at a worker"], ["done", "done"],
  ["partly", "done, media missing"], ["lost", "lost"],
];
const WORDS = Object.fromEntries(STATES);
/* Above this many, squares are small. */
const MANY = 600;

export function ChunkMap({ recording, onSeek }) {
  const own = useRef(null);
  const squares = useRef(null);
  const [chunks, setChunks] = useState(new Map());
  const [at, setAt] = useState(null);
  const [error, setError] = useState("");
  const [isLoaded, setLoaded] = useState(false);
  const isOver = useRef(false);
  isOver.current = isFinal(recording);
  const [isWatching, watch] = useState(!isOver.current);

  useEffect(() => {
    /* It goes on: its stream is back. */
    if (!isFinal(recording)) watch(true);
  }, [isFinal(recording)]);

  useEffect(() => {
    squares.current ??= new Squares(own.current);
    let isFirst = true;
    const take = (changed) => {
      const isWhole = isFirst;
      isFirst = false;
      setLoaded(true);
      if (isWhole) squares.current.keep(new Set(changed.map((chunk) => chunk.index)));
      squares.current.update(changed);
      setChunks((before) => {
        const after = new Map(isWhole ? [] : before);
        changed.forEach((chunk) => after.set(chunk.index, { ...chunk, toldAt: Date.now() }));
        return after;
      });
    };
    const path = `/recordings/${recording.id}/chunks`;
    if (!isWatching) {
      get(path).then(take, (e) => setError(e.message));
      return undefined;
    }
    /* The last state comes before the end of the events, whatever is heard of the recording. */
    return subscribe(`${path}/events`, { chunks: take }, () => {
      if (isOver.current) watch(false);
      return isOver.current;
    });
  }, [recording.id, isWatching]);

  const shown = at === null ? null : chunks.get(at);
  const counts = countBy(chunks.values());
  return html`<section class="card chunks" aria-labelledby="chunks-title">
    <h2 id="chunks-title">Chunks <span class="faint num">${chunks.size ? count(chunks.size) : ""}</span></h2>
    ${error && html`<p class="error">${error}</p>`}
    <div class="squares" ref=${own} role="listbox" aria-labelledby="chunks-title"
      data-size=${chunks.size > MANY ? "small" : null} hidden=${!chunks.size}
      onKeyDown=${(event) => move(event, own.current, chunks, onSeek)}
      onfocusin=${(event) => setAt(indexOf(event))} onfocusout=${() => setAt(null)}
      onMouseOver=${(event) => setAt(indexOf(event))} onMouseLeave=${() => setAt(null)}
      onClick=${(event) => seekTo(chunks.get(indexOf(event)), onSeek)}></div>
    ${!chunks.size && isLoaded && html`<p class="faint">${isFinal(recording)
      ? "Nothing is known of its chunks any more." : "No chunk is planned yet."}</p>`}
    ${chunks.size > 0 && html`<${Details} chunk=${shown} />`}
    <ul class="legend" aria-label="States">${STATES.map(([state, word]) => counts[state]
      ? html`<li key=${state}><i class="square" data-state=${state}></i>${word}
          <span class="num faint">${count(counts[state])}</span></li>` : "")}
      ${counts.retried ? html`<li><i class="square" data-state="done" data-retried></i>tried again
        <span class="num faint">${count(counts.retried)}</span></li>` : ""}</ul>
  </section>`;
}

class Squares {
  constructor(parent) {
    this.parent = parent;
    this.of = new Map();
  }

  /** A recording that is tried again has other chunks. */
  keep(indexes) {
    for (const [index, square] of this.of) {
      if (indexes.has(index)) continue;
      square.remove();
      this.of.delete(index);
    }
  }

  update(changed) {
    const added = document.createDocumentFragment();
    for (const chunk of changed) {
      let square = this.of.get(chunk.index);
      if (!square) {
        square = document.createElement("i");
        square.className = "square";
        square.setAttribute("role", "option");
        square.setAttribute("aria-selected", "false");
        square.tabIndex = this.of.size ? -1 : 0;
        square.dataset.index = chunk.index;
        this.of.set(chunk.index, square);
        added.append(square);
      }
      square.dataset.state = look(chunk);
      square.toggleAttribute("data-retried", chunk.tries > 1);
      square.setAttribute("aria-label", describe(chunk));
    }
    this.parent.append(added);
  }
}

const look = (chunk) => (chunk.state === "done" && chunk.lost_seconds > 0 ? "partly" : chunk.state);

function describe(chunk) {
  const from = chunk.start === null ? "" : `, from ${duration(chunk.start)}`;
  const tries = chunk.tries > 1 ? `, try ${chunk.tries}` : "";
  return `Chunk ${chunk.index}: ${WORDS[look(chunk)]}${from}${tries}`;
}

function countBy(chunks) {
  const counts = { retried: 0 };
  for (const chunk of chunks) {
    counts[look(chunk)] = (counts[look(chunk)] ?? 0) + 1;
    counts.retried += chunk.tries > 1;
  }
  return counts;
}

function indexOf(event) {
  const index = event.target.dataset?.index;
  return index === undefined ? null : Number(index);
}

const seekTo = (chunk, onSeek) => {
  if (chunk && chunk.start !== null && ["done", "lost"].includes(chunk.state)) onSeek(chunk.start);
};

/** One square has the focus; the arrows lead to its neighbours, also above and below. */
function move(event, parent, chunks, onSeek) {
  const all = [...parent.children];
  const now = all.indexOf(document.activeElement);
  const columns = getComputedStyle(parent).gridTemplateColumns.split(" ").length;
  const steps = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -now,
    End: all.length - 1 - now, PageDown: 10 * columns, PageUp: -10 * columns,
  };
  if (now < 0) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    seekTo(chunks.get(Number(all[now].dataset.index)), onSeek);
  } else if (event.key in steps) {
    event.preventDefault();
    const next = all[Math.min(Math.max(now + steps[event.key], 0), all.length - 1)];
    all[now].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

/** Of the square that one points at; always there, so that nothing moves. */
function Details({ chunk }) {
  const isTicking = Boolean(chunk) && chunk.since !== null;
  const [, tick] = useState(0);
  useEffect(() => {
    if (!isTicking) return undefined;
    const timer = setInterval(() => tick(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [isTicking]);
  if (!chunk) return html`<p class="details faint">Point at a chunk, or go there with the arrow keys.</p>`;
  const stages = Object.entries(chunk.stages).sort((a, b) => b[1] - a[1]).slice(0, 4);
  const facts = [
    chunk.start !== null && `${duration(chunk.start)} + ${seconds(chunk.seconds)}`,
    chunk.bytes && bytes(chunk.bytes),
    chunk.tries > 1 && `try ${chunk.tries}`,
    chunk.since !== null && `for ${seconds(chunk.since + (Date.now() - chunk.toldAt) / 1000)}`,
    chunk.worker && `${chunk.worker.replace("vodray:", "")}${chunk.node ? ` on ${chunk.node}` : ""}`,
    chunk.lost_seconds > 0 && `${seconds(chunk.lost_seconds)} missing: ${chunk.reasons.join("; ")}`,
    chunk.remedies.length && chunk.remedies.join("; "),
    stages.length && stages.map(([name, took]) => `${name} ${seconds(took)}`).join(", "),
  ];
  return html`<p class="details"><strong>Chunk ${chunk.index}</strong> ${WORDS[look(chunk)]}
    ${facts.filter(Boolean).map((fact) => html`<span class="num">${fact}</span>`)}</p>`;
}
