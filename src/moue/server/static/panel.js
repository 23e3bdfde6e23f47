// The results of one model for one image: a button for each face, and bars for the selected one.

import { element, faceText, percent } from "./element.js";
import { groundColor } from "./palette.js";

export function dot(label) {
  const node = element("span", { class: "dot", "aria-hidden": "true" });
  node.style.background = groundColor(label);
  return node;
}

// A bar for each class; updated in place, so that changes are animated.
class Bars {
  constructor() {
    this.list = element("ul", { class: "bars", role: "list" });
    this.items = {};
  }

  show(probabilities) {
    const labels = Object.keys(probabilities);
    if (labels.join() !== Object.keys(this.items).join()) {
      this.items = {};
      this.list.replaceChildren(...labels.map((label) => {
        const fill = element("span", { class: "fill" });
        fill.style.background = groundColor(label);
        const value = element("span", { class: "value" });
        const item = element("li", {}, element("span", { class: "name", text: label }), element("span", { class: "bar", "aria-hidden": "true" }, fill), value);
        this.items[label] = { fill, value, item };
        return item;
      }));
    }
    const highest = Math.max(...Object.values(probabilities));
    for (const [label, p] of Object.entries(probabilities)) {
      this.items[label].fill.style.width = `${100 * p}%`;
      this.items[label].value.textContent = percent(p);
      this.items[label].item.classList.toggle("highest", p === highest);
    }
  }
}

export class ResultPanel {
  constructor(model, onselect) {
    this.bars = new Bars();
    this.buttons = element("div", { class: "faces", role: "group", "aria-label": "Faces" });
    this.note = element("p", { class: "note" });
    this.onselect = onselect;
    this.node = element("div", { class: "result" }, element("h3", { text: model }), this.buttons, this.bars.list, this.note);
  }

  show(row, selected) {
    while (this.buttons.childElementCount > row.faces.length) this.buttons.lastChild.remove();
    row.faces.forEach((face, i) => {
      let button = this.buttons.children[i];
      if (!button) {
        button = element("button", { type: "button", onclick: () => this.onselect(i) }, dot(face.label), element("span"));
        this.buttons.append(button);
      }
      button.setAttribute("aria-pressed", String(i === selected));
      button.firstChild.style.background = groundColor(face.label);
      button.lastChild.textContent = `${faceName(row, i)}${faceText(face)}`;
    });
    const face = row.faces[Math.min(selected, row.faces.length - 1)];
    this.bars.show(face?.probabilities ?? {});
    if (face) this.note.textContent = face.uncertain ? uncertainty(face) : "";
    else this.note.textContent = row.reason ?? "No face was found.";
  }
}

function faceName(row, i) {
  const { track } = row.faces[i];
  if (track !== undefined) return `Person ${track}: `;
  return row.faces.length > 1 ? `Face ${i + 1}: ` : "";
}

// Why a face is uncertain, as a sentence.
function uncertainty(face) {
  const flaws = (face.quality?.flaws ?? []).map((flaw) => flaw.replaceAll("_", " "));
  return flaws.length ? `Uncertain: the face is not well visible (${flaws.join(", ")}).` : "Uncertain: little better than a guess.";
}

// The index of a track's face in a row; 0 where it is not there.
export function faceIndex(row, track) {
  return Math.max(0, row.faces.findIndex((face) => face.track !== undefined && face.track === track));
}
