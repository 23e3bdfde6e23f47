// Probabilities of one person over time: a line for each expression, axes, and the values at one moment.

import { clock, element, percent } from "./element.js";
import { dash, dashStyle, groundColor, lineColor, onSchemeChange } from "./palette.js";

const HEIGHT = 200;
// Around the plot, in CSS pixels, for the numbers of the axes.
const LEFT = 54;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 26;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18000];

export class Timeline {
  constructor(title, onseek = null) {
    this.onseek = onseek;
    this.points = [];
    this.labels = [];
    this.duration = 0;
    this.start = 0;
    this.end = 1;
    this.cursor = null;
    this.canvas = element("canvas", {
      tabindex: 0, role: "slider", "aria-label": `${title}. Arrow keys move along it.`, "aria-valuemin": 0, "aria-valuenow": 0,
      onpointermove: (event) => this.point(event),
      onpointerdown: (event) => this.point(event),
      // A finger that is lifted leaves, too.
      onpointerleave: (event) => { if (event.pointerType === "mouse") this.moveTo(null); },
      onblur: () => this.moveTo(null),
      onfocus: () => { if (this.canvas.matches(":focus-visible")) this.moveTo(this.points[0]); },
      onkeydown: (event) => this.key(event), onclick: () => this.seek(),
    });
    this.readout = element("span", { class: "readout" });
    this.legend = element("ul", { class: "legend" });
    this.node = element("figure", { class: "timeline" }, element("figcaption", {}, `${title} `, this.readout), this.canvas, this.legend);
    this.last = [];
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    onSchemeChange(this);
  }

  redraw() {
    if (this.node.isConnected) this.draw(...this.last);
  }

  add(row) {
    this.points.push({ time: row.timestamp, faces: row.faces });
    const [face] = row.faces;
    if (!face || this.labels.length) return;
    this.labels = Object.keys(face.probabilities);
    this.values = this.labels.map(() => element("span", { class: "value" }));
    this.legend.replaceChildren(...this.labels.map((label, i) => {
      const line = element("span", { class: "line", "aria-hidden": "true" });
      line.style.borderTop = `4px ${dashStyle(label)} ${groundColor(label)}`;
      return element("li", {}, line, label, this.values[i]);
    }));
  }

  firstTrack() {
    return this.points.find((point) => point.faces.length)?.faces[0].track;
  }

