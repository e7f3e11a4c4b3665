// Changes of the configuration: each with its author, and its place in the charts.

import { by } from "./head.js";
import { byId, h, show } from "./dom.js";
import { clock, count, instant } from "./format.js";

/** Changes that have a line; all are markers. */
const LINES_MAX = 4;

/** Things of one change that are named. */
const NAMED_MAX = 2;

const at = (change) => new Date(change.at).getTime() / 1000;

/** "v2 5 → 10" of "route.all.mirrors.v2.percent: 5 → 10" */
function thing({ key, from, to }) {
  const mirror = key.match(/^route\.(.+)\.mirrors\.(.+)\.percent$/);
  const name = mirror ? `${mirror[2]} on ${mirror[1]}` : key;
  const unit = mirror ? "\u202f%" : "";
  if (from === null) return `${name}: ${to}${unit}`;
  return to === null ? `${name}: gone` : `${name}: ${from} → ${to}${unit}`;
}

/** One change as a line. */
export function told(change) {
  const named = change.what.slice(0, NAMED_MAX).map(thing);
  const more = change.what.length - named.length + (change.more ?? 0);
  const what = change.refused ? `refused: ${change.refused}` : named.join(", ") || "nothing differs";
  return `${what}${more > 0 ? ` and ${count(more)} more` : ""}, by ${by(change.by)}`;
}

/** Those since `from`: where they stand in a chart. */
export const markers = (changes, from) => changes.filter((change) => at(change) >= from).map((change) => ({ at: at(change), refused: Boolean(change.refused) }));

/** The newest changes since `from`, as text below the charts. */
export function changesList(changes, from) {
  const within = changes.filter((change) => at(change) >= from);
  const lines = within.slice(-LINES_MAX).reverse();
  const more = within.length - lines.length;
  show(
    byId("changes"),
    lines.length
      ? h("ul", {}, lines.map((change) => h("li", { title: instant(change.at) }, h("span", { class: "flag", "aria-hidden": "true" }, "▾"), h("span", { class: "figure" }, clock(at(change))), ` ${told(change)}`)), more > 0 && h("li", { class: "note" }, `And ${count(more)} more changes in this time.`))
      : h("p", { class: "note" }, "Nothing was changed in this time."),
  );
}
