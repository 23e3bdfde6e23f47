// Draws results: boxes and labels on an image, bars beside it, lines over time below it.

export const colors = {};

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// The card of a photo, a video or the camera, read with one or two models.
export function card(models, title, ...children) {
  return element("article", { class: models.length > 1 ? "card compare" : "card" }, element("h2", { text: title }), ...children);
}

function dot(background = "") {
  const node = element("span", { class: "dot", "aria-hidden": "true" });
  node.style.background = background;
  return node;
}

function percent(p) {
  return `${Math.round(100 * p)} %`;
}

function color(label) {
  return colors[label] || "#888888";
}

// Black or white, whichever is readable on a color.
function textColor(background) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(background.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

export function faceText(face, uncertain = ", uncertain") {
  return `${face.label} ${percent(face.probabilities[face.label])}${face.uncertain ? uncertain : ""}`;
}

// The face of another model's row at the position of this one; null where none is near. The rows of a camera are of
// different frames, whose faces may be in a different order.
export function matchingFace(face, row) {
  const center = ({ box: [x, y, w, h] }) => [x + w / 2, y + h / 2];
  const [x, y] = center(face);
  let nearest = null;
  let least = Math.max(face.box[2], face.box[3]);
  for (const other of row.faces) {
    const [otherX, otherY] = center(other);
    const distance = Math.hypot(otherX - x, otherY - y);
    if (distance < least) [nearest, least] = [other, distance];
  }
  return nearest;
}

// source: an image, canvas or video; rows: one for each model, of the same image or of frames of one camera.
export function drawFaces(canvas, source, rows, selected = 0) {
  const [row] = rows;
  const { width, height } = row;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const fontSize = Math.max(13, Math.max(width, height) / 44);
  const stroke = Math.max(2, Math.max(width, height) / 380);
  context.font = `600 ${fontSize}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  row.faces.forEach((face, i) => {
    const [x, y, w, h] = face.box;
    const background = color(face.label);
    context.lineWidth = stroke * (i === selected ? 1.8 : 1);
    context.strokeStyle = "rgb(0 0 0 / .45)";
    context.strokeRect(x - stroke / 2, y - stroke / 2, w + stroke, h + stroke);
    context.strokeStyle = background;
    context.strokeRect(x, y, w, h);
    const number = face.track ?? (row.faces.length > 1 ? i + 1 : "");
    const faces = rows.map((other) => (other === row ? face : matchingFace(face, other)));
    const text = `${number} ${faces.map((f) => (f ? faceText(f, " ?") : "")).join(" | ")}`.trimStart();
    const textWidth = context.measureText(text).width + fontSize * 0.8;
    const left = Math.max(0, Math.min(x - stroke / 2, width - textWidth));
    const top = y >= fontSize * 1.6 ? y - fontSize * 1.6 : Math.max(0, y);
    context.fillStyle = background;
    context.beginPath();
    context.roundRect(left, top, textWidth, fontSize * 1.5, fontSize * 0.3);
    context.fill();
    context.fillStyle = textColor(background);
    context.fillText(text, left + fontSize * 0.4, top + fontSize * 0.78);
  });
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
        fill.style.background = color(label);
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

// The results of one model for one image: buttons that select a face, and its bars.
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
        button = element("button", { type: "button", onclick: () => this.onselect(i) }, dot(), element("span"));
        this.buttons.append(button);
      }
      button.setAttribute("aria-pressed", String(i === selected));
      button.firstChild.style.background = color(face.label);
      button.lastChild.textContent = `${row.faces.length > 1 ? `Face ${face.track ?? i + 1}: ` : ""}${faceText(face)}`;
    });
    const face = row.faces[Math.min(selected, row.faces.length - 1)];
    this.bars.show(face?.probabilities ?? {});
    if (face) this.note.textContent = face.uncertain ? uncertainty(face) : "";
    else this.note.textContent = row.reason ?? "No face was found.";
  }
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

// Probabilities of one track over time, a line for each class.
export class Timeline {
  constructor(title, onseek = null) {
    this.points = [];
    this.labels = [];
    this.duration = 0;
    this.start = 0;
    this.end = 1;
    this.canvas = element("canvas", { width: 1000, height: 150, role: "img", "aria-label": title });
    this.legend = element("ul", { class: "legend" });
    this.node = element("figure", { class: "timeline" }, element("figcaption", { text: title }), this.canvas, this.legend);
    if (!onseek) return;
    this.canvas.classList.add("seek");
    this.canvas.addEventListener("click", (event) => onseek(this.start + (event.offsetX / this.canvas.clientWidth) * (this.end - this.start)));
  }

  add(row) {
    this.points.push({ time: row.timestamp, faces: row.faces });
    const [face] = row.faces;
    if (!face || this.labels.length) return;
    this.labels = Object.keys(face.probabilities);
    this.legend.replaceChildren(...this.labels.map((label) => element("li", {}, dot(color(label)), label)));
  }

  firstTrack() {
    return this.points.find((point) => point.faces.length)?.faces[0].track;
  }

  // seconds: how many of the last seconds to show; time: where to draw the marker of the current time.
  draw(track = this.firstTrack(), seconds = Infinity, time = null) {
    this.end = Math.max(this.points.at(-1)?.time ?? 0, this.duration, 0.1);
    this.start = Math.max(0, this.end - seconds);
    // Points that will not be shown again.
    if (this.start > 0) this.points = this.points.filter((point) => point.time >= this.start - 1);
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const x = (t) => ((t - this.start) / (this.end - this.start)) * width;
    const y = (p) => height - 8 - p * (height - 16);
    context.clearRect(0, 0, width, height);
    context.lineWidth = 1;
    context.strokeStyle = style.getPropertyValue("--border");
    for (const p of [0, 0.5, 1]) {
      context.beginPath();
      context.moveTo(0, y(p));
      context.lineTo(width, y(p));
      context.stroke();
    }
    context.lineWidth = 3;
    context.lineJoin = context.lineCap = "round";
    for (const label of this.labels) {
      context.strokeStyle = color(label);
      context.beginPath();
      let connected = false;
      for (const point of this.points) {
        const face = point.faces.find((f) => f.track === track);
        if (face) context[connected ? "lineTo" : "moveTo"](x(point.time), y(face.probabilities[label]));
        connected = Boolean(face);
      }
      context.stroke();
    }
    if (time !== null) {
      context.fillStyle = style.color;
      context.fillRect(x(time) - 1, 0, 2, height);
    }
  }
}
