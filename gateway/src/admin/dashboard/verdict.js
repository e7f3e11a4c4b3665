// Whether v2 may take v1's place, rule by rule. The gateway judges; this only shows.

import { byId, empty, h, show, table } from "./dom.js";
import { count, figure, words } from "./format.js";

const MEANING = {
  promote: "v2 may take v1's place.",
  hold: "Not yet: something is unproven or out of bounds.",
  reject: "v2 must not take v1's place.",
};
const SIGNS = { promote: "✓", hold: "…", reject: "✕", pass: "✓", fail: "✕" };

/** A word with its sign, so that the colour is never the only difference. */
const badge = (word) => h("span", { class: `badge ${word}` }, h("span", { "aria-hidden": "true" }, SIGNS[word] ?? "·"), ` ${words(word)}`);

const WORST_FIRST = ["fail", "hold", "pass"];

const evidence = (list) => {
  const one = (item) => h("li", {}, typeof item === "string" ? item : JSON.stringify(item));
  return list?.length ? h("details", {}, h("summary", {}, `${count(list.length)} kept`), h("ul", { class: "plain" }, list.map(one))) : "none";
};

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
  const row = (rule) => [
    words(rule.rule),
    rule.route ?? "all",
    badge(rule.result),
    figure(rule.figure),
    figure(rule.threshold),
    rule.interval ? rule.interval.map(figure).join(" to ") : "none",
    [count(rule.samples), rule.enough ? null : h("small", {}, " too few")],
    evidence(rule.evidence),
  ];
  const order = (a, b) => WORST_FIRST.indexOf(a.result) - WORST_FIRST.indexOf(b.result);
  const tables = (answer.mirrors ?? []).map((mirror) => [
    h("h3", {}, mirror.mirror, " ", badge(mirror.verdict)),
    table(`Rules for ${mirror.mirror}`, columns, [...mirror.rules].sort(order).map(row)),
  ]);
  show(host, h("p", {}, MEANING[answer.verdict] ?? ""), tables.length ? tables : empty("No mirror to judge."));
}
