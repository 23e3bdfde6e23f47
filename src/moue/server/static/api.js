// Talks to the server; every failure becomes an Error whose message is a sentence.

const KEY = "moue-token";
// Seconds that a busy server is waited for without a word.
const PATIENCE = 10;

// A link that the server printed carries the token behind #, which no browser sends anywhere.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname);
}

function token() {
  return sessionStorage.getItem(KEY);
}

function headers(extra) {
  return token() ? { ...extra, Authorization: `Bearer ${token()}` } : { ...extra };
}

// Questions that are refused at the same time wait for one and the same answer.
let asking = null;
function asked() {
  asking ??= login().finally(() => { asking = null; });
  return asking;
}

async function login() {
  const dialog = document.getElementById("login");
  if (!dialog.open) dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const field = document.getElementById("token");
  if (!field.value) throw new Error("this server needs a token.");
  sessionStorage.setItem(KEY, field.value);
  field.value = "";
}

export function sentence(text) {
  const words = String(text).trim();
  // A file's name at the start stays as it is.
  const whole = /^\S+[.:]/.test(words) ? words : words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?)]$/.test(whole) ? whole : `${whole}.`;
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.status === 401) {
    await asked();
    return ask(path, options);
  }
  const wait = Number(answer.headers.get("Retry-After") || 1);
  if (answer.status === 429 && !options.once && wait <= PATIENCE) {
    // A page that asks a few things at once is no reason for words: it waits as it was told to.
    await new Promise((done) => setTimeout(done, 1000 * wait));
    return ask(path, { ...options, once: true });
  }
  if (!answer.ok) {
    let words = `The server answered ${answer.status}.`;
    try {
      words = (await answer.json()).detail;
    } catch { /* no sentence came */ }
    throw new Error(sentence(words));
  }
  return answer;
}

export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export async function readImage(blob, name, options) {
  const form = new FormData();
  form.append("file", blob, name);
  const answer = await ask(`v1/faces${query(options)}`, { method: "POST", body: form });
  return (await answer.json())[0];
}

export function openFrames(options) {
  const address = new URL(`v1/frames${query(options)}`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const offered = ["moue.v1"];
  if (token()) {
    const bytes = String.fromCharCode(...new TextEncoder().encode(token()));
    offered.push(`bearer.${btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`);
  }
  return new WebSocket(address, offered);
}
