// Saves answers as files, in the shapes of `moue predict`.

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  // A name that a spreadsheet would take for a formula stays a name.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// rows: answers, each with the model that gave it.
export function csv(rows) {
  const labels = [];
  for (const row of rows) {
    for (const face of row.faces) {
      for (const label of Object.keys(face.probabilities)) if (!labels.includes(label)) labels.push(label);
    }
  }
  const lines = [["model", "source", "status", "frame", "timestamp", "track", "x", "y", "w", "h", "score", "label", "uncertain", ...labels]];
  for (const row of rows) {
    const start = [row.model, row.source, row.status, row.frame, row.timestamp];
    for (const face of row.faces.length ? row.faces : [null]) {
      if (face) lines.push([...start, face.track, ...face.box, face.score, face.label, face.uncertain, ...labels.map((l) => face.probabilities[l])]);
      else lines.push([...start, ...Array(8 + labels.length).fill(null)]);
    }
  }
  return new Blob([lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
}

export function json(rows) {
  return new Blob([JSON.stringify(rows, null, 2)], { type: "application/json" });
}

export function png(canvas) {
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
