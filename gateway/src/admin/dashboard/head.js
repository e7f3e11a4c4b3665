// The head of the page: one sentence on the state, the troubles of the moment, and the button that stops all copies.

import { byId, h, say, show } from "./dom.js";
import { clock, count, instant, percent, rate, seconds, span } from "./format.js";
import { recent, total } from "./history.js";

/** Troubles that have a line; the others are counted. */
const OPEN_MAX = 4;
const OVER_MAX = 2;

/** A mirror is called slow from so many times v1's time on, and from so much more. */
const SLOW_RATIO = 1.5;
const SLOW_SECONDS = 0.001;
const SLOW_PAIRS = 100;

const epoch = (text) => new Date(text).getTime() / 1000;

/** Older than this has a date. */
const DATED_SECONDS = 12 * 3600;

/** 14:02:11 (3 min ago) */
function ago(text) {
  const age = Math.max(0, Date.now() / 1000 - epoch(text));
  return `${age < DATED_SECONDS ? clock(epoch(text)) : instant(text)} (${span(age)} ago)`;
}

/** The route where `mirror` takes the most of v1's time at p99, if it takes much more. */
export function slowest(outcomes) {
  const ratio = (of) => of.latency.mirror.p99_seconds / of.latency.primary.p99_seconds;
  const is = (of) =>
    of.pairs >= SLOW_PAIRS &&
    of.latency.primary?.p99_seconds > 0 &&
    of.latency.mirror?.p99_seconds - of.latency.primary.p99_seconds > SLOW_SECONDS &&
    ratio(of) >= SLOW_RATIO;
  return outcomes.filter(is).sort((a, b) => ratio(b) - ratio(a))[0] ?? null;
}

/** When copying was last given up, and by whom. */
function paused(changes) {
  const stops = (change) => !change.refused && change.what.some((what) => what.key.endsWith(".percent") && what.to === "0");
  const last = changes.findLast(stops);
  return last ? ` since ${ago(last.at)}, by ${by(last.by)}` : "";
}

/** An address without its port, which is another each time. */
export const by = (who) => who.address?.replace(/:\d+$/, "") ?? who.signal ?? who.file ?? who.kind;

/** What v2's answers say otherwise, the most frequent first. */
function differing(state) {
  const groups = (state.diffs?.groups ?? []).filter((group) => !group.is_noise && group.compared > 0);
  return groups.sort((a, b) => b.count / b.compared - a.count / a.compared);
}

/** Clients get errors from this part of their requests on. */
const ERRING = 0.01;

/** What the gateway itself finds wrong that clients feel: it says so better. */
const FELT = ["worker_stuck", "primary_unavailable", "clients_turned_away"];

/** That clients get errors, how many, since when and where; `null` where they get none to speak of. */
function erring({ history, trends }) {
  const requests = total(Object.values(history.requests));
  const errors = total([history.requests["5xx"], history.aborted]);
  const share = recent(errors, history.seconds) / recent(requests, history.seconds);
  if (!(share >= ERRING)) return null;
  const isWell = (n) => requests[n] > 0 && errors[n] / requests[n] < ERRING;
  const well = requests.findLastIndex((_, n) => isWell(n));
  const since = clock(history.at[well + 1] - history.seconds[well + 1]);
  const sum = (of) => (of.errors ?? []).reduce((n, value) => n + value, 0);
  const worst = [...(trends?.routes ?? [])].sort((a, b) => sum(b) - sum(a))[0];
  const where = worst && sum(worst) > 0 ? `, most on ${worst.route}` : "";
  return `Clients get errors: 5xx or nothing whole for ${percent(share)} of ${rate(recent(requests, history.seconds))}, since ${well < 0 ? `${since} at least` : since}${where}.`;
}