  // The point of time nearest to one in seconds.
  nearest(time) {
    let [low, high] = [0, this.points.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.points[middle].time < time) low = middle + 1;
      else high = middle;
    }
    const [before, after] = [this.points[low - 1], this.points[low]];
    return before && time - before.time < after.time - time ? before : after;
  }

  point(event) {
    const width = this.canvas.clientWidth - LEFT - RIGHT;
    const share = Math.min(1, Math.max(0, (event.offsetX - LEFT) / width));
    this.moveTo(this.nearest(this.start + share * (this.end - this.start)));
  }

  key(event) {
    const i = this.points.indexOf(this.cursor);
    const to = { ArrowLeft: i - 1, ArrowRight: i + 1, PageUp: i - 10, PageDown: i + 10, Home: 0, End: this.points.length - 1 }[event.key];
    if (event.key === "Enter") this.seek();
    else if (to !== undefined) this.moveTo(this.points[Math.min(this.points.length - 1, Math.max(0, to))]);
    else return;
    event.preventDefault();
  }

  seek() {
    if (this.cursor) this.onseek?.(this.cursor.time);
  }

  // Shows the values of a point; of none where it is null.
  moveTo(point) {
    this.cursor = point ?? null;
    this.describe();
    this.draw(...this.last);
  }

  describe() {
    const face = this.cursor?.faces.find((f) => f.track === this.track);
    this.labels.forEach((label, i) => { this.values[i].textContent = face ? percent(face.probabilities[label]) : ""; });
    this.readout.textContent = this.cursor ? `at ${clock(this.cursor.time)}${face ? "" : ": not in view"}` : "";
    if (!this.cursor) return;
    const highest = face ? this.labels.toSorted((a, b) => face.probabilities[b] - face.probabilities[a]).slice(0, 3) : [];
    const text = highest.map((label) => `${label} ${percent(face.probabilities[label])}`).join(", ");
    this.canvas.setAttribute("aria-valuenow", this.cursor.time.toFixed(2));
    this.canvas.setAttribute("aria-valuetext", `${clock(this.cursor.time)}: ${text || "not in view"}`);
  }

  // track: of the person to show; seconds: how many of the last seconds; time: where to draw the present moment.
  draw(track = this.firstTrack(), seconds = Infinity, time = null) {
    this.last = [track, seconds, time];
    if (track !== this.track) {
      this.track = track;
      this.describe();
    }
    this.end = Math.max(this.points.at(-1)?.time ?? 0, this.duration, 0.1);
    this.start = Math.max(0, this.end - seconds);
    // Points that will not be shown again.
    if (this.start > 0) this.points = this.points.filter((point) => point.time >= this.start - 1);
    this.canvas.setAttribute("aria-valuemax", this.end.toFixed(2));
    const width = this.canvas.clientWidth;
    if (!width) return;
    const scale = devicePixelRatio;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(HEIGHT * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.canvas);
    const x = (t) => LEFT + ((t - this.start) / (this.end - this.start)) * (width - LEFT - RIGHT);
    const y = (p) => HEIGHT - BOTTOM - p * (HEIGHT - TOP - BOTTOM);
    this.axes(context, style, x, y, width);
    context.save();
    context.beginPath();
    context.rect(LEFT - 2, 0, width - LEFT - RIGHT + 4, HEIGHT);
    context.clip();
    this.lines(context, track, x, y);
    context.setLineDash([]);
    context.fillStyle = style.color;
    if (time !== null) context.fillRect(x(time) - 1, TOP, 2, HEIGHT - TOP - BOTTOM);
    context.restore();
    if (this.cursor) this.mark(context, style, x(this.cursor.time), y);
  }

  axes(context, style, x, y, width) {
    context.font = `13px ${style.fontFamily}`;
    context.fillStyle = style.getPropertyValue("--muted");
    context.strokeStyle = style.getPropertyValue("--border");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const p of [0, 0.25, 0.5, 0.75, 1]) {
      line(context, LEFT, y(p), width - RIGHT, y(p));
      if (p * 2 === Math.round(p * 2)) context.fillText(percent(p), LEFT - 6, y(p));
    }
    const shown = this.end - this.start;
    const step = STEPS.find((s) => (shown / s) * 74 <= width - LEFT - RIGHT) ?? shown;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (let i = Math.ceil(this.start / step); i * step <= this.end + 1e-9; i += 1) {
      const at = x(i * step);
      line(context, at, y(0), at, y(0) + 5);
      const text = clock(i * step, step < 1 ? 1 : 0, this.end >= 120);
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(width - half - 1, at), y(0) + 8);
    }
  }

  lines(context, track, x, y) {
    context.lineWidth = 2.5;
    context.lineJoin = "round";
    // Of points that fall on one pixel, the first is drawn.
    const least = (this.end - this.start) / (2 * Math.max(1, this.canvas.width));
    const drawn = [];
    for (const point of this.points) {
      if (drawn.length && point.time - drawn.at(-1).time < least) continue;
      drawn.push({ time: point.time, face: point.faces.find((f) => f.track === track) });
    }
    for (const label of this.labels) {
      context.strokeStyle = context.fillStyle = lineColor(label);
      context.setLineDash(dash(label));
      context.beginPath();
      drawn.forEach(({ time, face }, i) => {
        if (!face) return;
        context[drawn[i - 1]?.face ? "lineTo" : "moveTo"](x(time), y(face.probabilities[label]));
        // One moment alone is no line.
        if (!drawn[i - 1]?.face && !drawn[i + 1]?.face) context.fillRect(x(time) - 1.5, y(face.probabilities[label]) - 1.5, 3, 3);
      });
      context.stroke();
    }
  }

  mark(context, style, at, y) {
    context.setLineDash([]);
    context.strokeStyle = style.color;
    context.lineWidth = 1;
    line(context, at, TOP, at, HEIGHT - BOTTOM);
    const face = this.cursor.faces.find((f) => f.track === this.track);
    if (!face) return;
    for (const label of this.labels) {
      context.fillStyle = lineColor(label);
      context.beginPath();
      context.arc(at, y(face.probabilities[label]), 4, 0, 2 * Math.PI);
      context.fill();
    }
  }
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
