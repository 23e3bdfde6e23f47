// The colors of the expressions: the server's, made lighter or darker until they stand out from the page's ground.

// WCAG 2.2, success criterion 1.4.11: graphics need a contrast of 3:1.
const MIN_CONTRAST = 3;
// Lines differ in more than their color.
const DASHES = [[], [9, 4], [2, 4]];

const colors = {};
const dark = matchMedia("(prefers-color-scheme: dark)");

export function addColors(added) {
  Object.assign(colors, added);
  update();
}

// The color in which an expression is drawn on a photo.
export function color(label) {
  return colors[label] ?? "#888888";
}

// The same for the page's ground, as CSS: it follows a change to dark mode.
export function groundColor(label) {
  return `var(--expression-${Object.keys(colors).indexOf(label)}, #888888)`;
}

// The same for a canvas, which knows no variables.
export function lineColor(label) {
  return legible(color(label), ground());
}

export function dash(label) {
  return DASHES[Math.max(0, Object.keys(colors).indexOf(label)) % DASHES.length];
}

export function dashStyle(label) {
  return ["solid", "dashed", "dotted"][DASHES.indexOf(dash(label))];
}

// Black or white, whichever is easier to read on a color.
export function textColor(background) {
  const [r, g, b] = rgb(background);
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

// Calls view.redraw() after each change, for as long as somebody else holds the view: what was cleared is freed.
export function onSchemeChange(view) {
  const held = new WeakRef(view);
  const redraw = () => {
    const shown = held.deref();
    if (shown) shown.redraw();
    else dark.removeEventListener("change", redraw);
  };
  dark.addEventListener("change", redraw);
}

function ground() {
  return getComputedStyle(document.documentElement).getPropertyValue("--surface").trim();
}

function update() {
  const background = ground();
  Object.values(colors).forEach((value, i) => document.documentElement.style.setProperty(`--expression-${i}`, legible(value, background)));
}
dark.addEventListener("change", update);

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// Relative luminance, 0 to 1 (WCAG 2.2).
function luminance(channels) {
  const [r, g, b] = channels.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

// A color mixed with as little black or white as gives it the contrast to its ground.
function legible(hex, background) {
  const base = rgb(background);
  const target = luminance(base) > 0.18 ? 0 : 255;
  for (let share = 0; ; share += 0.02) {
    const mixed = rgb(hex).map((c) => Math.round(c + share * (target - c)));
    if (share >= 1 || contrast(mixed, base) >= MIN_CONTRAST) return `#${mixed.map((c) => c.toString(16).padStart(2, "0")).join("")}`;
  }
}
