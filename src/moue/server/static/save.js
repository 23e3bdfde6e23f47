// Saves results as files, in the formats of `moue predict`.

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

function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  // Keeps spreadsheets from running a name as a formula.
  const escaped = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(escaped) ? `"${escaped.replaceAll('"', '""')}"` : escaped;
}

// rows: as of the API, each with the name of its model.
export function csv(rows) {
  const labels = [...new Set(rows.flatMap((row) => row.faces.flatMap((face) => Object.keys(face.probabilities))))];
  const lines = [["model", "source", "status", "frame", "timestamp", "track", "x", "y", "w", "h", "score", "label", "uncertain", ...labels]];
  for (const row of rows) {
    const start = [row.model, row.source, row.status, row.frame, row.timestamp];
    for (const face of row.faces) {
      lines.push([...start, face.track, ...face.box, face.score, face.label, face.uncertain, ...labels.map((l) => face.probabilities[l])]);
    }
    if (!row.faces.length) lines.push([...start, ...Array(8 + labels.length)]);
  }
  return new Blob([lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
}

export function json(rows) {
  return new Blob([JSON.stringify(rows, null, 2)], { type: "application/json" });
}

export function png(canvas) {
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
