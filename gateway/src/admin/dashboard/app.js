// The page: asks the admin listener in turns, and hands what it says to those who draw it.
//
// Each question has its own pace. A hidden page asks nothing; a gateway that does not answer is asked more rarely, and the
// page keeps showing what it knew last, saying so.

import { get, query, Trouble, token } from "./api.js";
import { changesList, markers } from "./changes.js";
import { askToken, configuration, pauseAll, written } from "./controls.js";
import { differences } from "./differences.js";
import { byId, h, say, show } from "./dom.js";
import { flow, together } from "./flow.js";
import { folds } from "./folds.js";
import { percent, rate, span } from "./format.js";
import { glossary } from "./glossary.js";
import { head, pauseButton } from "./head.js";
import { extend, mirrorOf, recent } from "./history.js";
import { machine } from "./machine.js";
import { distributions, matrix } from "./outcomes.js";
import { lost, overTime, tiles } from "./overview.js";
import { routesTable } from "./routes.js";
import { verdict } from "./verdict.js";

const BACKOFF_MS_MAX = 10_000;

/** Rules of each mirror that are shown, the worst first. */
const RULES_MAX = 36;

/** A page that the gateway does not have may come with its next version. */
const MISSING_MS = 60_000;

/** Seconds that the charts reach back where nobody chose. */
const REACH = 300;

/** Changes that are kept, as many as the gateway keeps. */
const CHANGES_MAX = 256;

/** After an answer that took long comes a pause this many times as long. */
const COST_PARTS = 5;

const state = {
  history: null,
  longer: null,
  reach: REACH,
  trends: null,
  outcomes: null,
  status: null,
  verdict: null,
  diffs: null,
  changes: [],
  routes: [],
  mirrors: [],
  configured: false,
  mirror: "",
  route: "",
  reached: null,
  troubled: new Map(),
};

const announce = (text) => say(byId("announcer"), text);

const notice = (text) => {
  const host = byId("notice");
  host.hidden = false;
  show(host, h("span", {}, text), h("button", { type: "button", class: "link", onclick: () => (host.hidden = true) }, "Dismiss"));
  announce(text);
};

/** What a panel says whose page the gateway does not have. */
const MISSING = "This gateway does not offer this page.";

const why = (error) => (error.kind === "missing" ? MISSING : error.kind === "unauthorized" ? "The gateway wants its token: press “Token” above." : error.message);

function reachable(is) {
  if (state.reached === is) return;
  const before = state.reached;
  state.reached = is;
  document.documentElement.dataset.reached = String(is);
  byId("unreachable").hidden = is;
  say(byId("state"), is ? "live" : "unreachable");
  if (before !== null) announce(is ? "The gateway answers again." : "The gateway does not answer. What is shown is from before.");
}

/** Asks `work` every `pace` milliseconds, while the page is seen; more rarely what takes long. */
function every(pace, work) {
  let timer = 0;
  let running = false;
  let pause = pace;
  const turn = async () => {
    clearTimeout(timer);
    if (running || document.hidden) return;
    running = true;
    try {
      const began = performance.now();
      await work();
      reachable(true);
      pause = Math.max(pace, (performance.now() - began) * COST_PARTS);
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      if (error.kind === "unreachable") {
        reachable(false);
        pause = Math.min(pause * 2, BACKOFF_MS_MAX);
      } else {
        reachable(true);
        if (error.kind === "missing") pause = MISSING_MS;
      }
    } finally {
      running = false;
      timer = setTimeout(turn, pause);
    }
  };
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}

/** Hands the answer, or why there is none, to `draw`; a gateway that is away is everybody's trouble. */
async function ask(path, draw) {
  try {
    draw(await get(path), null);
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (error.kind !== "unreachable") draw(null, why(error));
    throw error;
  }
}

/** The options of a selector, [value, label] each, keeping what is chosen while it is there. */
function offer(select, wanted) {
  const told = JSON.stringify(wanted);
  if (select.dataset.told === told) return;
  select.dataset.told = told;
  const chosen = select.value;
  show(select, wanted.map(([value, label]) => h("option", { value }, label)));
  select.value = wanted.some(([value]) => value === chosen) ? chosen : (wanted[0]?.[0] ?? "");
}

/** A baseline is v1 once more: it is looked at where somebody chooses it. */
const isBaseline = (mirrors, name) => mirrors.filter((mirror) => mirror.name === name).every((mirror) => mirror.role === "baseline");

