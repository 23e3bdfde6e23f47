// The page: reads files, pasted images, the sample drawing and the camera, and shows the results.

import { request, sentence } from "./api.js";
import { Camera } from "./camera.js";
import { readPhoto } from "./photos.js";
import { csv, json, save } from "./save.js";
import { readVideo } from "./video.js";
import { colors, element } from "./view.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
let rows = [];
let camera = null;
let videoAbort = null;
let limits = {};

function setStatus(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function showError(message) {
  const line = element("div", { class: "error" }, element("span", { text: sentence(message) }));
  line.append(element("button", { type: "button", text: "Dismiss", onclick: () => line.remove() }));
  $("errors").append(line);
}

function detector() {
  if ($("cropped").checked) return "none";
  return limits.detector === "none" ? "centerface" : "";
}

function models() {
  return [...new Set([$("model").value, $("compare").value || $("model").value])];
}

function addRows(added) {
  // Not push(...added): a long video has more rows than a call may have arguments.
  rows = rows.concat(added);
  $("tools").hidden = !rows.length;
}

function stopStage() {
  camera?.stop();
  videoAbort?.abort();
}

async function loadOptions() {
  limits = await (await request("v1/limits")).json();
  $("cropped").checked = limits.detector === "none";
  const available = await (await request("v1/models")).json();
  for (const model of available) {
    Object.assign(colors, model.colors);
    for (const id of ["model", "compare"]) $(id).append(element("option", { value: model.name, text: model.name }));
  }
  $("compare").parentElement.hidden = available.length < 2;
}

const ready = loadOptions().catch((error) => showError(error.message));

function isVideo(file) {
  return file.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|ogv|flv|wmv)$/i.test(file.name);
}

function megabytes(bytes) {
  return `${(bytes / (1 << 20)).toFixed(bytes < 1 << 20 ? 2 : 0)} MB`;
}

async function readFiles(files) {
  await ready;
  $("errors").replaceChildren();
  let photos = 0;
  for (const [i, file] of files.entries()) {
    const maxBytes = isVideo(file) ? limits.max_video_bytes : limits.max_bytes;
    if (maxBytes && file.size > maxBytes - 2048) {
      showError(`${file.name} is too large: ${megabytes(file.size)}; this server takes ${megabytes(maxBytes)}`);
      continue;
    }
    try {
      if (isVideo(file)) {
        stopStage();
        videoAbort = new AbortController();
        addRows(await readVideo(file, models(), detector(), { setStatus, stage, abort: videoAbort }));
      } else {
        setStatus(files.length > 1 ? `Reading ${i + 1} of ${files.length} …` : `Reading ${file.name} …`);
        const photo = await readPhoto(file, file.name || "image", models(), detector());
        $("cards").prepend(photo.card);
        addRows(photo.rows);
        photos += 1;
        setStatus(photo.summary);
      }
    } catch (error) {
      setStatus("");
      // The rows up to the failure can be saved.
      addRows(error.rows ?? []);
      showError(error.message);
    }
  }
  if (photos > 1) setStatus(`${photos} images read.`);
}

async function readSample() {
  const image = new Image();
  image.src = "sample.svg";
  await image.decode();
  const canvas = element("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  await readFiles([new File([blob], "drawing.png", { type: "image/png" })]);
}

async function startCamera() {
  await ready;
  $("errors").replaceChildren();
  stopStage();
  const started = new Camera(models(), detector(), { setStatus, stage, onend: addRows, onerror: showError });
  camera = started;
  try {
    await started.start();
  } catch (error) {
    // After a second click only the second camera reports its error.
    if (camera !== started) return;
    camera = null;
    showError(error.message);
  }
}

$("files").addEventListener("change", (event) => {
  readFiles([...event.target.files]);
  event.target.value = "";
});
$("sample").addEventListener("click", () => readSample().catch((error) => showError(error.message)));
$("camera").addEventListener("click", startCamera);
$("csv").addEventListener("click", () => save(csv(rows), "moue.csv"));
$("json").addEventListener("click", () => save(json(rows), "moue.json"));
$("clear").addEventListener("click", () => {
  stopStage();
  rows = [];
  $("cards").replaceChildren();
  stage.replaceChildren();
  stage.hidden = true;
  $("tools").hidden = true;
  $("errors").replaceChildren();
  setStatus("");
  $("files").focus();
});

for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.add("active");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("active"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("active");
  const files = [...event.dataTransfer.files];
  if (files.length) readFiles(files);
  else showError("no file was dropped: save the image first, then drop the file");
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) readFiles(files);
  else if (event.target === document.body) showError("there is no image in the clipboard");
});
window.addEventListener("pagehide", stopStage);

if (!window.isSecureContext) {
  $("insecure").hidden = false;
  $("camera").disabled = true;
}
