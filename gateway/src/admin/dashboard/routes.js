// The routes, those first that need a look: which clients get errors, which lose copies, where v2 differs or is slow.

import { byId, empty, h, paged, s, show, table } from "./dom.js";
import { count, DASH, percent, rate, seconds } from "./format.js";
import { slowest } from "./head.js";

/** Routes on one page: of a wide screen, of a phone, of others. */
const PAGES = { wide: 8, phone: 4, other: 6 };
const isWide = matchMedia("(min-width: 1200px)");
const isPhone = matchMedia("(max-width: 720px)");
const size = () => PAGES[isWide.matches ? "wide" : isPhone.matches ? "phone" : "other"];

/** Less than one in so many is none. */
const RARE = 0.001;

const WIDTH = 96;
const HEIGHT = 20;

/** The kinds of routes, the worst first: {key, title, is, figure}. A route is of the first kind that it is of. */
const KINDS = [
  { key: "errors", title: "Clients get errors", is: (of) => of.errors >= RARE, figure: (of) => of.errors },
  { key: "lost", title: "Copies are lost", is: (of) => of.lost >= RARE, figure: (of) => of.lost },
  { key: "differs", title: "Differ from v1", is: (of) => of.differs > 0, figure: (of) => of.differs },
  { key: "slower", title: "Slower than v1", is: (of) => of.slow !== null, figure: (of) => of.times[3] / of.times[2] },
  { key: "alike", title: "Like v1", is: (of) => of.pairs > 0, figure: (of) => of.rate ?? 0 },
  { key: "bare", title: "Not mirrored", is: (of) => !of.outcome && of.rate > 0, figure: (of) => of.rate },
  { key: "quiet", title: "Quiet", is: () => true, figure: () => 0 },
];

const sum = (column) => (column ?? []).reduce((n, value) => n + value, 0);

/** Pairs whose statuses are not the same, of all. */
function otherwise(outcome) {
  const other = outcome.matrix.filter((cell) => cell.primary !== cell.mirror).reduce((n, cell) => n + cell.count, 0);
  return outcome.pairs > 0 ? other / outcome.pairs : 0;
}

const at = (side, name) => side?.[`${name}_seconds`] ?? null;

/** What is known of each route: figures, and of which kind it is. */
export function judged({ routes, outcomes, trends, diffs, mirror }) {
  const byRoute = (list, is = () => true) => new Map(list.filter(is).map((of) => [of.route, of]));
  const [outcome, trend] = [byRoute(outcomes, (of) => of.mirror === mirror), byRoute(trends?.routes ?? [])];
  const groups = new Map();
  for (const of of diffs?.groups ?? []) {
    if (of.mirror !== mirror || of.is_noise || !of.compared) continue;
    groups.set(of.route, Math.max(groups.get(of.route) ?? 0, of.count / of.compared));
  }
  const length = trends?.seconds?.at(-1) || trends?.step_seconds || 1;
  return routes.map((route) => {
    const [of, line] = [outcome.get(route.name), trend.get(route.name)];
    const requests = sum(line?.requests);
    const wanted = of ? of.ledger.eligible - of.ledger.sampled_out - sum(Object.values(of.ledger.skipped)) : 0;
    const figures = {
      name: route.name,
      matches: route.matches,
      outcome: of,
      line,
      pairs: of?.pairs ?? 0,
      rate: line ? (line.requests?.at(-1) ?? 0) / length : null,
      errors: requests > 0 ? sum(line?.errors) / requests : 0,
      lost: wanted > 0 ? (sum(Object.values(of.ledger.dropped)) + sum(Object.values(of.ledger.failed))) / wanted : 0,
      differs: Math.max(groups.get(route.name) ?? 0, of ? otherwise(of) : 0),
      slow: of ? slowest([of]) : null,
      times: ["p50", "p99"].flatMap((name) => [at(of?.latency?.primary, name), at(of?.latency?.mirror, name)]),
    };
    return { ...figures, kind: KINDS.findIndex((kind) => kind.is(figures)) };
  });
}

/** Requests as a line, errors as bars under it. */
function spark(line, steps) {
  if (!line?.requests) return h("span", { class: "note" }, DASH);
  const most = Math.max(...line.requests, 1);
  const x = (n, of) => ((steps - of + n) / Math.max(steps - 1, 1)) * WIDTH;
  const y = (value) => HEIGHT - 1 - (value / most) * (HEIGHT - 3);
  const path = line.requests.map((value, n) => `${n ? "L" : "M"}${x(n, line.requests.length).toFixed(1)},${y(value).toFixed(1)}`).join("");
  const bars = (column, kind) =>
    (column ?? []).flatMap((value, n) => (value > 0 ? [s("rect", { x: x(n, column.length) - 0.8, y: Math.min(y(value), HEIGHT - 3), width: 1.6, height: HEIGHT - Math.min(y(value), HEIGHT - 3), class: kind })] : []));
  return s("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" }, s("path", { d: path }), bars(line.errors, "bad"));
}

