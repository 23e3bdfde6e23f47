// The page: takes files, pasted images, the drawing and the camera, and shows the answers.

import { ask, sentence } from "./api.js";
import { Camera } from "./camera.js";
import { video } from "./video.js";
import { photo } from "./photos.js";
import { csv, json, save } from "./save.js";
import { colors, element } from "./view.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
let collected = [];
let camera = null;
let abort = null;
let limits = {};

function say(words) {
  if ($("status").textContent !== words) $("status").textContent = words;
}

function complain(words) {
  const line = element("div", { class: "error" }, element("span", { text: sentence(words) }));
  line.append(element("button", { type: "button", text: "Dismiss", onclick: () => line.remove() }));
  $("errors").append(line);
}

function detector() {
  return $("whole").checked ? "none" : (limits.detector === "none" ? "centerface" : "");
}

function models() {
  const other = $("other").value;
  return other && other !== $("model").value ? [$("model").value, other] : [$("model").value];
}

function collect(rows) {
  // Not pushed as arguments: a long video has more rows than a call may have of these.
  collected = collected.concat(rows);
  $("tools").hidden = !collected.length;
}

async function fill() {
  limits = await (await ask("v1/limits")).json();
  $("whole").checked = limits.detector === "none";
  const known = await (await ask("v1/models")).json();
  for (const model of known) {
    Object.assign(colors, model.colors);
    $("model").append(element("option", { value: model.name, text: model.name }));
    $("other").append(element("option", { value: model.name, text: model.name }));
  }
  $("other").parentElement.hidden = known.length < 2;
}

const ready = fill().catch((error) => complain(error.message));

function isVideo(file) {
  return file.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|ogv|flv|wmv)$/i.test(file.name);
}

function size(bytes) {
  return `${(bytes / (1 << 20)).toFixed(bytes < 1 << 20 ? 2 : 0)} MB`;
}

async function take(files) {
  await ready;
  $("errors").replaceChildren();
  let photos = 0;
  for (const [i, file] of files.entries()) {
    const most = isVideo(file) ? limits.max_video_bytes : limits.max_bytes;
    if (most && file.size > most - 2048) {
      complain(`${file.name} is too large: ${size(file.size)}; this server takes ${size(most)}`);
      continue;
    }
    try {
      if (isVideo(file)) {
        camera?.stop();
        abort?.abort();
        abort = new AbortController();
        collect(await video(file, models(), detector(), { say, stage, abort }));
      } else {
        say(files.length > 1 ? `Reading ${i + 1} of ${files.length} …` : `Reading ${file.name} …`);
        const { card, rows, words } = await photo(file, file.name || "image", models(), detector());
        $("cards").prepend(card);
        collect(rows);
        photos += 1;
        say(words);
      }
    } catch (error) {
      say("");
      // What was read before it failed is there to be saved.
      collect(error.rows ?? []);
      complain(error.message);
    }
  }
  if (photos > 1) say(`${photos} images were read.`);
}

async function drawing() {
  const image = new Image();
  image.src = "sample.svg";
  await image.decode();
  const canvas = element("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  await take([new File([blob], "drawing.png", { type: "image/png" })]);
}

async function turnOn() {
  await ready;
  $("errors").replaceChildren();
  camera?.stop();
  abort?.abort();
  const wanted = new Camera(models(), detector(), { say, stage, onend: collect, onerror: complain });
  camera = wanted;
  try {
    await wanted.start();
  } catch (error) {
    // Who asked once more hears of it once.
    if (camera !== wanted) return;
    camera = null;
    complain(error.message);
  }
}

$("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
$("sample").addEventListener("click", () => drawing().catch((error) => complain(error.message)));
$("camera").addEventListener("click", turnOn);
$("csv").addEventListener("click", () => save(csv(collected), "moue.csv"));
$("json").addEventListener("click", () => save(json(collected), "moue.json"));
$("clear").addEventListener("click", () => {
  camera?.stop();
  abort?.abort();
  collected = [];
  $("cards").replaceChildren();
  stage.replaceChildren();
  stage.hidden = true;
  $("tools").hidden = true;
  $("errors").replaceChildren();
  say("");
  $("files").focus();
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const files = [...event.dataTransfer.files];
  if (files.length) take(files);
  else complain("what was dropped holds no file: save the image first, then drop it");
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) take(files);
  else if (event.target === document.body) complain("there is no image in the clipboard");
});
window.addEventListener("pagehide", () => {
  camera?.stop();
  abort?.abort();
});

if (!window.isSecureContext) {
  $("insecure").hidden = false;
  $("camera").disabled = true;
}
