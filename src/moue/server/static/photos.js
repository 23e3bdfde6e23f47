// A card for each photo: the image with its boxes, and the results of one or two models.

import { readImage, sentence } from "./api.js";
import { png, save, stem } from "./save.js";
import { ResultPanel, card, drawFaces, element, faceText } from "./view.js";

// Server and browser both apply the EXIF orientation, so that the boxes fit. Null where the browser cannot decode it.
function decode(blob) {
  return createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);
}

// Reads an image with one or two models; returns its card, its rows and a summary.
export async function readPhoto(blob, name, models, detector) {
  const rows = await Promise.all(models.map((model) => readImage(blob, name, { model, detector })));
  const image = await decode(blob);
  const summary = summarize(name, rows[0].faces);
  const canvas = element("canvas", { role: "img", "aria-label": summary });
  const panels = models.map((model) => new ResultPanel(model, show));

  function show(selected) {
    if (image) drawFaces(canvas, image, rows, selected);
    panels.forEach((panel, i) => panel.show(rows[i], selected));
  }

  const media = element("div", { class: "media" });
  if (image) {
    const download = element("button", { type: "button", text: "Download PNG", "aria-label": `Download PNG of ${name}`, onclick: async () => save(await png(canvas), `${stem(name)}-moue.png`) });
    media.append(canvas, element("div", { class: "tools" }, download));
  } else {
    media.append(element("p", { class: "note", text: "This browser cannot display this image format; the server could read it." }));
  }
  show(0);
  return {
    card: card(models, name, media, ...panels.map((panel) => panel.node)),
    rows: rows.map((row, i) => ({ model: models[i], ...row })),
    summary,
  };
}

function summarize(name, faces) {
  if (!faces.length) return sentence(`${name}: no face was found`);
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  return sentence(`${name}: ${count}: ${faces.slice(0, 5).map(faceText).join("; ")}`);
}
