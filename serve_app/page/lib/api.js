/* Requests to the service. Errors are `ApiError` with the service's own words; 401 asks for a token
   once, however many requests wait for it, and goes on. */

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let askForToken = async () => false;

/** `ask` resolves to whether there is a session now. */
export function onUnauthorized(ask) {
  let asking = null;
  askForToken = () => (asking ??= ask().finally(() => { asking = null; }));
}

export async function call(method, path, { body, signal, mayAsk = true } = {}) {
  for (;;) {
    const answer = await send(method, path, body, signal);
    if (answer.status === 401 && mayAsk && (await askForToken())) continue;
    if (!answer.ok) throw new ApiError(answer.status, await complaint(answer));
    const isJson = (answer.headers.get("content-type") ?? "").includes("json");
    return isJson ? answer.json() : answer.text();
  }
}

export const get = (path, options) => call("GET", path, options);

async function send(method, path, body, signal) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  try {
    return await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service cannot be reached");
  }
}

async function complaint(answer) {
  const what = { 404: "There is no such thing here", 405: "This service cannot do that" };
  try {
    return (await answer.json()).error ?? what[answer.status] ?? `Answer ${answer.status}`;
  } catch {
    return what[answer.status] ?? `Answer ${answer.status}`;
  }
}
