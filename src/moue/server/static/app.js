// The page: reads files, pasted images, the sample photo and the camera, and shows the results.

import { events, request, sentence } from "./api.js";
import { Camera } from "./camera.js";
import { droppedFiles } from "./drop.js";
import { element, plural } from "./element.js";
import { addColors } from "./palette.js";
import { readPhoto } from "./photos.js";
import { FileQueue } from "./queue.js";
import { isRead, Results } from "./results.js";
import { csv, datedName, json, save } from "./save.js";
import { readVideo } from "./video.js";

const $ = (id) => document.getElementById(id);
const OPTIONS = ["model", "compare", "fps", "cropped"];
// In one message.
const MAX_NAMES = 10;
const results = new Results($("table"));
const queue = new FileQueue(readFile, showProgress, showSummary);
let camera = null;
let limits = {};
let available = [];
// Of the files that were added since the queue was empty.
let summary = "";
let failed = [];

function setStatus(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function showError(message) {
  const line = element("div", { class: "error" }, element("span", { text: sentence(message) }));
  const dismiss = () => {
    const next = line.nextElementSibling ?? line.previousElementSibling;
    line.remove();
    (next?.querySelector("button") ?? $("files")).focus();
  };
  line.append(element("button", { type: "button", text: "Dismiss", onclick: dismiss }));
  $("errors").append(line);
}

// What is to be done with a file, as the controls say at this moment.
function chosen() {
  const detector = $("cropped").checked ? "none" : limits.detector === "none" ? "centerface" : "";
  const models = [...new Set([$("model").value, $("compare").value || $("model").value])];
  return { models, detector, fps: $("fps").value };
}

// The expressions that models tell apart, in their order.
function labelsOf(models) {
  return [...new Set(available.filter((model) => models.includes(model.name)).flatMap((model) => model.labels))];
}

function labelsOfRows(rows) {
  return labelsOf([...new Set(rows.map((row) => row.model))]);
}

async function loadOptions() {
  limits = await (await request("v1/limits")).json();
  $("cropped").checked = limits.detector === "none";
  available = await (await request("v1/models")).json();
  available.forEach(({ colors }) => addColors(colors));
  const options = () => available.map(({ name }) => element("option", { value: name, text: name }));
  $("model").replaceChildren(...options());
  $("compare").replaceChildren(element("option", { value: "", text: "none" }), ...options());
  $("models").replaceChildren(...available.flatMap((model) => [element("dt", { text: model.name }), element("dd", { text: aboutOf(model) })]));
  $("model").value = available.find((model) => model.preselected).name;
  $("compare").parentElement.hidden = available.length < 2;
  describeModel();
}

// Whether limits and models are known; after a failure they are asked for again, as where the token was not given.
let loading = null;
async function isReady() {
  loading ??= loadOptions();
  try {
    await loading;
    return true;
  } catch (error) {
    // Of all that wait for the same request, one reports its error.
    if (loading) showError(error.message);
    loading = null;
    return false;
  }
}
isReady();

function describeModel() {
  const model = available.find(({ name }) => name === $("model").value);
  $("about").textContent = model ? aboutOf(model) : "";
}

// What a model is for; of one of your own, what it tells apart.
function aboutOf(model) {
  return model.about ?? `${plural(model.labels.length, "expression")}: ${model.labels.join(", ")}.`;
}

function isVideo(file) {
  return file.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|ogv|flv|wmv)$/i.test(file.name);
}

function megabytes(bytes) {
  return `${(bytes / (1 << 20)).toFixed(bytes < 1 << 20 ? 2 : 0)} MB`;
}

// Adds the result of a file, whether it can be read or not. Rejects where the signal is aborted.
async function readFile({ file, models, detector, fps }, signal) {
  const entry = { name: file.name || "image", file, rows: [] };
  const show = (card) => {
    entry.card = card;
    $("cards").prepend(card);
  };
  try {
    const most = isVideo(file) ? limits.max_video_bytes : limits.max_bytes;
    if (most && file.size > most - 2048) {
      throw Object.assign(new Error(`too large: ${megabytes(file.size)}; this server takes ${megabytes(most)}`), { status: 413 });
    }
    if (isVideo(file)) {
      const rows = await readVideo(file, models, labelsOf(models), { detector, fps }, { show, setStatus, signal });
      if (!rows) return;
      entry.rows = rows;
      summary = $("status").textContent;
    } else {
      setStatus(queue.total === 1 ? `Reading ${entry.name} …` : "Reading files …");
      const photo = await readPhoto(file, entry.name, models, detector, signal);
      signal.throwIfAborted();
      show(photo.card);
      entry.rows = photo.rows.map((row, i) => ({ ...row, model: models[i] }));
      summary = photo.summary;
    }
  } catch (error) {
    if (signal.aborted) throw error;
    // The rows up to the failure are kept.
    entry.rows = [...(error.partial ?? []), ...models.map((model) => unread(entry.name, model, error))];
    if (!entry.card?.isConnected) entry.card = null;
  }
  const bad = entry.rows.find((row) => !isRead(row));
  if (bad) failed.push({ name: entry.name, message: `${entry.name}: ${bad.reason}` });
  results.add(entry);
  results.show();
}

// The row of a file that could not be read.
function unread(source, model, error) {
  const status = error.rows?.[0]?.status ?? { 413: "too_large", 429: "busy", 503: "busy" }[error.status] ?? "unreadable";
  const message = error.message.startsWith(`${source}: `) ? error.message.slice(source.length + 2) : error.message;
  const reason = error.rows?.[0]?.reason ?? message;
  return { source, model, status, reason, width: 0, height: 0, faces: [] };
}

