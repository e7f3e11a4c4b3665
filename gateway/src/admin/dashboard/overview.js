// What is happening now: the figures on top, rates and times of both sides by the second.

import { chart } from "./charts.js";
import { byId, h, show } from "./dom.js";
import { clock, count, DASH, few, percent, rate, seconds, span } from "./format.js";
import { last, mirrorOf, perSecond, recent, sum, total } from "./history.js";

/** Seconds between the rows of a chart's table. */
const TABLE_STEP = 10;

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

/** The figures that say in one look whether anything needs one. */
export function tiles(history, name) {
  const { seconds: lengths } = history;
  const requests = total(classes(history));
  const errors = total([history.requests["5xx"], history.aborted]);
  const mirror = mirrorOf(history, name);
  const busiest = Math.max(...history.workers.map((worker) => last(worker.cpu) ?? 0), 0);
  const ring = history.rings.map((ring) => (last(ring.bytes) ?? 0) / (ring.bytes_max || 1));
  const fill = Math.max(...ring, ...history.rings.map((r) => (last(r.entries) ?? 0) / (r.entries_max || 1)), 0);
  const share = mirror ? lost(mirror.ledger) : null;
  const times = (of) => `p50 ${seconds(last(of.p50_seconds))}`;
  show(
    byId("tiles"),
    tile("Requests", rate(recent(requests, lengths)), connections(last(history.connections))),
    tile("Errors to clients", rate(recent(errors, lengths)), "5xx and aborted"),
    tile("v1, p99", seconds(last(history.primary.p99_seconds)), times(history.primary), "v1"),
    tile(`${name || "v2"}, p99`, mirror ? seconds(last(mirror.latency.p99_seconds)) : DASH, mirror ? times(mirror.latency) : "no mirror", "v2"),
    tile("Copies", mirror ? rate(recent(mirror.ledger.sent, lengths)) : DASH, mirror ? `${count(last(mirror.ledger.in_flight))} in flight` : "no mirror"),
    tile("Copies lost", percent(share), "in 5 minutes"),
    tile("Fullest ring", history.rings.length ? percent(fill) : DASH, "of entries or bytes"),
    tile("Busiest worker", percent(busiest), `of a core, ${history.workers.length} in all`),
  );
  const up = Date.now() / 1000 - history.started;
  byId("about").textContent = `Umbra ${history.version}, up ${span(up)}`;
}

/** Rows of a chart's table: every so many seconds, the newest first. */
function rowsOf(data, formats) {
  const at = data[0].map((_, n) => n).filter((n) => (data[0].length - 1 - n) % TABLE_STEP === 0);
  return at.reverse().map((n) => [clock(data[0][n]), ...formats.map((format, column) => format(data[column + 1][n]))]);
}

/** With seconds only where the steps are. */
const TIME = { time: true, format: (at, step) => (step < 60 ? clock(at) : clock(at).slice(0, 5)) };

/** The two charts over time; `update(history, mirror)` draws the newest. */
export function overTime() {
  const rates = [
    { label: "requests", color: "v1", fill: 0.08 },
    { label: "copies sent", color: "v2" },
    { label: "copies lost", color: "loss", width: 1.5, dash: [4, 3] },
    { label: "5xx and aborted", color: "bad", width: 1.5 },
  ];
  const drawRates = chart(byId("rate-chart"), {
    label: "rates",
    lines: rates,
    x: TIME,
    y: { format: rate, least: 10 },
    sync: "time",
    rows: (data, names) => ({
      caption: "Per second, every ten seconds",
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
    x: TIME,
    y: { format: seconds, log: 10 },
    sync: "time",
    rows: (data, names) => ({
      caption: "Latency, every ten seconds",
      columns: ["Time", ...names].map((title, at) => ({ title, class: at ? "number" : null })),
      rows: rowsOf(data, times.map(() => seconds)),
    }),
  });
  return (history, name) => {
    const { at, seconds: lengths } = history;
    const per = (column) => perSecond(column, lengths);
    const nothing = at.map(() => null);
    const mirror = mirrorOf(history, name);
    const requests = total(classes(history));
    const gone = mirror ? per(total([mirror.ledger.dropped, mirror.ledger.failed])) : nothing;
    const quiet = at.length < 2 ? "Collecting: the first seconds are on their way." : sum(requests) === 0 ? "No requests in the last five minutes." : "";
    const errors = total([history.requests["5xx"], history.aborted]);
    drawRates([at, per(requests), mirror ? per(mirror.ledger.sent) : nothing, gone, per(errors)], quiet);
    const v2 = mirror?.latency;
    const columns = [history.primary.p50_seconds, history.primary.p99_seconds, v2?.p50_seconds ?? nothing, v2?.p99_seconds ?? nothing];
    const known = columns.some((column) => column.some((value) => value !== null));
    const second = name || "v2";
    const called = ["v1 p50", "v1 p99", `${second} p50`, `${second} p99`];
    drawTimes([at, ...columns], known ? "" : quiet || "No answers in the last five minutes.", called);
  };
}
