// Whether v2 may take v1's place, rule by rule. The gateway judges; this only shows.

import { byId, empty, gauge, h, paged, show, table } from "./dom.js";
import { count, figure, percent, seconds, signed, span, words } from "./format.js";

/** Rules on one page. */
const RULES = 12;

/** How a rule's numbers are written, by the unit it names. */
const UNITS = {
  share: percent,
  seconds: (value) => (value < 0 ? signed(seconds, value) : seconds(value)),
  ratio: (value) => `× ${figure(value)}`,
};

const MEANING = {
  promote: (names) => `${names} may take v1's place.`,
  hold: () => "Not yet: something is unproven or out of bounds.",
  reject: (names) => `${names} must not take v1's place.`,
};
const SIGNS = { promote: "✓", hold: "…", reject: "✕", pass: "✓", fail: "✕" };

/** A word with its sign, so that the colour is never the only difference. */
const badge = (word) => h("span", { class: `badge ${word}` }, h("span", { "aria-hidden": "true" }, SIGNS[word] ?? "·"), ` ${words(word)}`);

const WORST_FIRST = ["fail", "hold"];

/** What a verdict waits for: {share, left} of the rule that is furthest from its samples; `null` where nothing is waited for. */
export function progress({ rules, rest, seconds: length }) {
  const waiting = rules.filter((rule) => rule.result === "hold" && rule.needed > rule.samples && !(rest ?? []).includes(rule.route));
  const of = waiting.map((rule) => ({ rule, share: rule.samples / rule.needed, left: rule.samples > 0 && length > 0 ? ((rule.needed - rule.samples) * length) / rule.samples : null }));
  const last = of.sort((a, b) => a.share - b.share)[0];
  return last ?? null;
}

/** How far the evidence is, and when there may be enough at the pace so far. */
function bar(of, name) {
  // A candidate that is rejected waits for no more evidence.
  const waits = of.verdict === "hold" ? progress(of) : null;
  if (!waits) return null;
  const { rule, share, left } = waits;
  const when = left === null ? "no pair yet" : `about ${span(left)} left at this pace`;
  const where = rule.route ? ` on ${rule.route}` : "";
  return h(
    "div",
    { class: "progress" },
    gauge(share, "done", `Evidence for the verdict on ${name}`),
    h("span", { class: "note" }, `${count(rule.samples)} of ${count(rule.needed)} samples for ${words(rule.rule)}${where}: ${when}`),
  );
}

/** What a rule rests on, folded away. */
function evidence({ rule, route, evidence: list }, mirror) {
  if (!list?.length) return "none";
  const key = `evidence ${mirror} ${rule} ${route}`;
  const one = (item) => h("li", {}, typeof item === "string" ? item : JSON.stringify(item));
  return h("details", { "data-key": key }, h("summary", { "data-key": `${key} summary` }, `${count(list.length)} kept`), h("ul", {}, list.map(one)));
}

/** Sentences of one mirror that are on the page; the rules say the rest. */
const SAID_MAX = 2;

const view = { page: new Map() };
let drawn = null;

export function verdict(answer, trouble) {
  drawn = [answer, trouble];
  const host = byId("verdict-body");
  const strip = byId("verdict-word");
  if (trouble) {
    show(strip, badge("unknown"));
    show(host, empty(trouble));
    return;
  }
  show(strip, badge(answer.verdict));
  const number = (title) => ({ title, class: "number" });
  const columns = [{ title: "Rule" }, { title: "Route" }, { title: "Result" }, number("Figure"), number("Threshold"), number("Interval"), number("Samples"), { title: "Evidence" }];
  // Too few samples leave the upper end open.
  const interval = ({ interval: ends }, shown) =>
    ends ? `${shown(ends[0])} ${ends[1] === null ? "or more" : `to ${shown(ends[1])}`}` : "none";
  const row = (mirror) => (rule) => {
    const shown = (value) => (typeof value === "number" ? UNITS[rule.unit] ?? figure : figure)(value);
    return [
      words(rule.rule),
      rule.route || "all",
      [badge(rule.result), rule.why ? h("small", {}, ` ${rule.why}`) : null],
      shown(rule.figure),
      shown(rule.threshold),
      interval(rule, shown),
      rule.needed > rule.samples ? `${count(rule.samples)} of ${count(rule.needed)}` : count(rule.samples),
      evidence(rule, mirror),
    ];
  };
  const order = (a, b) => WORST_FIRST.indexOf(a.result) - WORST_FIRST.indexOf(b.result);
  const rules = (mirror, title, all, n) => {
    const key = `${title} ${mirror}`;
    const turn = (page) => {
      view.page.set(key, page);
      verdict(...drawn);
    };
    // Thousands of rules that nobody looks at are not drawn.
    const isOpen = host.querySelector(`details[data-key="${CSS.escape(key)}"]`)?.open;
    const { shown, buttons } = paged(key, all, view.page.get(key) ?? 0, RULES, turn);
    const more = n - all.length;
    const body = isOpen ? [table(`Rules for ${mirror} that ${title}`, columns, shown.map(row(mirror))), buttons, more > 0 && h("p", { class: "note" }, `And ${count(more)} more: gateway verdict --all.`)] : [];
    const toggled = (event) => event.target.open && !body.length && verdict(...drawn);
    return h("details", { class: "numbers", "data-key": key, ontoggle: toggled }, h("summary", { "data-key": `${key} summary` }, `${count(n)} rule${n === 1 ? "" : "s"} ${title}${n === 1 && title === "pass" ? "es" : ""}`), body);
  };
  const mirrors = (answer.mirrors ?? []).map((of) => {
    const { mirror, verdict: word, said } = of;
    const passed = of.rules.filter((rule) => rule.result === "pass");
    const others = of.rules.filter((rule) => rule.result !== "pass").sort(order);
    const lines = said ?? [];
    // Of many rules the gateway tells the worst, and how many there are of each kind.
    const { pass, hold, fail } = of.rules_in_all ?? { pass: passed.length, hold: others.length, fail: 0 };
    const more = lines.length - SAID_MAX;
    return h(
      "div",
      { class: "judged" },
      h("h3", {}, mirror, " ", badge(word), " ", h("span", { class: "note" }, MEANING[word]?.(mirror) ?? "")),
      lines.length > 0 && h("ul", { class: "said" }, lines.slice(0, SAID_MAX).map((line) => h("li", { title: line }, h("span", {}, line))), more > 0 && h("li", { class: "note" }, `And ${count(more)} more, in the rules.`)),
      bar(of, mirror),
      h("div", { class: "folds" }, hold + fail > 0 && rules(mirror, "do not pass", others, hold + fail), pass > 0 && rules(mirror, "pass", passed, pass)),
    );
  });
  show(host, mirrors.length ? h("div", { class: "columns" }, mirrors) : empty("No mirror to judge."));
}
