// Where the labels of faces go, so that they cover neither faces nor each other: the rule of moue/runtime/placement.py,
// where it is described.

// Covering what is not a label's own face counts this many times as much as covering its own.
const FOREIGN = 10;

// boxes: [x, y, width, height] of the faces; sizes: [width, height] of their labels; then the image's width and height.
// Returns the upper left corner of each label.
export function placeLabels(boxes, sizes, width, height) {
  const options = boxes.map((box, i) => places(box, sizes[i], width, height));
  const base = options.map((rectangles, i) => rectangles.map((place) => FOREIGN * covered(place, boxes) - (FOREIGN - 1) * overlap(place, boxes[i])));
  const labels = [];
  // The place of each label as an index; first all are put down, then they move while that costs less.
  const chosen = boxes.map(() => -1);
  let moved = true;
  for (let first = true; moved; first = false) {
    moved = false;
    for (const [i, rectangles] of options.entries()) {
      const others = labels.filter((_, j) => j !== i);
      const costs = rectangles.map((place, k) => base[i][k] + FOREIGN * covered(place, others));
      const best = costs.indexOf(Math.min(...costs));
      // Rounding must not make a label move to and fro.
      if (first || costs[best] < costs[chosen[i]] - 1e-6) {
        chosen[i] = best;
        labels[i] = rectangles[best];
        moved = true;
      }
    }
  }
  return labels.map(([x, y]) => [x, y]);
}

// The 14 places of a label, inside the image, best first.
function places([x, y, w, h], [across, down], width, height) {
  const columns = [x, x + (w - across) / 2, x + w - across];
  const rows = [y, y + (h - down) / 2, y + h - down];
  const corners = [
    ...[y - down, y + h].flatMap((row) => columns.map((column) => [column, row])),
    ...[x + w, x - across].flatMap((column) => rows.map((row) => [column, row])),
    [columns[0], rows[0]], [columns[0], rows[2]],
  ];
  const clamp = (value, most) => Math.min(Math.max(value, 0), Math.max(0, most));
  return corners.map(([left, top]) => [clamp(left, width - across), clamp(top, height - down), across, down]);
}

export function covered(rectangle, others) {
  return others.reduce((sum, other) => sum + overlap(rectangle, other), 0);
}

function overlap([x, y, w, h], [otherX, otherY, otherW, otherH]) {
  const across = Math.min(x + w, otherX + otherW) - Math.max(x, otherX);
  const down = Math.min(y + h, otherY + otherH) - Math.max(y, otherY);
  return Math.max(0, across) * Math.max(0, down);
}