async function readFiles(files) {
  if (!(await isReady())) return;
  if (!queue.running) {
    $("errors").replaceChildren();
    summary = "";
    failed = [];
  }
  $("again").hidden = true;
  const options = chosen();
  queue.add(files.map((file) => ({ file, ...options })));
}

function showProgress() {
  const { running, done, total } = queue;
  const many = running && total > 1;
  $("progress").hidden = !many;
  if (many) {
    $("bar").max = total;
    $("bar").value = done;
    $("count").textContent = `${done} of ${total} files read`;
    // Not each of hundreds: a screen reader would read out every one.
    if (done % Math.ceil(total / 10) === 0) $("announced").textContent = $("count").textContent;
  }
  showTools();
}

function showSummary(total) {
  if (total === 1) {
    setStatus(failed.length ? "" : summary);
    failed.forEach(({ message }) => showError(message));
    return;
  }
  setStatus(failed.length ? `${total - failed.length} of ${total} files read.` : `${total} files read.`);
  if (!failed.length) return;
  const names = failed.slice(0, MAX_NAMES).map(({ name }) => name).join(", ");
  const more = failed.length > MAX_NAMES ? ` and ${failed.length - MAX_NAMES} more` : "";
  showError(`${failed.length} of ${total} files could not be read: ${names}${more}. The table says why.`);
}

// The downloads say what they lack while files are being read or the camera is on.
function showTools() {
  const { running, done, total } = queue;
  const has = results.entries.length > 0;
  const soFar = [running && `${done} of ${plural(total, "file")} read so far`, camera && "the camera is on"].filter(Boolean).join("; ");
  $("tools").hidden = !has && !running && !camera;
  for (const [id, name] of [["csv", "CSV"], ["json", "JSON"]]) {
    $(id).hidden = !has;
    $(id).textContent = `Download ${name}${soFar && ` (${soFar})`}`;
  }
}

async function readSample() {
  const blob = await (await request("sample.jpg")).blob();
  await readFiles([new File([blob], "sample.jpg", { type: "image/jpeg" })]);
}

async function startCamera() {
  if (!(await isReady())) return;
  $("errors").replaceChildren();
  $("again").hidden = true;
  camera?.stop();
  const { models, detector } = chosen();
  const onstart = () => {
    results.add({ name: "camera", get rows() { return started.rows; } });
    showTools();
  };
  const onend = () => {
    if (camera === started) camera = null;
    $("stage").hidden = true;
    if (started.rows.length) $("cards").prepend(started.card);
    results.show();
    showTools();
  };
  const started = camera = new Camera(models, labelsOf(models), detector, { setStatus, stage: $("stage"), onstart, onend, onerror: showError });
  showTools();
  try {
    await started.start();
  } catch (error) {
    // After a second click only the second camera reports its error.
    if (camera !== started) return;
    camera = null;
    showTools();
    showError(error.message);
  }
}

// Offers to read again what was read with other options.
function offerAgain() {
  describeModel();
  const n = results.files.length + queue.rest.length;
  $("again").hidden = !n && !camera;
  const model = chosen().models.join(" and ");
  $("reread").textContent = n ? `Read ${n === 1 ? "the file" : `the ${n} files`} again with ${model}` : `Start the camera again with ${model}`;
}

function readAgain() {
  const files = [...results.files, ...queue.rest.map(({ file }) => file)];
  queue.clear();
  results.entries.filter((entry) => entry.file).forEach((entry) => results.remove(entry));
  results.show();
  if (files.length) readFiles(files);
  if (camera) startCamera();
  $("files").focus();
}

function clear() {
  queue.clear();
  camera?.stop();
  results.clear();
  for (const id of ["cards", "stage", "errors"]) $(id).replaceChildren();
  $("stage").hidden = true;
  $("again").hidden = true;
  showProgress();
  setStatus("");
  $("files").focus();
}

$("files").addEventListener("change", (event) => {
  readFiles([...event.target.files]);
  event.target.value = "";
});
$("sample").addEventListener("click", () => readSample().catch((error) => showError(error.message)));
$("camera").addEventListener("click", startCamera);
$("csv").addEventListener("click", () => save(csv(results.rows, labelsOfRows(results.rows)), datedName(".csv")));
$("json").addEventListener("click", () => save(json(results.rows), datedName(".json")));
$("clear").addEventListener("click", clear);
$("reread").addEventListener("click", readAgain);
for (const id of OPTIONS) $(id).addEventListener("change", offerAgain);
events.addEventListener("busy", () => setStatus("The server is busy: trying again …"));

for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.add("active");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("active"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("active");
  try {
    const { files, skipped } = await droppedFiles(event.dataTransfer);
    if (files.length) await readFiles(files);
    else if (!skipped) showError("no file was dropped: save the image first, then drop the file");
    if (skipped) showError(`left out, being neither photos nor videos: ${plural(skipped, "file")}`);
  } catch (error) {
    showError(error.message);
  }
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) readFiles(files);
  else if (event.target === document.body) showError("there is no image in the clipboard");
});
// Videos are deleted from the server, too.
window.addEventListener("pagehide", () => {
  queue.clear();
  camera?.stop();
});

if (!window.isSecureContext) {
  $("insecure").hidden = false;
  $("camera").disabled = true;
}
