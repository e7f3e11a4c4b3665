// Elements in few words. Text is always text: nothing that a gateway or an upstream says is read as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of HTML; `on…` attributes are listeners, absent children are left out. */
export const h = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

/** An element of SVG. */
export const s = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);

export const byId = (id) => document.getElementById(id);

/**
 * Puts `children` in the place of what is in `host`. What somebody does there goes on: by `data-key` the focus stays where
 * it is, details stay open and regions stay scrolled.
 */
export function show(host, ...children) {
  const keyed = () => [...host.querySelectorAll("[data-key]")];
  const held = host.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const before = keyed().filter((element) => element.open || element.scrollLeft || element.scrollTop);
  const kept = before.map(({ dataset, open, scrollLeft, scrollTop }) => [dataset.key, { open, scrollLeft, scrollTop }]);
  host.replaceChildren(...children.flat(2).filter(Boolean));
  if (held === undefined && !kept.length) return;
  const found = new Map(keyed().map((element) => [element.dataset.key, element]));
  for (const [key, { open, scrollLeft, scrollTop }] of kept) {
    const element = found.get(key);
    if (!element) continue;
    if (open) element.open = true;
    [element.scrollLeft, element.scrollTop] = [scrollLeft, scrollTop];
  }
  found.get(held)?.focus({ preventScroll: true });
}

/** Changes the text only where it differs, so that a screen reader is not told the same again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A bar of `share` from 0 to 1. With a label it is a meter that is read out, without one it only decorates a number. */
export function gauge(share, kind, label) {
  const part = Math.min(1, Math.max(0, share));
  const bar = h("span", { class: `filled ${kind}` });
  bar.style.width = part > 0 ? `max(2px, ${part * 100}%)` : "0";
  const read = label
    ? { role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100) }
    : { "aria-hidden": "true" };
  return h("span", { class: "gauge", ...read }, bar);
}

/** What stands where there is nothing to show, and why. */
export const empty = (...text) => h("p", { class: "empty" }, ...text);

/**
 * A table. `columns`: {title, class, hint}; `rows`: lists of cells, each a text, an element or {cell, class};
 * the first cell of a row names it. A row {heading} stands over those that follow.
 */
export function table(caption, columns, rows, { visible = false } = {}) {
  const heads = columns.map((c) => h("th", { scope: "col", class: c.class, title: c.hint }, c.title));
  const cell = (value, at) => {
    const plain = value === null || typeof value !== "object" || value instanceof Node || Array.isArray(value);
    const { cell, class: name } = plain ? { cell: value } : value;
    const classes = [columns[at]?.class, name].filter(Boolean).join(" ") || null;
    return at === 0 ? h("th", { scope: "row", class: classes }, cell) : h("td", { class: classes }, cell);
  };
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption, "data-key": `scroll ${caption}` },
    h(
      "table",
      {},
      h("caption", { class: visible ? null : "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads)),
      h("tbody", {}, rows.map((row) => (row.heading ? h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: columns.length }, row.heading)) : h("tr", {}, row.map(cell))))),
    ),
  );
}

/** What of `all` is on page `at`, and the buttons to the others; `turn(page)` is told which is wanted. */
export function paged(name, all, at, size, turn) {
  const pages = Math.max(1, Math.ceil(all.length / size));
  const page = Math.min(at, pages - 1);
  const from = page * size;
  const shown = all.slice(from, from + size);
  if (pages === 1) return { page, shown, buttons: null };
  const button = (text, label, to) => h("button", { type: "button", "aria-label": label, "data-key": `page ${name} ${label}`, disabled: to < 0 || to >= pages, onclick: () => turn(to) }, text);
  const buttons = h(
    "div",
    { class: "pager", role: "group", "aria-label": `Pages of ${name}` },
    button("‹", "Previous page", page - 1),
    h("span", { class: "note" }, `${from + 1} to ${from + shown.length} of ${all.length}`),
    button("›", "Next page", page + 1),
  );
  return { page, shown, buttons };
}
