// Where v2's answers say something else than v1's: grouped by field, each with kept samples to read side by side.

import { get, query } from "./api.js";
import { byId, empty, h, show, table } from "./dom.js";
import { count, instant, percent, words } from "./format.js";

/** As many groups are listed, the most frequent first. */
const GROUPS_MAX = 25;

/** Longer contents are compared line by line at the same place only. */
const ALIGNED_LINES_MAX = 400;

const share = (n, of) => (of > 0 ? n / of : null);

const value = (text) => (text === null || text === undefined ? h("em", {}, "absent") : h("code", {}, text));

export function differences(answer, trouble, name, route) {
  const host = byId("differences");
  if (trouble) {
    show(host, empty(trouble));
    return;
  }
  // What was asked for before the mirrors were known tells of all of them.
  const meant = (of) => (!name || of.mirror === name) && (!route || of.route === route);
  const tallies = (answer.compared ?? []).filter(meant);
  const compared = tallies.reduce((n, of) => n + of.compared, 0);
  const contents = tallies.reduce((n, of) => n + of.contents, 0);
  // Of contents that nobody compared nobody knows whether they are the same.
  const ofContents = ([why, n]) => n > 0 && !["busy", "no_room"].includes(why);
  const skipped = tallies.flatMap((of) => Object.entries(of.skipped ?? {}).filter(ofContents));
  const reasons = [...new Set(skipped.map(([why]) => words(why)))].join(", ");
  const unseen = contents < compared ? ` The contents of ${count(compared - contents)} were not compared${reasons && ` (${reasons})`}.` : "";
  const groups = (answer.groups ?? []).filter(meant);
  if (!compared && !groups.length) {
    show(host, empty("Nothing compared yet: a mirror with ", h("code", {}, "compare"), " holds both answers side by side."));
    return;
  }
  if (!groups.length) {
    const same = contents > 0 ? "none differs" : "no status or field differs";
    show(host, empty(`${count(compared)} pairs of answers compared, ${same}.${unseen}`));
    return;
  }
  const order = (a, b) => Number(a.is_noise) - Number(b.is_noise) || b.count - a.count;
  const shown = [...groups].sort(order).slice(0, GROUPS_MAX);
  const row = (group) => [
    h("button", { type: "button", class: "link", "data-key": `group ${group.id}`, onclick: () => open(group) }, h("code", {}, group.field)),
    group.route,
    [group.kind, group.is_noise ? h("span", { class: "badge noise" }, "noise") : null],
    h("div", { class: "example" }, value(group.example?.primary), " → ", value(group.example?.mirror)),
    [count(group.count), h("small", {}, percent(share(group.count, group.compared)))],
    group.baseline_compared ? percent(share(group.baseline_count, group.baseline_compared)) : "none",
    instant(group.last_seen),
  ];
  const number = (title, hint) => ({ title, hint, class: "number" });
  const columns = [{ title: "Field" }, { title: "Route" }, { title: "Kind" }, { title: `Example: v1 → ${name}` }, number("Pairs"), number("v1 with itself", "How often v1 differs from itself there"), { title: "Last seen" }];
  const more = groups.length - shown.length;
  show(
    host,
    table("Differences, the most frequent first", columns, shown.map(row)),
    h("p", { class: "note" }, `${count(compared)} pairs compared.${unseen}`, more > 0 ? ` And ${count(more)} more groups.` : ""),
  );
}

/** Pretty where it is JSON. */
function lines(content) {
  const text = content ?? "";
  try {
    return JSON.stringify(JSON.parse(text), null, 2).split("\n");
  } catch {
    return text.split("\n");
  }
}

/** For each line of either side whether the other one has it too: the longest common subsequence. */
function align(a, b) {
  if (a.length > ALIGNED_LINES_MAX || b.length > ALIGNED_LINES_MAX) {
    return [a.map((line, at) => line === b[at]), b.map((line, at) => line === a[at])];
  }
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  const [inA, inB] = [a.map(() => false), b.map(() => false)];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) [inA[i++], inB[j++]] = [true, true];
    else if (best[i + 1][j] >= best[i][j + 1]) i += 1;
    else j += 1;
  }
  return [inA, inB];
}

const text = (all, common) =>
  all.map((line, at) => h(common[at] ? "span" : "mark", { class: "line" }, line || " "));

function side(title, name, answer, own, common) {
  const fields = (answer?.fields ?? []).map(([key, content]) => `${key}: ${content}`);
  return h(
    "section",
    { class: `side ${name}`, "aria-label": title },
    h("h3", {}, title, " ", h("span", { class: "figure" }, answer?.status ?? "no answer")),
    h("pre", { class: "fields", tabindex: 0, "aria-label": `Header fields of ${title}` }, fields.join("\n")),
    h("pre", { tabindex: 0, "aria-label": `Content of ${title}` }, text(own, common)),
  );
}

function sample(one, name) {
  const [a, b] = [lines(one.primary?.content), lines(one.mirror?.content)];
  const [inA, inB] = align(a, b);
  return [
    h("p", { class: "note" }, h("code", {}, `${one.method} ${one.target}`), ` · ${instant(one.at)} · request ${one.request_id}`),
    h("div", { class: "sides" }, side("v1", "v1", one.primary, a, inA), side(name, "v2", one.mirror, b, inB)),
  ];
}

/** The group's samples, one at a time. */
async function open(group) {
  const dialog = byId("sample-dialog");
  const host = byId("sample-body");
  byId("sample-title").textContent = `${group.field} on ${group.route}`;
  show(host, empty("Fetching the samples."));
  dialog.showModal();
  // The table may be drawn anew meanwhile: the button that had the focus is gone then, and its successor gets it.
  const focus = () => byId("differences").querySelector(`[data-key="group ${CSS.escape(group.id)}"]`)?.focus();
  dialog.addEventListener("close", focus, { once: true });
  try {
    const answer = await get(query(`/diffs/${encodeURIComponent(group.id)}`, {}));
    const samples = answer.samples ?? [];
    const pick = (at) => {
      const option = (one, n) => h("option", { value: String(n) }, `${n + 1} of ${samples.length}: ${one.method} ${one.target}`);
      const select = h("select", { id: "sample-choice", "data-key": "sample", onchange: (event) => pick(Number(event.target.value)) }, samples.map(option));
      select.value = String(at);
      show(host, h("label", { class: "field" }, "Sample ", select), sample(samples[at], group.mirror));
    };
    if (samples.length) pick(0);
    else show(host, empty("No sample is kept of this difference."));
  } catch (error) {
    show(host, empty(error.message));
  }
}
