/* Dialogs: native ones, which keep the focus, close on Escape and give the focus back. */
import { html, useLayoutEffect, useRef, useState } from "../lib/html.js";

export function Dialog({ title, onClose, children }) {
  const own = useRef();
  useLayoutEffect(() => {
    const dialog = own.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const outside = (event) => event.target === own.current && onClose();
  return html`<dialog ref=${own} aria-labelledby="dialog-title" onClick=${outside}
      onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <div class="dialog">
      <h2 id="dialog-title">${title}</h2>
      ${children}
    </div>
  </dialog>`;
}

/** A form in a dialog: `onSubmit` gets its fields, and what it throws is shown. */
export function FormDialog({ title, submit, danger, onSubmit, onClose, children }) {
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  async function send(event) {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await onSubmit(Object.fromEntries(new FormData(event.target)));
    } catch (failure) {
      setError(failure.message);
      setBusy(false);
    }
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${send}>
      ${children}
      <p class="error" role="alert">${error}</p>
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button class=${danger ? "danger" : "primary"} disabled=${isBusy}>${submit}</button>
      </div>
    </form>
  <//>`;
}
