// Draws answers: boxes and names on an image, bars beside it, lines over time below it.

export const colors = {};

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function percent(p) {
  return `${Math.round(100 * p)} %`;
}

function color(label) {
  return colors[label] || "#888888";
}

function ink(paint) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(paint.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

export function title(face) {
  return `${face.label} ${percent(face.probabilities[face.label])}${face.uncertain ? ", uncertain" : ""}`;
}

// The face of another model's row that lies where this one does. Of a camera that row is of another frame, in which the
// faces may stand in another order; null where none is near.
export function same(face, row) {
  const middle = ({ box: [x, y, w, h] }) => [x + w / 2, y + h / 2];
  const [x, y] = middle(face);
  let nearest = null;
  let least = Math.max(face.box[2], face.box[3]);
  for (const other of row.faces) {
    const [left, top] = middle(other);
    const apart = Math.hypot(left - x, top - y);
    if (apart < least) [nearest, least] = [other, apart];
  }
  return nearest;
}

// source: anything that can be drawn; rows: one for each model, of the same image or of frames of one camera.
export function paint(canvas, source, rows, chosen = 0) {
  const row = rows[0];
  const [width, height] = row ? [row.width, row.height] : [source.width, source.height];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  pen.drawImage(source, 0, 0, width, height);
  if (!row) return;
  const size = Math.max(13, Math.max(width, height) / 44);
  const stroke = Math.max(2, Math.max(width, height) / 380);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  row.faces.forEach((face, i) => {
    const [x, y, w, h] = face.box;
    const paintColor = color(face.label);
    pen.lineWidth = stroke * (i === chosen ? 1.8 : 1);
    pen.strokeStyle = "rgb(0 0 0 / .45)";
    pen.strokeRect(x - stroke / 2, y - stroke / 2, w + stroke, h + stroke);
    pen.strokeStyle = paintColor;
    pen.strokeRect(x, y, w, h);
    const who = face.track === undefined ? (row.faces.length > 1 ? `${i + 1} ` : "") : `${face.track} `;
    const said = (f) => (f ? `${f.label} ${percent(f.probabilities[f.label])}${f.uncertain ? " ?" : ""}` : "");
    const words = `${who}${rows.map((r) => said(r === row ? face : same(face, r))).join(" | ")}`;
    const long = pen.measureText(words).width + size * 0.8;
    const left = Math.max(0, Math.min(x - stroke / 2, width - long));
    const top = y >= size * 1.6 ? y - size * 1.6 : Math.max(0, y);
    pen.fillStyle = paintColor;
    pen.beginPath();
    pen.roundRect(left, top, long, size * 1.5, size * 0.3);
    pen.fill();
    pen.fillStyle = ink(paintColor);
    pen.fillText(words, left + size * 0.4, top + size * 0.78);
  });
}

// Seven bars that stay in place and move.
export class Bars {
  constructor() {
    this.list = element("ul", { class: "bars", role: "list" });
    this.rows = {};
  }

  show(probabilities) {
    const labels = Object.keys(probabilities);
    if (labels.join() !== Object.keys(this.rows).join()) {
      this.rows = {};
      this.list.replaceChildren(...labels.map((label) => {
        const fill = element("span", { class: "fill" });
        fill.style.background = color(label);
        const value = element("span", { class: "value" });
        const item = element("li", {}, element("span", { class: "name", text: label }), element("span", { class: "rail", "aria-hidden": "true" }, fill), value);
        this.rows[label] = { fill, value, item };
        return item;
      }));
    }
    const best = Math.max(...Object.values(probabilities));
    for (const [label, p] of Object.entries(probabilities)) {
      this.rows[label].fill.style.width = `${100 * p}%`;
      this.rows[label].value.textContent = percent(p);
      this.rows[label].item.classList.toggle("top", p === best);
    }
  }

  empty() {
    this.rows = {};
    this.list.replaceChildren();
  }
}

// The answer for one image and model: buttons that choose a face, and its bars.
export class Answer {
  constructor(name, onchoose = () => {}) {
    this.bars = new Bars();
    this.buttons = element("div", { class: "faces", role: "group", "aria-label": "Faces" });
    this.remark = element("p", { class: "remark" });
    this.onchoose = onchoose;
    this.node = element("div", { class: "answer" }, element("h3", { text: name }), this.buttons, this.bars.list, this.remark);
  }

  show(row, chosen) {
    const many = row.faces.length > 1;
    while (this.buttons.childElementCount > row.faces.length) this.buttons.lastChild.remove();
    row.faces.forEach((face, i) => {
      let button = this.buttons.children[i];
      if (!button) {
        button = element("button", { type: "button", onclick: () => this.onchoose(i) }, element("span", { class: "dot", "aria-hidden": "true" }), element("span"));
        this.buttons.append(button);
      }
      button.setAttribute("aria-pressed", String(i === chosen));
      button.firstChild.style.background = color(face.label);
      button.lastChild.textContent = `${many ? `Face ${face.track ?? i + 1}: ` : ""}${title(face)}`;
    });
    const face = row.faces[Math.min(chosen, row.faces.length - 1)];
    if (face) this.bars.show(face.probabilities);
    else this.bars.empty();
    this.remark.textContent = face
      ? (face.uncertain ? "Uncertain: little more than a guess." : "")
      : (row.reason ? row.reason : "No face was found in it.");
  }
}

// Which of a row's faces is the chosen person: by track where there is one, else by place.
export function pick(row, who) {
  const found = row.faces.findIndex((face) => face.track !== undefined && face.track === who);
  return found < 0 ? 0 : found;
}

// Probabilities of one person over time, a line for each class.
export class Timeline {
  constructor(title, onseek = null) {
    this.points = [];
    this.labels = [];
    this.duration = 0;
    this.from = 0;
    this.until = 1;
    this.canvas = element("canvas", { width: 1000, height: 150, role: "img", "aria-label": title });
    this.legend = element("ul", { class: "legend" });
    this.node = element("figure", { class: "timeline" }, element("figcaption", { text: title }), this.canvas, this.legend);
    if (!onseek) return;
    this.canvas.classList.add("seek");
    this.canvas.addEventListener("click", (event) => onseek(this.from + (event.offsetX / this.canvas.clientWidth) * (this.until - this.from)));
  }

  add(row) {
    this.points.push({ time: row.timestamp, faces: row.faces });
    const face = row.faces[0];
    if (!face || this.labels.length) return;
    this.labels = Object.keys(face.probabilities);
    this.legend.replaceChildren(...this.labels.map((label) => {
      const dot = element("span", { class: "dot", "aria-hidden": "true" });
      dot.style.background = color(label);
      return element("li", {}, dot, label);
    }));
  }

  // Whom to show at first: who is there first.
  first() {
    return this.points.find((point) => point.faces.length)?.faces[0].track;
  }

  // who: a track; seconds: show the last ones only; mark: a moment.
  draw(who = this.first(), seconds = Infinity, mark = null) {
    const last = this.points.at(-1)?.time ?? 0;
    this.until = Math.max(last, this.duration, 0.1);
    this.from = Number.isFinite(seconds) ? Math.max(0, this.until - seconds) : 0;
    if (Number.isFinite(seconds)) this.points = this.points.filter((point) => point.time >= this.from - 1);
    const { width, height } = this.canvas;
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const x = (time) => ((time - this.from) / (this.until - this.from)) * width;
    const y = (p) => height - 8 - p * (height - 16);
    pen.clearRect(0, 0, width, height);
    pen.lineWidth = 1;
    pen.strokeStyle = style.getPropertyValue("--line");
    for (const level of [0, 0.5, 1]) {
      pen.beginPath();
      pen.moveTo(0, y(level));
      pen.lineTo(width, y(level));
      pen.stroke();
    }
    pen.lineWidth = 3;
    pen.lineJoin = pen.lineCap = "round";
    for (const label of this.labels) {
      pen.strokeStyle = color(label);
      pen.beginPath();
      let down = false;
      for (const { time, faces } of this.points) {
        const face = faces.find((f) => f.track === who);
        if (face) pen[down ? "lineTo" : "moveTo"](x(time), y(face.probabilities[label]));
        down = Boolean(face);
      }
      pen.stroke();
    }
    if (mark !== null) {
      pen.fillStyle = style.color;
      pen.fillRect(x(mark) - 1, 0, 2, height);
    }
  }
}