/** Names of mirrors, candidates before baselines. */
function byRole(mirrors) {
  const names = [...new Set(mirrors.map((mirror) => mirror.name))];
  return names.sort((a, b) => Number(isBaseline(mirrors, a)) - Number(isBaseline(mirrors, b)));
}

/** Titles speak of mirrors by their names: what is judged are candidates, what is looked at is the one chosen. */
function nameMirrors() {
  const candidates = byRole(state.mirrors).filter((name) => !isBaseline(state.mirrors, name));
  say(byId("judged"), candidates.length === 1 ? candidates[0] : "v2");
  say(byId("looked-at"), state.mirror || "v2");
}

const meant = (of) => of.mirror === state.mirror && (!state.route || of.route === state.route);

function drawOutcomes(trouble) {
  const all = state.outcomes?.outcomes ?? [];
  const ofMirror = all.filter((of) => of.mirror === state.mirror);
  if (trouble) {
    for (const id of ["matrix", "ledger"]) show(byId(id), h("p", { class: "empty" }, trouble));
    return;
  }
  if (!state.outcomes) return;
  matrix(ofMirror, state.mirror, state.route);
  const ledgers = all.filter(meant).map((of) => of.ledger).filter(Boolean);
  flow(byId("ledger"), ledgers.length ? together(ledgers) : null, noCopies());
  drawRoutes();
}

function drawRoutes() {
  if (!state.configured) return;
  const { routes, trends, mirror } = state;
  routesTable({ routes, outcomes: state.outcomes?.outcomes ?? [], trends, diffs: state.diffs?.[0] ?? null, mirror }, state.route, (name) => choose("route", name));
}

/** Why no copy was counted, as far as one can tell. */
function noCopies() {
  if (!state.mirrors.length) return "No copies: no route has a mirror.";
  const ours = state.mirrors.filter((m) => m.name === state.mirror && (!state.route || m.route === state.route));
  if (ours.length && ours.every((m) => m.percent === 0)) return "No copies yet: this mirror is paused (0 %).";
  return "No copies yet: no request that this mirror takes has come.";
}

const drawOver = overTime();
const drawDistributions = distributions();

/** What the head is told: differences without the trouble of asking for them. */
const known = () => ({ ...state, diffs: state.diffs?.[0] ?? null });

function drawHead() {
  head(known());
  pauseButton(state);
}

function drawLive() {
  if (!state.history) return;
  drawHead();
  tiles(state.history, state.mirror, (state.outcomes?.outcomes ?? []).filter(meant));
  if (state.reach === REACH) drawCharts();
  machine(state.history);
}

/** The charts over time, in the steps that reach as far as somebody chose. */
function drawCharts() {
  const history = state.reach === REACH ? state.history : state.longer;
  if (!history) return;
  const from = Date.now() / 1000 - state.reach;
  drawOver(history, state.mirror, state.reach, markers(state.changes, from));
  changesList(state.changes, from);
}

/** What a mirror's row says beside its share. */
function facts(name) {
  const mirror = mirrorOf(state.history, name);
  if (!mirror) return "";
  const share = lost(mirror.ledger);
  const gone = share > 0 ? `, ${percent(share)} lost` : "";
  const word = state.verdict?.mirrors?.find((of) => of.mirror === name)?.verdict;
  return ` ${rate(recent(mirror.ledger.sent, state.history.seconds))} copies${gone}${word ? `, verdict ${word}` : ""}`;
}

function drawConfiguration() {
  const { routes, mirrors, changes, route } = state;
  configuration({ routes, mirrors, changes, route, facts, announce: notice, reload: refresh });
}