/** How it is: {kind: bad, hold, good or open, text}. */
export function sentence(state) {
  const open = (state.status?.troubles ?? []).filter((trouble) => !trouble.until);
  const errors = state.history?.at.length && !open.some((trouble) => FELT.includes(trouble.kind)) ? erring(state) : null;
  if (errors) return { kind: "bad", text: open.length ? `${errors} And ${open[0].text}.` : errors };
  if (open.length) {
    const more = open.length > 1 ? ` And ${count(open.length - 1)} more.` : "";
    const [{ text, since }] = open;
    return { kind: "bad", text: `${text}${text.includes("since") ? "" : `, since ${ago(since)}`}.${more}` };
  }
  if (!state.history || !state.configured) return { kind: "open", text: "Asking the gateway." };
  const asked = rate(recent(total(Object.values(state.history.requests)), state.history.seconds));
  if (!state.mirrors.length) return { kind: "open", text: `Clients ask ${asked}. No route has a mirror: nothing is copied.` };
  if (state.mirrors.every((mirror) => mirror.percent === 0)) return { kind: "hold", text: `Paused: no mirror gets copies${paused(state.changes)}. Clients ask ${asked}.` };
  const name = state.mirror;
  const outcomes = (state.outcomes?.outcomes ?? []).filter((of) => of.mirror === name);
  const pairs = outcomes.reduce((n, of) => n + of.pairs, 0);
  const began = state.verdict?.mirrors?.find((of) => of.mirror === name)?.since ?? state.status?.started;
  const since = began ? ` since ${ago(began)}` : "";
  const said = [];
  const groups = differing(state);
  const [worst] = groups;
  if (worst) {
    const others = groups.length > 1 ? `, and ${count(groups.length - 1)} more` : "";
    said.push(`${worst.mirror} differs from v1 in ${worst.field} on ${worst.route}: ${percent(worst.count / worst.compared)} of ${count(worst.compared)} pairs, first seen ${ago(worst.first_seen)}${others}`);
  }
  const cells = outcomes.flatMap((of) => of.matrix);
  const others = cells.filter((cell) => cell.primary !== cell.mirror).reduce((n, cell) => n + cell.count, 0);
  if (!worst && others > 0) said.push(`${name} has another status than v1 in ${percent(others / pairs)} of ${count(pairs)} pairs${since}`);
  const slow = slowest(outcomes);
  if (slow) {
    const [v1, v2] = [slow.latency.primary.p99_seconds, slow.latency.mirror.p99_seconds];
    said.push(`${said.length ? "its" : `${name}'s`} p99 on ${slow.route} is ${seconds(v2)}, v1's ${seconds(v1)}${said.length ? "" : since}`);
  }
  if (said.length) return { kind: worst || others ? "bad" : "hold", text: `${said.join("; ")}. Clients are not affected.` };
  const judged = state.verdict?.mirrors?.find((of) => of.mirror === name);
  if (judged?.verdict === "reject") return { kind: "bad", text: `${name} is not ready${judged.said?.length ? `: ${judged.said[0]}` : ""}. Clients are not affected.` };
  // Nothing is called well before all was heard that could say otherwise.
  if (!state.outcomes || !state.diffs || !state.verdict) return { kind: "open", text: `Clients ask ${asked}.` };
  if (!pairs) return { kind: "open", text: `Clients ask ${asked}. ${name} has answered no copy yet.` };
  const compared = (state.diffs?.compared ?? []).filter((of) => of.mirror === name).reduce((n, of) => n + of.compared, 0);
  const how = compared ? `${count(compared)} compared, none differs` : "every status is the same";
  return { kind: "good", text: `${name} answers as v1 does: ${count(pairs)} pairs${since}, ${how}. Clients ask ${asked}.` };
}

const SIGNS = { bad: "!", hold: "…", good: "✓", open: "·" };

/** Draws the sentence and the list below it. */
export function head(state) {
  const { kind, text } = sentence(state);
  const host = byId("sentence");
  // Figures change by the second; how it is seldom does, and is read out.
  if (!host.classList.contains(kind)) say(byId("announcer"), text);
  host.className = `sentence ${kind}`;
  say(byId("sentence-sign"), SIGNS[kind]);
  say(byId("sentence-text"), text);
  host.title = text;
  const troubles = state.status?.troubles ?? [];
  const open = troubles.filter((trouble) => !trouble.until);
  const over = troubles.filter((trouble) => trouble.until).slice(0, OVER_MAX);
  const line = (trouble) => h("li", { class: trouble.until ? "over" : "open" }, h("span", { class: "figure" }, trouble.until ? `over at ${clock(epoch(trouble.until))}` : `since ${clock(epoch(trouble.since))}`), " ", trouble.text);
  const more = open.length - OPEN_MAX;
  const list = [...open.slice(0, OPEN_MAX), ...over].map(line);
  const told = JSON.stringify([open, over, Math.floor(Date.now() / 10_000)]);
  if (host.dataset.told === told) return;
  host.dataset.told = told;
  show(
    byId("troubles"),
    h("h2", {}, open.length ? `Wrong now: ${count(open.length)}` : "Nothing is wrong now"),
    list.length > 0 && h("ul", {}, list, more > 0 && h("li", { class: "over" }, `And ${count(more)} more.`)),
  );
  byId("troubles").className = open.length ? "panel troubles bad" : "panel troubles";
}

/** The button on top: stops every copy, or lets all go on that were stopped. */
export function pauseButton(state) {
  const button = byId("pause-all");
  const is = state.mirrors.length > 0 && state.mirrors.every((mirror) => mirror.percent === 0);
  button.disabled = state.configured && !state.mirrors.length;
  button.className = is ? "pause resume" : "pause";
  say(button, is ? "Resume all" : "Pause all");
  button.title = state.mirrors.length ? (is ? "Every mirror gets its copies again" : "No mirror gets a copy from the next request on") : "There is no mirror";
}

export const isAllPaused = (state) => state.mirrors.length > 0 && state.mirrors.every((mirror) => mirror.percent === 0);
