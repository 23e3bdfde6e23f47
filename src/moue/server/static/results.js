// What was read so far: the rows of all files, and the table that shows them.

import { clock, element, faceText, percent, plural, table } from "./element.js";
import { people } from "./people.js";

// Rows that the table shows; files have all.
const MAX_SHOWN = 1000;
const READ = ["ok", "no_face"];

export class Results {
  constructor(place) {
    this.place = place;
    this.clear();
  }

  clear() {
    this.entries?.forEach((entry) => this.remove(entry));
    this.entries = [];
    this.place.replaceChildren();
  }

  // entry: name; rows, each with its source and model; card; and the file, where it can be read again. The rows of the
  // camera are added to while it is on.
  add(entry) {
    this.entries.push(entry);
    if (entry.card) entry.card.id = entry.id = `result-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  }

  remove(entry) {
    entry.card?.remove();
    URL.revokeObjectURL(entry.card?.querySelector("video")?.src);
    this.entries = this.entries.filter((other) => other !== entry);
  }

  get rows() {
    // Not push(...): a long film has more rows than a call may have arguments.
    return [].concat(...this.entries.map((entry) => entry.rows));
  }

  get files() {
    return this.entries.map((entry) => entry.file).filter(Boolean);
  }

  // Draws the table again, at most once a frame: a batch of small images is read faster than that.
  show() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  draw() {
    for (const entry of this.entries) {
      const { length } = entry.rows;
      if (entry.shown !== length) Object.assign(entry, { shown: length, lines: linesOf(entry) });
    }
    const lines = this.entries.flatMap((entry) => entry.lines);
    if (!lines.length) {
      this.place.replaceChildren();
      return;
    }
    const more = lines.length - MAX_SHOWN;
    const note = more > 0 ? [element("p", { class: "note", text: `${plural(more, "more row")}: the files have all.` })] : [];
    this.place.replaceChildren(table("Results", ["File", "Face", "Expression", "Remark", "Model"], lines.slice(0, MAX_SHOWN)), ...note);
  }
}

export function isRead(row) {
  return READ.includes(row.status);
}

function linesOf(entry) {
  const name = entry.id ? element("a", { href: `#${entry.id}`, text: entry.name, title: entry.name }) : entry.name;
  const filmed = people(entry.rows).map((person) => [
    name.cloneNode?.(true) ?? name, `person ${person.track}`, `mostly ${person.label}, mean ${percent(person.mean[person.label])}`,
    `${clock(person.start)} to ${clock(person.end)}`, person.model,
  ]);
  const others = entry.rows.filter((row) => row.frame === undefined).flatMap((row) => {
    const found = row.faces.map((face, i) => [String(i + 1), faceText(face, ""), [face.uncertain && "uncertain", row.reason].filter(Boolean).join("; ")]);
    const rest = ["", isRead(row) ? "no face was found" : "could not be read", row.reason];
    return (found.length ? found : [rest]).map((cells) => [name.cloneNode?.(true) ?? name, ...cells, row.model]);
  });
  const lines = [...filmed, ...others];
  return lines.length ? lines : [[name, "", "no face was found", "", entry.rows[0]?.model]];
}
