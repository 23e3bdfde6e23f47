// Saves results as files, in the formats of `moue predict`.

import { people } from "./people.js";

const COLUMNS = ["source", "model", "status", "reason", "frame", "timestamp", "track", "face", "x", "y", "w", "h", "score", "label", "uncertain"];
const PEOPLE_COLUMNS = ["source", "track", "start", "end", "seconds", "frames", "label"];

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A file's name without its extension.
export function stem(name) {
  return name.replace(/\.[^.]*$/, "");
}

// "moue-2026-11-26-1530.csv", with the local time.
export function datedName(ending, start = "moue") {
  const now = new Date();
  const [month, day, hour, minute] = [now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes()].map((n) => String(n).padStart(2, "0"));
  return `${start}-${now.getFullYear()}-${month}-${day}-${hour}${minute}${ending}`;
}

function cell(value) {
  // As Python writes it.
  if (typeof value === "boolean") return value ? "True" : "False";
  const text = value === null || value === undefined ? "" : String(value);
  // Keeps spreadsheets from running a name as a formula.
  const escaped = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(escaped) ? `"${escaped.replaceAll('"', '""')}"` : escaped;
}

function csvFile(lines) {
  return new Blob([lines.map((line) => `${line.map(cell).join(",")}\n`).join("")], { type: "text/csv" });
}

// rows: as of the API, each with the name of its model; labels: of these models, in the order of the columns.
export function csv(rows, labels) {
  const names = labels.map((label) => (COLUMNS.includes(label) ? `p(${label})` : label));
  const lines = [[...COLUMNS, ...names]];
  for (const row of rows) {
    const start = [row.source, row.model, row.status, row.reason, row.frame, row.timestamp];
    row.faces.forEach((face, i) => {
      lines.push([...start, face.track, i + 1, ...face.box, face.score, face.label, face.uncertain, ...labels.map((l) => face.probabilities[l])]);
    });
    if (!row.faces.length) lines.push([...start, ...Array(COLUMNS.length - start.length + labels.length)]);
  }
  return csvFile(lines);
}

function rounded(value, digits) {
  return typeof value === "number" ? Number(value.toFixed(digits)) : value;
}

// The people of a film or of the camera, one line each; with a column for the model where there are two.
export function peopleCsv(rows, labels) {
  const compared = new Set(rows.map((row) => row.model)).size > 1;
  const taken = [...PEOPLE_COLUMNS, "model", "uncertain", ...labels.map((label) => `${label}_share`)];
  const names = labels.map((label) => (taken.includes(label) ? `p(${label})` : label));
  const head = PEOPLE_COLUMNS.toSpliced(1, 0, ...(compared ? ["model"] : []));
  const lines = [[...head, ...names, ...names.map((name) => `${name}_share`), "uncertain_share"]];
  for (const person of people(rows)) {
    const fractions = [...labels.map((l) => person.mean[l]), ...labels.map((l) => person.share[l]), person.uncertain];
    lines.push([...head.map((name) => rounded(person[name], 6)), ...fractions.map((value) => rounded(value, 5))]);
  }
  return csvFile(lines);
}

export function json(rows) {
  return new Blob([JSON.stringify(rows, null, 2)], { type: "application/json" });
}

export function png(canvas) {
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
