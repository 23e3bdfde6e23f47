// Statistics of the people of a film or of the camera, as `moue predict --out` writes them to people.csv.

// rows: of one film, in order, of one model after the other. One item a person, in the order in which they appear.
export function people(rows) {
  return [...new Set(rows.map((row) => row.model))].flatMap((model) => ofModel(rows.filter((row) => row.model === model && row.timestamp !== undefined)));
}

function ofModel(rows) {
  const histories = new Map();
  const step = (rows.at(-1)?.timestamp - rows[0]?.timestamp) / Math.max(1, rows.length - 1);
  rows.forEach((row, i) => {
    for (const face of row.faces) {
      if (!histories.has(face.track)) histories.set(face.track, { source: row.source, model: row.model, track: face.track, start: row.timestamp, seconds: 0, faces: [] });
      const history = histories.get(face.track);
      history.end = row.timestamp;
      // A frame counts until the next one, the last as long as the others on average.
      history.seconds += i + 1 < rows.length ? rows[i + 1].timestamp - row.timestamp : step;
      history.faces.push(face);
    }
  });
  return [...histories.values()].map(({ faces, ...person }) => {
    const labels = Object.keys(faces[0].probabilities);
    const mean = Object.fromEntries(labels.map((label) => [label, average(faces, (face) => face.probabilities[label])]));
    return {
      ...person,
      frames: faces.length,
      label: labels.reduce((a, b) => (mean[b] > mean[a] ? b : a)),
      mean,
      share: Object.fromEntries(labels.map((label) => [label, average(faces, (face) => Number(face.label === label))])),
      uncertain: average(faces, (face) => Number(face.uncertain)),
    };
  });
}

function average(items, value) {
  return items.reduce((sum, item) => sum + value(item), 0) / items.length;
}
