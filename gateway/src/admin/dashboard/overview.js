// The overview: the figures on top, rates and times of both sides by the second.

import { chart } from "./charts.js";
import { byId, h, show } from "./dom.js";
import { clock, count, DASH, few, percent, rate, seconds, span } from "./format.js";
import { last, mirrorOf, perSecond, recent, sum, total, withGaps } from "./history.js";
import { pairOf } from "./routes.js";

/** Rows of a chart's table, about so many. */
const TABLE_ROWS = 30;

function tile(title, value, note, kind = "") {
  return h("div", { class: `tile ${kind}` }, h("dt", {}, title), h("dd", {}, h("strong", {}, value), h("span", { class: "note" }, note)));
}

/** Copies that were to be sent and were not answered, of all that were to be sent. */
export function lost(ledger) {
  const wanted = sum(ledger.eligible) - sum(ledger.sampled_out) - sum(ledger.skipped);
  return wanted > 0 ? (sum(ledger.dropped) + sum(ledger.failed)) / wanted : null;
}

const connections = (n) => `${few(n)} connection${n === 1 ? "" : "s"}`;

const classes = (history) => Object.values(history.requests);

/** Shares of what either side answered to the same requests: 5xx of v1, 5xx and failures of the mirror. */
function failures(outcomes) {
  const cells = outcomes.flatMap((of) => of.matrix);
  const all = cells.reduce((n, cell) => n + cell.count, 0);
  const is = (text) => /^5|^[a-z]/.test(text);
  const of = (side) => (all > 0 ? cells.filter((cell) => is(cell[side])).reduce((n, cell) => n + cell.count, 0) / all : null);
  return [of("primary"), of("mirror"), all];
}

/** The figures that say in one look whether anything needs one; v1 beside its mirror first. */
export function tiles(history, name, outcomes) {
  const { seconds: lengths } = history;
  const requests = total(classes(history));
  const errors = total([history.requests["5xx"], history.aborted]);
  const mirror = mirrorOf(history, name);
  const busiest = Math.max(...history.workers.map((worker) => last(worker.cpu) ?? 0), 0);
  const ring = history.rings.map((ring) => (last(ring.bytes) ?? 0) / (ring.bytes_max || 1));
  const fill = Math.max(...ring, ...history.rings.map((r) => (last(r.entries) ?? 0) / (r.entries_max || 1)), 0);
  const share = mirror ? lost(mirror.ledger) : null;
  const [v1, v2] = [history.primary, mirror?.latency];
  const [failed1, failed2, pairs] = failures(outcomes);
  const sided = (title, one, other, text, note) => {
    const isWorse = one !== null && other !== null && other > one * 1.5;
    return tile(title, pairOf(one, other, text, isWorse), note, "sides");
  };
  show(
    byId("tiles"),
    sided("p99, v1 → " + (name || "v2"), last(v1.p99_seconds), last(v2?.p99_seconds), seconds, "of the last second"),
    sided("p50, v1 → " + (name || "v2"), last(v1.p50_seconds), last(v2?.p50_seconds), seconds, "of the last second"),
    sided("Failing, v1 → " + (name || "v2"), failed1, failed2, percent, `of ${count(pairs)} pairs`),
    tile("Copies lost", percent(share), mirror ? "in 5 minutes" : "no mirror", share > 0 ? "loss" : ""),
    tile("Requests", rate(recent(requests, lengths)), connections(last(history.connections))),
    tile("Errors to clients", rate(recent(errors, lengths)), "5xx and cut short", sum(errors.slice(-5)) > 0 ? "bad" : ""),
    tile("Copies", mirror ? rate(recent(mirror.ledger.sent, lengths)) : DASH, mirror ? `${count(last(mirror.ledger.in_flight))} in flight` : "no mirror"),
    tile("Ring, worker", [history.rings.length ? percent(fill) : DASH, ", ", percent(busiest)], "the fullest, the busiest"),
  );
  const up = Date.now() / 1000 - history.started;
  byId("about").textContent = `Umbra ${history.version}, up ${span(up)}`;
}

/** Rows of a chart's table: some of the steps, the newest first. */
function rowsOf(data, formats) {
  const step = Math.max(1, Math.ceil(data[0].length / TABLE_ROWS));
  const at = data[0].map((_, n) => n).filter((n) => (data[0].length - 1 - n) % step === 0);
  return at.reverse().map((n) => [clock(data[0][n]), ...formats.map((format, column) => format(data[column + 1][n]))]);
}

/** With seconds only where the steps are. */
const TIME = { time: true, format: (at, step) => (step < 60 ? clock(at) : clock(at).slice(0, 5)) };

/** The two charts over time; `update(history, mirror, reach, marks)` draws the last `reach` seconds. */
export function overTime() {
  let reach = 300;
  const x = { ...TIME, range: () => [Date.now() / 1000 - reach, Date.now() / 1000] };
  const rates = [
    { label: "requests", color: "v1", fill: 0.08 },
    { label: "copies sent", color: "v2" },
    { label: "copies lost", color: "loss", width: 1.5, dash: [4, 3] },
    { label: "5xx and aborted", color: "bad", width: 1.5 },
  ];
  const drawRates = chart(byId("rate-chart"), {
    label: "rates",
    lines: rates,
    x,
    y: { format: rate, least: 10 },
    sync: "time",
    rows: (data, names) => ({
      caption: "Per second, some of the steps",
      columns: ["Time", ...names].map((title, at) => ({ title, class: at ? "number" : null })),
      rows: rowsOf(data, rates.map(() => rate)),
    }),
  });
  const times = [
    { label: "v1 p50", color: "v1", dash: [2, 3] },
    { label: "v1 p99", color: "v1", width: 2 },
    { label: "v2 p50", color: "v2", dash: [2, 3] },
    { label: "v2 p99", color: "v2", width: 2 },
  ];
  const drawTimes = chart(byId("latency-chart"), {
    label: "latency",
    lines: times,
    x,
    y: { format: seconds, log: 10 },
    sync: "time",
    rows: (data, names) => ({
      caption: "Latency, some of the steps",
      columns: ["Time", ...names].map((title, at) => ({ title, class: at ? "number" : null })),
      rows: rowsOf(data, times.map(() => seconds)),
    }),
  });
  return (history, name, wanted, marks) => {
    reach = wanted;
    const { at, seconds: lengths } = history;
    const per = (column) => perSecond(column, lengths);
    const nothing = at.map(() => null);
    const mirror = mirrorOf(history, name);
    const requests = total(classes(history));
    const gone = mirror ? per(total([mirror.ledger.dropped, mirror.ledger.failed])) : nothing;
    const quiet = at.length < 2 ? "Collecting: the first seconds are on their way." : sum(requests) === 0 ? "No requests in this time." : "";
    const errors = total([history.requests["5xx"], history.aborted]);
    drawRates(withGaps(at, [per(requests), mirror ? per(mirror.ledger.sent) : nothing, gone, per(errors)], lengths), quiet, undefined, marks);
    const v2 = mirror?.latency;
    const columns = [history.primary.p50_seconds, history.primary.p99_seconds, v2?.p50_seconds ?? nothing, v2?.p99_seconds ?? nothing];
    const known = columns.some((column) => column.some((value) => value !== null));
    const second = name || "v2";
    const called = ["v1 p50", "v1 p99", `${second} p50`, `${second} p99`];
    drawTimes(withGaps(at, columns, lengths), known ? "" : quiet || "No answers in this time.", called, marks);
  };
}
