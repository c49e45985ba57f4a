/* What several parts of the page need again and again. */
import { useEffect, useRef, useState } from "./html.js";

/** Where one is: `{path: ["recordings", id], query: URLSearchParams}`, from the part behind `#`. */
export function useRoute() {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const changed = () => setRoute(readRoute());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function readRoute() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean), query: new URLSearchParams(query) };
}

/** Calls `work` now and every `everyMs` while the page is seen. */
export function useEvery(everyMs, work) {
  const latest = useRef(work);
  latest.current = work;
  useEffect(() => {
    let isOver = false;
    let timer = 0;
    const turn = async () => {
      if (!document.hidden) await latest.current();
      if (!isOver) timer = setTimeout(turn, everyMs);
    };
    turn();
    return () => { isOver = true; clearTimeout(timer); };
  }, [everyMs]);
}

/** The value once it has stayed the same for a moment. */
export function useSettled(value, ms) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
