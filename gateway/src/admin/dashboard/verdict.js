// Whether v2 may take v1's place, rule by rule. The gateway judges; this only shows.

import { byId, empty, h, show, table } from "./dom.js";
import { count, figure, percent, seconds, signed, words } from "./format.js";

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

/** What a rule rests on, folded away. */
function evidence({ rule, route, evidence: list }, mirror) {
  if (!list?.length) return "none";
  const key = `evidence ${mirror} ${rule} ${route}`;
  const one = (item) => h("li", {}, typeof item === "string" ? item : JSON.stringify(item));
  return h("details", { "data-key": key }, h("summary", { "data-key": `${key} summary` }, `${count(list.length)} kept`), h("ul", {}, list.map(one)));
}

export function verdict(answer, trouble) {
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
      rule.route ?? "all",
      [badge(rule.result), rule.why ? h("small", {}, ` ${rule.why}`) : null],
      shown(rule.figure),
      shown(rule.threshold),
      interval(rule, shown),
      count(rule.samples),
      evidence(rule, mirror),
    ];
  };
  const order = (a, b) => WORST_FIRST.indexOf(a.result) - WORST_FIRST.indexOf(b.result);
  const tables = (answer.mirrors ?? []).map(({ mirror, verdict: word, rules }) => {
    const passed = rules.filter((rule) => rule.result === "pass");
    const others = rules.filter((rule) => rule.result !== "pass").sort(order);
    const summary = h("summary", { "data-key": `passed ${mirror}` }, `${count(passed.length)} of ${count(rules.length)} rules pass`);
    return [
      h("h3", {}, mirror, " ", badge(word)),
      others.length > 0 && table(`Rules for ${mirror} that do not pass`, columns, others.map(row(mirror))),
      passed.length > 0 && h("details", { class: "numbers", "data-key": `rules ${mirror}` }, summary, table(`Rules for ${mirror} that pass`, columns, passed.map(row(mirror)))),
    ];
  });
  // Who makes the verdict what it is.
  const decisive = (answer.mirrors ?? []).filter((of) => of.verdict === answer.verdict).map((of) => of.mirror);
  show(host, h("p", {}, MEANING[answer.verdict]?.(decisive.join(" and ") || "v2") ?? ""), tables.length ? tables : empty("No mirror to judge."));
}
