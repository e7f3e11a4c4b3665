// The ledger as a flow: from what was eligible to what became of it, each loss by its reason. Widths are true to the
// counts, but nothing that happened is thinner than a line one can see.

import { empty, gauge, h, s, show, table } from "./dom.js";
import { count, percent, words } from "./format.js";

const FLOW = 180;
const SLOT = 22;
const THIN = 2;
const BAR = 10;
/** Room for the words beside the last column. */
const LABEL = 230;

const entries = (counts) => Object.entries(counts ?? {}).filter(([, n]) => n > 0);

/** Every end of a copy that occurred: {name, n, kind, sent}. The order is the page's, from good to lost. */
export function ends(ledger) {
  const one = (name, n, kind, sent) => ({ name, n: n ?? 0, kind, sent });
  return [
    ...entries(ledger.completed).map(([name, n]) => one(`answered ${name}`, n, "done", true)),
    one("in flight", ledger.in_flight, "open", true),
    ...entries(ledger.failed).map(([name, n]) => one(`failed: ${words(name)}`, n, "lost", true)),
    one("waiting in the ring", ledger.waiting, "open", false),
    one("request under way", ledger.pending, "open", false),
    ...entries(ledger.dropped).map(([name, n]) => one(`dropped: ${words(name)}`, n, "lost", false)),
    ...entries(ledger.skipped).map(([name, n]) => one(`skipped: ${words(name)}`, n, "left", false)),
    one("sampled out", ledger.sampled_out, "left", false),
  ].filter((end) => end.n > 0);
}

/** Several mirrors' or routes' ledgers as one. */
export function together(ledgers) {
  const add = (a, b) => {
    if (typeof b === "number") return (a ?? 0) + b;
    const keys = [...new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])];
    return Object.fromEntries(keys.map((key) => [key, add(a?.[key], b?.[key] ?? 0)]));
  };
  return ledgers.reduce(add, {});
}

/** A band from one upright edge to another. */
function band(x0, y0, x1, y1, thick, kind) {
  const middle = (x0 + x1) / 2;
  const top = `M${x0},${y0} C${middle},${y0} ${middle},${y1} ${x1},${y1}`;
  const bottom = `L${x1},${y1 + thick} C${middle},${y1 + thick} ${middle},${y0 + thick} ${x0},${y0 + thick} Z`;
  return s("path", { d: `${top} ${bottom}`, class: `band ${kind}` });
}

function draw(ledger, all, width) {
  const thickness = (n) => Math.max(THIN, (n / ledger.eligible) * FLOW);
  const far = width - LABEL;
  const columns = [0, Math.round(far / 2), far];
  const parts = [];
  let y = 18;
  const sent = { n: ledger.sent, top: y, from: 0, thick: thickness(ledger.sent) };
  let source = y;
  let fromSent = y;
  if (sent.n > 0) {
    parts.push(band(columns[0] + BAR, source, columns[1], y, sent.thick, "sent"));
    parts.push(s("rect", { x: columns[1], y, width: BAR, height: sent.thick, class: "node sent" }));
    parts.push(s("text", { x: columns[1], y: y - 6, class: "label" }, `sent ${count(sent.n)}`));
    source += sent.thick;
  }
  for (const end of all) {
    const thick = thickness(end.n);
    const x = end.sent ? columns[2] : columns[1];
    if (end.sent) {
      parts.push(band(columns[1] + BAR, fromSent, x, y, thick, end.kind));
      fromSent += thick;
    } else {
      parts.push(band(columns[0] + BAR, source, x, y, thick, end.kind));
      source += thick;
    }
    parts.push(s("rect", { x, y, width: BAR, height: thick, class: `node ${end.kind}` }));
    const text = s("text", { x: x + BAR + 8, y: y + Math.min(thick / 2, SLOT) + 4, class: "label" }, end.name, " ");
    text.append(s("tspan", { class: "figure" }, `${count(end.n)} · ${percent(end.n / ledger.eligible)}`));
    parts.push(text);
    y += Math.max(thick, SLOT);
    // Copies that were never sent stand below those that were.
    const next = all[all.indexOf(end) + 1];
    if (end.sent && next && !next.sent) y = Math.max(y, sent.top + sent.thick) + 8;
  }
  parts.push(s("rect", { x: columns[0], y: 18, width: BAR, height: Math.max(source - 18, THIN), class: "node eligible" }));
  parts.push(s("text", { x: 0, y: 12, class: "label" }, `eligible ${count(ledger.eligible)}`));
  const height = Math.max(y, source, fromSent) + 6;
  const said = all.map((end) => `${end.name} ${percent(end.n / ledger.eligible)}`).join(", ");
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Of ${count(ledger.eligible)} eligible: ${said}` },
    parts,
  );
}

/** The account's two sums, as one sentence. */
function balance(ledger, all) {
  const of = (sent) => all.filter((end) => end.sent === sent).reduce((n, end) => n + end.n, 0);
  const open = ledger.eligible - of(false) - ledger.sent;
  const away = ledger.sent - of(true);
  return open === 0 && away === 0
    ? "The ledger balances: every copy is accounted for."
    : `Read while counting: ${count(Math.abs(open) + Math.abs(away))} copies are between two columns.`;
}

/** Draws the ledger into `host`, as wide as it is. */
export function flow(host, ledger, why) {
  if (!ledger || !ledger.eligible) {
    show(host, empty(why));
    return;
  }
  const all = ends(ledger);
  const row = (end) => [end.name, count(end.n), percent(end.n / ledger.eligible)];
  const columns = [{ title: "What became of it" }, { title: "Copies", class: "number" }, { title: "Of eligible", class: "number" }];
  const numbers = table("The ledger since the start", columns, all.map(row), { visible: false });
  const note = h("p", { class: "note" }, balance(ledger, all));
  const width = host.clientWidth;
  const summary = () => h("summary", { "data-key": "ledger summary" }, "As a table");
  if (!all.some((end) => end.kind === "lost")) {
    // Nothing to look at: a line, and the figures for those who want them.
    const still = all.filter((end) => end.kind === "open").reduce((n, end) => n + end.n, 0);
    const left = all.filter((end) => end.kind === "left").reduce((n, end) => n + end.n, 0);
    const done = all.filter((end) => end.kind === "done").reduce((n, end) => n + end.n, 0);
    const rest = [left > 0 && `${count(left)} left out`, still > 0 && `${count(still)} under way`].filter(Boolean).join(", ");
    const line = h("p", { class: "well" }, h("span", { "aria-hidden": "true" }, "✓ "), `No copy is lost: of ${count(ledger.eligible)} eligible, ${count(done)} answered${rest && `, ${rest}`}.`);
    show(host, line, gauge(done / ledger.eligible, "done"), h("div", { class: "below" }, h("details", { class: "numbers", "data-key": "ledger" }, summary(), numbers), note));
  } else if (width < 520) {
    // Too narrow for bands beside their labels: the same as bars.
    const bar = (end) => {
      const share = end.n / ledger.eligible;
      const figure = h("span", { class: "figure" }, `${count(end.n)} · ${percent(share)}`);
      return h("li", {}, h("span", {}, end.name), figure, gauge(share, end.kind));
    };
    show(host, h("p", {}, `Of ${count(ledger.eligible)} eligible copies, ${count(ledger.sent)} were sent.`), h("ul", { class: "bars" }, all.map(bar)), note);
  } else {
    show(host, draw(ledger, all, width), h("details", { class: "numbers", "data-key": "ledger" }, summary(), numbers), note);
  }
}
