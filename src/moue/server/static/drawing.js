// Draws boxes and labels on an image.

import { faceText } from "./element.js";
import { covered, placeLabels } from "./labels.js";
import { color, textColor } from "./palette.js";

// Beside a label's text, in sizes of its font.
const PADDING = 0.4;

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

// The smallest of a row's faces at a click on its image, which is shown whole in the middle of its element; undefined
// where there is none.
export function faceAt({ offsetX, offsetY, target }, row) {
  const { clientWidth, clientHeight } = target;
  const scale = Math.max(row.width / clientWidth, row.height / clientHeight);
  const x = row.width / 2 + (offsetX - clientWidth / 2) * scale;
  const y = row.height / 2 + (offsetY - clientHeight / 2) * scale;
  const hit = row.faces.filter(({ box: [left, top, w, h] }) => x >= left && x <= left + w && y >= top && y <= top + h);
  return hit.toSorted((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3])[0];
}

// source: an image, canvas or video; rows: one for each model, of the same image or of frames of one camera; size: of
// the canvas, where it is not the source's.
export function drawFaces(canvas, source, rows, selected = 0, { width, height } = source) {
  const [row] = rows;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const scale = width / row.width;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const stroke = Math.max(2, Math.max(width, height) / 380);
  const boxes = row.faces.map((face) => face.box.map((value) => value * scale));
  row.faces.forEach((face, i) => {
    const [x, y, w, h] = boxes[i];
    context.lineWidth = stroke * (i === selected ? 1.8 : 1);
    context.strokeStyle = "rgb(0 0 0 / .45)";
    context.strokeRect(x - stroke / 2, y - stroke / 2, w + stroke, h + stroke);
    context.strokeStyle = color(face.label);
    context.strokeRect(x, y, w, h);
  });
  const { font, texts, sizes, corners } = layout(context, rows, boxes, width, height);
  context.font = fontOf(font);
  context.textBaseline = "middle";
  corners.forEach(([left, top], i) => {
    const background = color(row.faces[i].label);
    context.fillStyle = background;
    context.beginPath();
    context.roundRect(left, top, ...sizes[i], font * 0.3);
    context.fill();
    context.fillStyle = textColor(background);
    context.fillText(texts[i], left + font * PADDING, top + font * 0.78);
  });
}

function fontOf(size) {
  return `600 ${size}px system-ui, sans-serif`;
}

// The largest labels that cover no other face and no other label: in a crowd they become smaller, and at last numbers
// alone.
function layout(context, rows, boxes, width, height) {
  const largest = Math.max(13, Math.min(Math.max(width, height) / 44, Math.min(width, height) / 8));
  const fonts = [1, 0.7, 0.5].map((part) => Math.max(11, largest * part));
  const levels = [...fonts.map((font) => [font, 3]), [fonts[2], 2], [fonts[2], 1]];
  let best = null;
  for (const [font, words] of levels) {
    context.font = fontOf(font);
    const texts = rows[0].faces.map((face, i) => labelText(rows, face, i, words));
    const sizes = texts.map((text) => [context.measureText(text).width + 2 * PADDING * font, font * 1.5]);
    const corners = placeLabels(boxes, sizes, width, height);
    const placed = corners.map((corner, i) => [...corner, ...sizes[i]]);
    const cost = placed.reduce((sum, label, i) => {
      const others = [...boxes, ...placed].filter((_, j) => j !== i && j !== boxes.length + i);
      return sum + covered(label, others) + Math.max(0, label[0] + label[2] - width);
    }, 0);
    if (!best || cost < best.cost - 1e-6) best = { cost, font, texts, sizes, corners };
    if (cost < 1e-6) break;
  }
  return best;
}

// "3: happy 87 % ?", or less of it; with the results of two models one after the other.
function labelText(rows, face, i, words) {
  const number = face.track ?? i + 1;
  if (words === 1) return String(number);
  const faces = rows.map((row, k) => (k === 0 ? face : matchingFace(face, row)));
  const shown = (f) => (words === 3 ? faceText(f, " ?") : `${f.label}${f.uncertain ? " ?" : ""}`);
  return `${number}: ${faces.map((f) => (f ? shown(f) : "")).join(" | ")}`;
}
