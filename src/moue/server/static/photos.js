// A card for each photo: the image with its boxes, and the answers of one or two models.

import { readImage, sentence } from "./api.js";
import { Answer, element, paint, title } from "./view.js";
import { png, save } from "./save.js";

// The server turns images upright and so does the browser, so that boxes fit.
async function bitmap(blob) {
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

export async function photo(blob, name, models, detector) {
  const rows = await Promise.all(models.map((model) => readImage(blob, name, { model, detector })));
  const image = await bitmap(blob);
  const canvas = element("canvas", { role: "img" });
  let chosen = 0;
  const answers = models.map((model) => new Answer(model, (i) => { chosen = i; show(); }));

  function show() {
    if (image) paint(canvas, image, rows, chosen);
    canvas.setAttribute("aria-label", said(name, rows));
    answers.forEach((answer, i) => answer.show(rows[i], chosen));
  }

  const shown = element("div", { class: "shown" });
  if (image) {
    const button = element("button", { type: "button", text: "Download PNG", "aria-label": `Download PNG of ${name}`, onclick: async () => save(await png(canvas), `${name.replace(/\.[^.]*$/, "")}-moue.png`) });
    shown.append(canvas, element("div", { class: "tools" }, button));
  } else {
    shown.append(element("p", { class: "remark", text: "This browser cannot show images of this kind; the server could read it." }));
  }
  const card = element("article", { class: models.length > 1 ? "card two" : "card" }, element("h2", { text: name }), shown, ...answers.map((a) => a.node));
  show();
  return { card, rows: rows.map((row, i) => ({ model: models[i], ...row })), words: said(name, rows) };
}

function said(name, rows) {
  const { faces } = rows[0];
  if (!faces.length) return sentence(`${name}: no face was found`);
  const count = faces.length === 1 ? "1 face" : `${faces.length} faces`;
  return sentence(`${name}: ${count}: ${faces.slice(0, 5).map(title).join("; ")}`);
}
