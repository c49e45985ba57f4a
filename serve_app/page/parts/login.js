/* Who is here, where tokens are needed. */
import { call, get, onUnauthorized } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { FormDialog } from "./dialog.js";

/** Draws the dialog when a request is refused, and `user` once there is a session. */
export function useSession(isOn) {
  const [waiting, setWaiting] = useState(null);
  const [session, setSession] = useState(null);
  useEffect(() => {
    onUnauthorized(() => new Promise((resolve) => setWaiting({ resolve })));
    if (isOn) read().then(setSession, () => setSession(null));
  }, [isOn]);

  async function logIn({ token }) {
    await call("POST", "/session", { body: { token: token.trim() }, mayAsk: false });
    setSession(await read());
    waiting.resolve(true);
    setWaiting(null);
  }
  function giveUp() {
    waiting.resolve(false);
    setWaiting(null);
  }
  async function logOut() {
    await call("DELETE", "/session", { mayAsk: false });
    location.reload();
  }
  const dialog = waiting && html`<${FormDialog} title="Sign in" submit="Sign in"
      onSubmit=${logIn} onClose=${giveUp}>
    <p class="hint">An API token, as your platform or <code>vodray token</code> gives it.</p>
    <label>Token <input name="token" type="password" autocomplete="current-password" required
      spellcheck="false" autofocus /></label>
  <//>`;
  return { dialog, session, logOut };
}

const read = () => get("/session", { mayAsk: false });
