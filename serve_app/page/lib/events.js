/* Server-sent events. A browser allows few connections to one server, so pages that nobody sees
   hold none. */
import { get } from "./api.js";

const RETRY_MS = 5000;

/** `handlers`: by name of the event. `isOver`: whether the server has ended it for good. `again`: is
 * called after a break, in which nothing was heard. Returns what ends it. */
export function subscribe(path, handlers, isOver = () => false, again = () => {}) {
  let source = null;
  let timer = 0;
  let isClosed = false;
  let wasOpen = false;

  function drop() {
    source?.close();
    source = null;
    clearTimeout(timer);
  }

  function open() {
    if (isClosed || source || document.hidden) return;
    source = new EventSource(path);
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    source.onopen = () => {
      if (wasOpen) again();
      wasOpen = true;
    };
    source.onerror = () => {
      if (isOver()) return drop();
      /* Refused; while it is only broken off, the browser tries again by itself. */
      if (source?.readyState === EventSource.CLOSED) {
        drop();
        timer = setTimeout(retry, RETRY_MS);
      }
    };
  }

  async function retry() {
    try {
      /* Asks for a token if that is what is missing. */
      await get("/recordings?limit=1");
    } catch { /* Tried again below. */ }
    open();
  }

  function seen() {
    if (document.hidden) drop();
    else open();
  }

  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    isClosed = true;
    document.removeEventListener("visibilitychange", seen);
    drop();
  };
}

const listeners = new Set();
let close = null;

/** `told`: `changed(recording)`, `gone(id)` and, after a break, `again()`. One connection for all. */
export function onRecordings(told) {
  const tell = (what, value) => listeners.forEach((each) => each[what](value));
  listeners.add(told);
  close ??= subscribe("/events", {
    recording: (recording) => tell("changed", recording),
    deleted: ({ id }) => tell("gone", id),
  }, undefined, () => tell("again"));
  return () => listeners.delete(told);
}