/** v1's value, then v2's. */
export function pairOf(v1, v2, text, isWorse) {
  if (v1 === null && v2 === null) return h("span", { class: "note" }, DASH);
  return h("span", { class: "sided" }, h("span", { class: "of1" }, text(v1)), " → ", h("strong", { class: isWorse ? "of2 slower" : "of2" }, text(v2)));
}

const view = { search: "", kind: "", page: 0 };
let last = null;

/** Draws the table; `choose(name)` is told which route somebody wants to see alone. */
export function routesTable(known, chosen, choose) {
  last = [known, chosen, choose];
  const host = byId("routes-table");
  const all = judged(known);
  const counts = KINDS.map((_, at) => all.filter((of) => of.kind === at).length);
  const kinds = KINDS.map((kind, at) => ({ ...kind, n: counts[at] })).filter((kind) => kind.n > 0);
  if (!kinds.some((kind) => kind.key === view.kind)) view.kind = "";
  const chip = (key, title, n) => h("button", { type: "button", class: `chip ${key}`, "aria-pressed": String(view.kind === key), "data-key": `kind ${key}`, onclick: () => turn({ kind: view.kind === key ? "" : key, page: 0 }) }, title, " ", h("span", { class: "figure" }, count(n)));
  show(byId("route-kinds"), chip("", "All", all.length), kinds.length > 1 && kinds.map((kind) => chip(kind.key, kind.title, kind.n)));
  const wanted = view.search.trim().toLowerCase();
  const fits = (of) => !wanted || [of.name, ...(of.matches ?? [])].some((text) => text.toLowerCase().includes(wanted));
  const meant = all.filter((of) => fits(of) && (!view.kind || KINDS[of.kind].key === view.kind));
  meant.sort((a, b) => a.kind - b.kind || KINDS[b.kind].figure(b) - KINDS[a.kind].figure(a) || (b.rate ?? 0) - (a.rate ?? 0) || a.name.localeCompare(b.name));
  if (!meant.length) {
    show(host, empty(all.length ? "No route like that." : "No routes."));
    return;
  }
  const { page, shown, buttons } = paged("routes", meant, view.page, size(), (page) => turn({ page }));
  view.page = page;
  const number = (title, hint) => ({ title, hint, class: "number" });
  const name = known.mirror || "v2";
  const columns = [
    { title: "Route" },
    number("p99, v1 → v2", `v1 → ${name}, of the same requests`),
    number("p50, v1 → v2", `v1 → ${name}, of the same requests`),
    number("Differ", "Pairs that differ in the field that differs most often, or in status"),
    number("Lost", "Copies lost since the start, of those that were to be sent"),
    number("5xx", "5xx and answers cut short, of requests in this time"),
    number("Requests", "Per second, in the newest step"),
    { title: "In this time", class: "wide-only" },
  ];
  const row = (of) => {
    const [p50, p50of2, p99, p99of2] = of.times;
    const button = h("button", { type: "button", class: "link", "data-key": `route ${of.name}`, "aria-pressed": String(of.name === chosen), title: (of.matches ?? []).join(" or "), onclick: () => choose(of.name === chosen ? "" : of.name) }, of.name);
    const share = (value) => ({ cell: value > 0 ? percent(value) : "0", class: value > 0 ? "differs" : "none" });
    return [
      button,
      pairOf(p99, p99of2, seconds, of.slow !== null),
      pairOf(p50, p50of2, seconds, false),
      of.pairs ? share(of.differs) : DASH,
      of.outcome ? share(of.lost) : DASH,
      { cell: of.errors > 0 ? percent(of.errors) : "0", class: of.errors > 0 ? "errors" : "none" },
      rate(of.rate ?? 0),
      spark(of.line, known.trends?.steps_max ?? 60),
    ];
  };
  const rows = shown.flatMap((of, n) => {
    const isFirst = n === 0 || shown[n - 1].kind !== of.kind;
    const kind = KINDS[of.kind];
    return isFirst && !view.kind && kinds.length > 1 ? [{ heading: `${kind.title}: ${count(counts[of.kind])}` }, row(of)] : [row(of)];
  });
  show(host, table("Routes, the worst first", columns, rows), buttons);
}

function turn(change) {
  Object.assign(view, change);
  if (last) routesTable(...last);
}

for (const kind of [isWide, isPhone]) kind.addEventListener("change", () => turn({}));
byId("route-search").addEventListener("input", (event) => turn({ search: event.target.value, page: 0 }));
