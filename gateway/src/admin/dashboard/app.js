// The page: asks the admin listener in turns, and hands what it says to those who draw it.
//
// Each question has its own pace. A hidden page asks nothing; a gateway that does not answer is asked more rarely, and the
// page keeps showing what it knew last, saying so.

import { get, query, Trouble, token } from "./api.js";
import { askToken, configuration, written } from "./controls.js";
import { differences } from "./differences.js";
import { byId, h, say, show } from "./dom.js";
import { flow, together } from "./flow.js";
import { span } from "./format.js";
import { extend } from "./history.js";
import { machine } from "./machine.js";
import { distributions, matrix, routes } from "./outcomes.js";
import { overTime, tiles } from "./overview.js";
import { verdict } from "./verdict.js";

const BACKOFF_MS_MAX = 10_000;

/** A page that the gateway does not have may come with its next version. */
const MISSING_MS = 60_000;

const state = {
  history: null,
  outcomes: null,
  mirrors: [],
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

/** Asks `work` every `pace` milliseconds, while the page is seen. */
function every(pace, work) {
  let timer = 0;
  let running = false;
  let pause = pace;
  const turn = async () => {
    clearTimeout(timer);
    if (running || document.hidden) return;
    running = true;
    try {
      await work();
      reachable(true);
      pause = pace;
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
    for (const id of ["routes-table", "matrix", "ledger"]) show(byId(id), h("p", { class: "empty" }, trouble));
    return;
  }
  if (!state.outcomes) return;
  routes(ofMirror, state.mirror, state.route, (name) => choose("route", name));
  matrix(ofMirror, state.mirror, state.route);
  const ledgers = all.filter(meant).map((of) => of.ledger).filter(Boolean);
  flow(byId("ledger"), ledgers.length ? together(ledgers) : null, noCopies());
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

function drawLive() {
  if (!state.history) return;
  tiles(state.history, state.mirror);
  drawOver(state.history, state.mirror);
  machine(state.history);
}

const turns = {
  live: every(1_000, () =>
    ask(query("/live", { after: state.history?.seq }), (answer, trouble) => {
      if (trouble) return;
      state.history = extend(state.history, answer);
      byId("late").textContent = "";
      drawLive();
    }),
  ),
  outcomes: every(2_000, () =>
    ask("/outcomes", (answer, trouble) => {
      state.outcomes = answer;
      drawOutcomes(trouble);
    }),
  ),
  distributions: every(5_000, () =>
    ask(query("/live/distributions", { route: state.route }), (answer) => drawDistributions(answer, state.mirror)),
  ),
  configuration: every(5_000, async () => {
    const [routesInForce, { mirrors }] = await Promise.all([get("/routes"), get("/mirrors")]);
    state.mirrors = mirrors;
    const names = byRole(mirrors);
    offer(byId("mirror-choice"), names.map((name) => [name, isBaseline(mirrors, name) ? `${name} (baseline)` : name]));
    offer(byId("route-choice"), [["", "all routes"], ...routesInForce.routes.map(({ name }) => [name, name])]);
    state.mirror = byId("mirror-choice").value;
    state.route = byId("route-choice").value;
    byId("mirror-field").hidden = names.length < 2;
    nameMirrors();
    configuration(routesInForce.routes, mirrors, notice, refresh);
    if (!state.drawn) {
      state.drawn = true;
      redraw();
    }
  }),
  verdict: every(5_000, () => ask("/verdict", verdict)),
  differences: every(5_000, () =>
    ask(query("/diffs", { mirror: state.mirror }), (answer, trouble) => {
      state.diffs = [answer, trouble];
      differences(answer, trouble, state.mirror, state.route);
    }),
  ),
};

async function refresh() {
  await Promise.all([turns.configuration(), turns.outcomes()]);
}

/** Everything that depends on which mirror and route are looked at. */
function redraw() {
  drawLive();
  drawOutcomes(null);
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

byId("written").addEventListener("toggle", written);

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
