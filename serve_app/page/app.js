/* The frame around all views: where one is, who one is, what is said aloud. */
import { get } from "./lib/api.js";
import { useRoute } from "./lib/hooks.js";
import { html, render, useCallback, useEffect, useRef, useState } from "./lib/html.js";
import { useSession } from "./parts/login.js";
import { RecordDialog } from "./parts/record.js";
import { ListView } from "./views/list.js";
import { RecordingView } from "./views/recording.js";
import { WorkersView } from "./views/workers.js";

const TOAST_MS = 6000;

function App({ config }) {
  const route = useRoute();
  const main = useRef();
  const isFirst = useRef(true);
  const { dialog, session, logOut } = useSession(config.auth);
  const [isRecording, setRecording] = useState(false);
  const [said, say] = useToast();
  const [section, id] = route.path;

  useEffect(() => {
    /* Another view begins at its top, for readers of screens as well. */
    if (!isFirst.current) {
      scrollTo(0, 0);
      main.current.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [section, id]);

  const view = section === "recordings" && id
    ? html`<${RecordingView} key=${id} id=${id} say=${say} />`
    : section === "workers"
      ? html`<${WorkersView} config=${config} />`
      : html`<${ListView} query=${route.query} />`;

  return html`
    <a class="skip" href="#main" onClick=${(event) => {
      event.preventDefault();
      main.current.focus();
    }}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/" aria-label="vodray"><img src="/ui/icon.svg" alt="" width="22" height="22" /><span>vodray</span></a>
      <nav aria-label="Main">
        <a href="#/" aria-current=${!section || section === "recordings" ? "page" : null}>Recordings</a>
        <a href="#/workers" aria-current=${section === "workers" ? "page" : null}>Workers</a>
      </nav>
      <div class="right">
        ${session?.scopes?.length > 0 && html`<button class="quiet" onClick=${logOut}>Sign out${
          session.user_id ? html`<span class="wide"> ${session.user_id}</span>` : ""}</button>`}
        <button class="primary" onClick=${() => setRecording(true)}>Record</button>
      </div>
    </header>
    <main id="main" ref=${main} tabindex="-1">${view}</main>
    <footer class="bottom">
      <span>vodray ${config.version}</span>
      <a href="/docs">API</a>
      ${config.dashboard_url && html`<a href=${config.dashboard_url}>Ray dashboard</a>`}
      ${config.grafana_url && html`<a href=${config.grafana_url}>Grafana</a>`}
    </footer>
    <div class="toast" role="status" data-shown=${said ? "yes" : null}>${said}</div>
    ${isRecording && html`<${RecordDialog} config=${config} onClose=${() => setRecording(false)}
      onDone=${(stream) => { setRecording(false); say(`${stream} will be recorded`); }} />`}
    ${dialog}`;
}

/** One sentence at a time, gone after a while. */
function useToast() {
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  const say = useCallback((text) => {
    clearTimeout(timer.current);
    setSaid(text);
    timer.current = setTimeout(() => setSaid(""), TOAST_MS);
  }, []);
  return [said, say];
}

const root = document.getElementById("app");
try {
  render(html`<${App} config=${await get("/ui/config.json")} />`, root);
} catch (error) {
  render(html`<main><h1>vodray</h1><p class="error" role="alert">${error.message}</p></main>`, root);
}
