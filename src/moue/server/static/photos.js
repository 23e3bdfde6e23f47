// A card for each photo: the image with its boxes, and the results of one or two models.

import { readImage, sentence } from "./api.js";
import { drawFaces, faceAt } from "./drawing.js";
import { card, element, faceText } from "./element.js";
import { ResultPanel } from "./panel.js";
import { png, save, stem } from "./save.js";

// Longer sides are shown smaller: hundreds of photos must not fill the memory. The downloaded image has its full size.
const MAX_SHOWN = 1280;

// Server and browser both apply the EXIF orientation, so that the boxes fit. Null where the browser cannot decode it.
function decode(blob, size = {}) {
  return createImageBitmap(blob, { imageOrientation: "from-image", resizeQuality: "high", ...size }).catch(() => null);
}

// Reads an image with one or two models; returns its card, its rows and a summary.
export async function readPhoto(blob, name, models, detector, signal) {
  const rows = await Promise.all(models.map((model) => readImage(blob, name, { model, detector }, signal)));
  const [{ width, height, faces }] = rows;
  const scale = Math.min(1, MAX_SHOWN / Math.max(width, height));
  const shown = { resizeWidth: Math.max(1, Math.round(width * scale)), resizeHeight: Math.max(1, Math.round(height * scale)) };
  const image = await decode(blob, scale < 1 ? shown : {});
  const summary = summarize(name, faces);
  const canvas = element("canvas", { role: "img", "aria-label": summary, onclick: (event) => select(faceAt(event, rows[0])) });
  const panels = models.map((model) => new ResultPanel(model, show));
  let current = 0;

  function show(selected) {
    current = selected;
    if (image) drawFaces(canvas, image, rows, selected);
    panels.forEach((panel, i) => panel.show(rows[i], selected));
  }

  function select(face) {
    if (face) show(faces.indexOf(face));
  }

  async function download() {
    const full = element("canvas");
    drawFaces(full, (await decode(blob)) ?? image, rows, current, { width, height });
    await save(await png(full), `${stem(name)}-moue.png`);
  }

  const media = element("div", { class: "media" });
  if (image) {
    const button = element("button", { type: "button", text: "Download PNG", "aria-label": `Download PNG of ${name}`, onclick: download });
    media.append(canvas, element("div", { class: "tools" }, button));
  } else {
    media.append(element("p", { class: "note", text: "This browser cannot display this image format; the server could read it." }));
  }
  show(0);
  return { card: card(models, name, media, ...panels.map((panel) => panel.node)), rows, summary };
}

function summarize(name, faces) {
  if (!faces.length) return sentence(`${name}: no face was found`);
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  return sentence(`${name}: ${count}: ${faces.slice(0, 5).map((face) => faceText(face)).join("; ")}`);
}
