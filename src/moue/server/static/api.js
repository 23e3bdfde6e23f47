// Requests to the server; every failure becomes an Error whose message is a sentence.

const TOKEN_KEY = "moue-token";
// For how long a request is sent again to a server that is busy, in seconds.
const PATIENCE = 300;

// Tells the page that it waits for a busy server: event "busy".
export const events = new EventTarget();

// The link that the server prints carries the token after #, which browsers never send.
const linkToken = new URLSearchParams(location.hash.slice(1)).get("token");
if (linkToken) {
  sessionStorage.setItem(TOKEN_KEY, linkToken);
  history.replaceState(null, "", location.pathname);
}

function token() {
  return sessionStorage.getItem(TOKEN_KEY);
}

// Requests that are rejected at the same time share one dialog.
let pendingLogin = null;
function requestToken() {
  pendingLogin ??= login().finally(() => { pendingLogin = null; });
  return pendingLogin;
}

async function login() {
  const dialog = document.getElementById("login");
  if (token()) document.getElementById("login-reason").textContent = "That is not the token of this server. Try again.";
  // What stays where the dialog is closed by Escape.
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const field = document.getElementById("token");
  const { value } = field;
  field.value = "";
  if (dialog.returnValue !== "ok") throw new Error("this server needs a token.");
  sessionStorage.setItem(TOKEN_KEY, value);
}

export function sentence(text) {
  const trimmed = String(text).trim();
  // A file name at the start stays as it is.
  const capitalized = /^\S+[.:]/.test(trimmed) ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?)]$/.test(capitalized) ? capitalized : `${capitalized}.`;
}

// Resolves after some milliseconds; rejects when the signal is aborted.
export function sleep(ms, signal) {
  return new Promise((done, fail) => {
    signal?.throwIfAborted();
    const abort = () => { clearTimeout(timer); fail(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", abort); done(); }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

// options: as of fetch(), and `patience` in seconds, for a busy server, and `send` instead of fetch().
// An error has the `status` and the `rows` of the response.
export async function request(path, { patience = PATIENCE, send = fetch, ...options } = {}) {
  const started = Date.now();
  for (;;) {
    options.signal?.throwIfAborted();
    const headers = token() ? { ...options.headers, Authorization: `Bearer ${token()}` } : options.headers;
    let response;
    try {
      response = await send(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not respond. Is it still running?");
    }
    if (response.ok) return response;
    const wait = Number(response.headers.get("Retry-After") || (response.status === 429 ? 1 : NaN));
    const waited = (Date.now() - started) / 1000;
    if (response.status === 401) {
      await requestToken();
    } else if ([429, 503].includes(response.status) && waited + wait <= patience) {
      events.dispatchEvent(new Event("busy"));
      await sleep(1000 * wait, options.signal);
    } else {
      const body = await response.json().catch(() => null);
      const error = new Error(sentence(body?.detail ?? `the server responded with status ${response.status}`));
      throw Object.assign(error, { status: response.status, rows: body?.rows });
    }
  }
}

// Sends a file, and says how much of it is sent: options.onprogress(0 to 1). When all of it is sent, the signal is
// ignored: the response is needed to delete the file from the server.
export function upload(path, { onprogress, ...options }) {
  return request(path, { method: "POST", ...options, send: (url, { body, headers, signal }) => new Promise((done, fail) => {
    const xhr = new XMLHttpRequest();
    const abort = () => { xhr.abort(); fail(signal.reason); };
    xhr.open("POST", url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.addEventListener("progress", (event) => onprogress(event.loaded / event.total));
    xhr.upload.addEventListener("load", () => signal.removeEventListener("abort", abort));
    xhr.addEventListener("load", () => done(new Response(xhr.response, { status: xhr.status, headers: { "Retry-After": xhr.getResponseHeader("Retry-After") ?? "" } })));
    xhr.addEventListener("error", () => fail(new Error("no connection")));
    signal.addEventListener("abort", abort, { once: true });
    xhr.send(body);
  }) });
}

export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export async function readImage(blob, name, options, signal) {
  const form = new FormData();
  form.append("file", blob, name);
  const response = await request(`v1/faces${query(options)}`, { method: "POST", body: form, signal });
  // Forms cannot hold every name: quotation marks arrive as %22.
  return { ...(await response.json())[0], source: name };
}

export function openFrameSocket(options) {
  const url = new URL(`v1/frames${query(options)}`, document.baseURI);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const subprotocols = ["moue.v1"];
  if (token()) {
    const bytes = String.fromCharCode(...new TextEncoder().encode(token()));
    subprotocols.push(`bearer.${btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`);
  }
  return new WebSocket(url, subprotocols);
}
