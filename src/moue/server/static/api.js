// Requests to the server; every failure becomes an Error whose message is a sentence.

const TOKEN_KEY = "moue-token";
// A request that the server is too busy for is sent again when the server asks for at most so many seconds.
const MAX_RETRY_SECONDS = 10;

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
  if (!dialog.open) dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const field = document.getElementById("token");
  if (!field.value) throw new Error("this server needs a token.");
  sessionStorage.setItem(TOKEN_KEY, field.value);
  field.value = "";
}

export function sentence(text) {
  const trimmed = String(text).trim();
  // A file name at the start stays as it is.
  const capitalized = /^\S+[.:]/.test(trimmed) ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?)]$/.test(capitalized) ? capitalized : `${capitalized}.`;
}

export async function request(path, options = {}) {
  const headers = token() ? { ...options.headers, Authorization: `Bearer ${token()}` } : options.headers;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not respond. Is it still running?");
  }
  if (response.status === 401) {
    await requestToken();
    return request(path, options);
  }
  const seconds = Number(response.headers.get("Retry-After") || 1);
  if (response.status === 429 && !options.retried && seconds <= MAX_RETRY_SECONDS) {
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    return request(path, { ...options, retried: true });
  }
  if (!response.ok) {
    const error = await response.json().catch(() => null);
    throw new Error(sentence(error?.detail ?? `the server responded with status ${response.status}`));
  }
  return response;
}

export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export async function readImage(blob, name, options) {
  const form = new FormData();
  form.append("file", blob, name);
  const response = await request(`v1/faces${query(options)}`, { method: "POST", body: form });
  return (await response.json())[0];
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