const turns = {
  live: every(1_000, () =>
    ask(query("/live", { after: state.history?.seq }), (answer, trouble) => {
      if (trouble) return;
      state.history = extend(state.history, answer);
      if (!state.history) return;
      byId("late").textContent = "";
      drawLive();
    }),
  ),
  longer: every(5_000, async () => {
    const { reach } = state;
    if (reach === REACH) return;
    await ask(query("/live", { after: state.longer?.seq, seconds: reach }), (answer, trouble) => {
      if (trouble || reach !== state.reach) return;
      state.longer = extend(state.longer, answer);
      drawCharts();
    });
  }),
  trends: every(5_000, () =>
    ask(query("/live/routes", { seconds: state.reach }), (answer, trouble) => {
      if (trouble) return;
      state.trends = answer;
      drawRoutes();
    }),
  ),
  status: every(2_000, () =>
    ask("/status", (answer, trouble) => {
      if (trouble) return;
      state.status = answer;
      drawHead();
    }),
  ),
  changes: every(2_000, () =>
    ask(query("/changes", { after: state.changes.at(-1)?.number }), (answer, trouble) => {
      if (trouble) return;
      // Fewer than are known: another process.
      const before = answer.count < (state.changes.at(-1)?.number ?? 0) ? [] : state.changes;
      state.changes = [...before, ...answer.changes].slice(-CHANGES_MAX);
      if (answer.changes.length) {
        drawCharts();
        turns.configuration();
      }
    }),
  ),
  outcomes: every(2_000, () =>
    ask(query("/outcomes", { mirror: state.mirror }), (answer, trouble) => {
      state.outcomes = answer;
      drawOutcomes(trouble);
    }),
  ),
  distributions: every(5_000, async () => {
    if (!byId("distribution").open) return;
    await ask(query("/live/distributions", { route: state.route }), (answer) => drawDistributions(answer, state.mirror));
  }),
  configuration: every(5_000, async () => {
    const [routesInForce, { mirrors }] = await Promise.all([get("/routes"), get("/mirrors")]);
    state.mirrors = mirrors;
    state.routes = routesInForce.routes;
    state.configured = true;
    const names = byRole(mirrors);
    offer(byId("mirror-choice"), names.map((name) => [name, isBaseline(mirrors, name) ? `${name} (baseline)` : name]));
    offer(byId("route-choice"), [["", "all routes"], ...routesInForce.routes.map(({ name }) => [name, name])]);
    state.mirror = byId("mirror-choice").value;
    state.route = byId("route-choice").value;
    byId("mirror-field").hidden = names.length < 2;
    nameMirrors();
    drawConfiguration();
    if (!state.drawn) {
      state.drawn = true;
      redraw();
    }
  }),
  verdict: every(5_000, () =>
    ask(query("/verdict", { rules: RULES_MAX }), (answer, trouble) => {
      state.verdict = answer;
      verdict(answer, trouble);
    }),
  ),
  differences: every(5_000, () =>
    ask(query("/diffs", { mirror: state.mirror }), (answer, trouble) => {
      state.diffs = [answer, trouble];
      differences(answer, trouble, state.mirror, state.route);
      drawRoutes();
    }),
  ),
};

async function refresh() {
  await Promise.all([turns.configuration(), turns.outcomes(), turns.changes()]);
  drawHead();
}

/** Everything that depends on which mirror and route are looked at. */
function redraw() {
  drawLive();
  drawOutcomes(null);
  drawConfiguration();
  turns.outcomes();
  turns.distributions();
  turns.differences();
  if (state.diffs) differences(...state.diffs, state.mirror, state.route);
}

function choose(what, name) {
  byId(`${what}-choice`).value = name;
  state[what] = name;
  nameMirrors();
  redraw();
}

for (const what of ["mirror", "route"]) {
  byId(`${what}-choice`).addEventListener("change", (event) => choose(what, event.target.value));
}

for (const dialog of document.querySelectorAll("dialog")) {
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close(button.dataset.close));
  }
  dialog.querySelector("form")?.addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close("yes");
  });
}

byId("token-button").addEventListener("click", async () => {
  if (await askToken()) {
    announce(token.get() ? "The token is kept until this tab is closed." : "The token is forgotten.");
    Object.values(turns).forEach((turn) => turn());
  }
});

folds();
byId("written").addEventListener("toggle", written);
byId("distribution").addEventListener("toggle", () => turns.distributions());
byId("glossary-button").addEventListener("click", glossary);
byId("pause-all").addEventListener("click", () => pauseAll(state.mirrors, state.changes, notice, refresh));

byId("reach").addEventListener("change", (event) => {
  state.reach = Number(event.target.value);
  state.longer = null;
  turns.longer();
  turns.trends();
  drawCharts();
});

const theme = byId("theme-choice");
theme.value = document.documentElement.dataset.theme ?? "system";
theme.addEventListener("change", () => {
  const chosen = theme.value;
  try {
    if (chosen === "system") localStorage.removeItem("umbra-theme");
    else localStorage.setItem("umbra-theme", chosen);
  } catch {
    // It holds for this page then.
  }
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  document.dispatchEvent(new Event("themechange"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

let settled = 0;
addEventListener("resize", () => {
  clearTimeout(settled);
  settled = setTimeout(() => drawOutcomes(null), 150);
});

/** How old the newest second is, once that is worth saying. */
setInterval(() => {
  const newest = state.history?.at.at(-1);
  const age = newest ? Date.now() / 1000 - newest : 0;
  say(byId("late"), state.reached === false && newest ? `last heard ${span(age)} ago` : "");
}, 1_000);
