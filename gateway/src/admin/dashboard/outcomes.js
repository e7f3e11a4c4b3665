// Outcomes of the same requests on both sides: a matrix of statuses, and the distributions of their times.

import { chart } from "./charts.js";
import { byId, empty, h, show, table } from "./dom.js";
import { count, percent, seconds } from "./format.js";

const agrees = (cell) => cell.primary === cell.mirror;

const byCode = (a, b) => a.localeCompare(b, "en", { numeric: true });

/** Rows are v1's statuses, columns what the mirror of this name did. */
export function matrix(outcomes, name, route) {
  const host = byId("matrix");
  const cells = new Map();
  for (const { primary, mirror, count: n } of outcomes.filter((of) => !route || of.route === route).flatMap((of) => of.matrix)) {
    const at = `${primary}\n${mirror}`;
    cells.set(at, { primary, mirror, n: (cells.get(at)?.n ?? 0) + n });
  }
  const all = [...cells.values()];
  if (!all.length) {
    show(host, empty("No pairs yet: a pair is counted when both sides' answers are over."));
    return;
  }
  const sum = all.reduce((n, cell) => n + cell.n, 0);
  if (all.every(agrees)) {
    const codes = all.map((cell) => `${cell.primary}: ${count(cell.n)}`).join(", ");
    show(host, h("p", { class: "well" }, h("span", { "aria-hidden": "true" }, "✓ "), `All ${count(sum)} pairs have the same status (${codes}).`));
    return;
  }
  const rows = [...new Set(all.map((cell) => cell.primary))].sort(byCode);
  const columns = [...new Set(all.map((cell) => cell.mirror))].sort(byCode);
  const cell = (primary, mirror) => {
    const n = cells.get(`${primary}\n${mirror}`)?.n ?? 0;
    if (n === 0) return { cell: "", class: "number none" };
    const depth = Math.min(4, 1 + Math.floor((4 * Math.log1p(n)) / Math.log1p(sum)));
    const kind = primary === mirror ? "same" : "other";
    return { cell: [count(n), h("small", {}, percent(n / sum))], class: `number ${kind} depth${depth}` };
  };
  const heads = [{ title: `v1 ↓  ${name} →` }, ...columns.map((title) => ({ title, class: "number" }))];
  const body = rows.map((primary) => [primary, ...columns.map((mirror) => cell(primary, mirror))]);
  const same = all.filter(agrees).reduce((n, cell) => n + cell.n, 0);
  show(
    host,
    table(`Status of v1 by status of ${name}, pairs`, heads, body),
    h("p", { class: "note" }, `${percent(same / sum)} of ${count(sum)} pairs have the same status. Words instead of a code tell how ${name} failed.`),
  );
}

/** Where on the percentile axis a quantile stands: each further nine is one step. */
const nines = (quantile) => -Math.log10(1 - quantile);

/** The two charts of distributions; `update(answer, mirror)` draws them. */
export function distributions() {
  const sides = [
    { label: "v1", color: "v1" },
    { label: "v2", color: "v2" },
  ];
  const bars = chart(byId("distribution-chart"), {
    label: "distribution of latency",
    lines: sides.map((side) => ({ ...side, fill: 0.18, stepped: true })),
    x: { format: seconds, log: 10 },
    y: { format: percent, least: 0.01 },
    rows: (data, names) => ({
      caption: "Share of answers by latency",
      columns: ["From", ...names].map((title, at) => ({ title, class: at ? "number" : null })),
      rows: data[0].map((from, at) => [seconds(from), percent(data[1][at]), percent(data[2][at])]),
    }),
  });
  const STEPS = [0.5, 0.9, 0.99, 0.999, 0.9999];
  const name = (step) => `p${Number((100 * (1 - 10 ** -step)).toFixed(2))}`;
  const curve = chart(byId("percentile-chart"), {
    label: "percentiles of latency",
    lines: sides.map((side) => ({ ...side, width: 2 })),
    x: { format: name, splits: () => STEPS.map(nines), range: [0, nines(0.9999) + 0.15] },
    y: { format: seconds, log: 10 },
    rows: (data, names) => ({
      caption: "Latency by percentile",
      columns: ["Percentile", ...names].map((title, at) => ({ title, class: at ? "number" : null })),
      rows: data[0].map((step, at) => [name(step), seconds(data[1][at]), seconds(data[2][at])]),
    }),
  });
  return (answer, mirror) => {
    const of = answer?.distributions.find((one) => one.name === mirror);
    const names = ["v1", mirror || "v2"];
    const both = of ? [of.primary, of.mirror] : [];
    if (!both.some((side) => side.count > 0)) {
      const why = mirror ? "No copies answered yet." : "No mirror to compare with.";
      bars([[], [], []], why, names);
      curve([[], [], []], why, names);
      byId("distribution-note").textContent = "";
      return;
    }
    bars(histogram(both), "", names);
    const known = answer.quantiles.map((quantile, at) => ({ quantile, at })).filter(({ quantile }) => quantile < 1);
    // A percentile that rests on less than one answer is none.
    const cell = (side, { quantile, at }) => (side.count * (1 - quantile) >= 1 ? (side.quantiles_seconds[at] || null) : null);
    curve([known.map(({ quantile }) => nines(quantile)), ...both.map((side) => known.map((q) => cell(side, q)))], "", names);
    const [v1, v2] = both.map((side) => count(side.count));
    const worst = both.map((side) => seconds(side.quantiles_seconds.at(-1)));
    byId("distribution-note").textContent = `Since the start, of the requests that ${mirror} answered too: ${v1} answers of v1, at most ${worst[0]}; ${v2} of ${mirror}, at most ${worst[1]}. Known to one percent.`;
  };
}

/** Both sides' bars on one ladder of edges, as shares of their own answers. */
function histogram(sides) {
  const step = (edge) => Math.round(Math.log2(edge * 1e6) * 4);
  const all = sides.flatMap((side) => side.bars.map(([from]) => step(from)));
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const ladder = Array.from({ length: high - low + 2 }, (_, n) => low + n);
  const shares = sides.map((side) => {
    const counts = new Map(side.bars.map(([from, , n]) => [step(from), n]));
    return ladder.map((at) => (side.count ? (counts.get(at) ?? 0) / side.count : null));
  });
  return [ladder.map((at) => 2 ** (at / 4) / 1e6), ...shares];
}
