// Makes elements of the page.

// attributes: "text" is the content, "on…" a listener; false and null leave an attribute out.
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// The card of a photo, a video or the camera, read with one or two models.
export function card(models, title, ...children) {
  return element("article", { class: models.length > 1 ? "card compare" : "card" }, element("h2", { text: title }), ...children);
}

// A table that scrolls by itself where it is wider than the page. rows: lists of text or elements.
export function table(caption, head, rows) {
  const cell = (tag) => (content) => element(tag, tag === "th" ? { scope: "col" } : {}, content ?? "");
  return element("div", {}, element("p", { class: "caption", "aria-hidden": "true", text: caption }),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      element("table", { "aria-label": caption },
        element("thead", {}, element("tr", {}, ...head.map(cell("th")))),
        element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell("td"))))))));
}

export function plural(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

// A network is never certain: only 1 itself is shown as 100 %.
export function percent(p) {
  return `${Math.round(100 * (p < 1 ? Math.min(p, 0.99) : p))} %`;
}

// A time in seconds as text: "3.2 s" or, for long ones, "12:05 min".
export function clock(seconds, digits = 1, long = seconds >= 120) {
  if (!long) return `${seconds.toFixed(digits)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
}

// A face's label, its probability, and a mark where it is uncertain.
export function faceText(face, uncertain = ", uncertain") {
  return `${face.label} ${percent(face.probabilities[face.label])}${face.uncertain ? uncertain : ""}`;
}
