// Where v2's answers say something else than v1's: grouped by field, each with kept samples to read side by side.

import { get, post, query } from "./api.js";
import { beside, folded, words } from "./compare.js";
import { byId, empty, h, paged, show, table } from "./dom.js";
import { count, instant, percent, seconds, words as plain } from "./format.js";

/** Groups on one page, the most frequent first. */
const isPhone = matchMedia("(max-width: 720px)");
const size = () => (isPhone.matches ? 4 : 5);

const view = { page: 0 };

const share = (n, of) => (of > 0 ? n / of : null);

const value = (text) => (text === null || text === undefined ? h("em", {}, "absent") : h("code", {}, text));

export function differences(answer, trouble, name, route) {
  const host = byId("differences");
  if (trouble) {
    show(host, empty(trouble));
    return;
  }
  // An answer that was asked for before the mirrors were known covers all of them.
  const meant = (of) => (!name || of.mirror === name) && (!route || of.route === route);
  const tallies = (answer.compared ?? []).filter(meant);
  const compared = tallies.reduce((n, of) => n + of.compared, 0);
  const contents = tallies.reduce((n, of) => n + of.contents, 0);
  // Of contents that nobody compared nobody knows whether they are the same.
  const ofContents = ([why, n]) => n > 0 && !["busy", "no_room"].includes(why);
  const skipped = tallies.flatMap((of) => Object.entries(of.skipped ?? {}).filter(ofContents));
  const reasons = [...new Set(skipped.map(([why]) => plain(why)))].join(", ");
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
  const { page, shown, buttons } = paged("differences", [...groups].sort(order), view.page, size(), (page) => {
    view.page = page;
    differences(answer, trouble, name, route);
  });
  view.page = page;
  const row = (group) => [
    h("button", { type: "button", class: "link", "data-key": `group ${group.id}`, onclick: () => open(group) }, h("code", {}, group.field)),
    h("div", { class: "example" }, changed(group.example?.primary, group.example?.mirror)),
    [count(group.count), h("small", {}, percent(share(group.count, group.compared)))],
    group.route,
    [group.kind, group.is_noise ? h("span", { class: "badge noise" }, "noise") : null],
    group.baseline_compared ? percent(share(group.baseline_count, group.baseline_compared)) : "none",
    instant(group.last_seen),
  ];
  const number = (title, hint) => ({ title, hint, class: "number" });
  const columns = [{ title: "Field" }, { title: `v1 → ${name}, for example` }, number("Pairs"), { title: "Route" }, { title: "Kind" }, number("v1 with itself", "How often v1 differs from itself there"), { title: "Last seen" }];
  show(
    host,
    table("Differences, the most frequent first", columns, shown.map(row)),
    h("div", { class: "below" }, buttons, h("p", { class: "note" }, `${count(compared)} pairs compared.${unseen}`)),
  );
}

/** Two values of one field, with what of them differs marked. */
function changed(v1, v2) {
  if (typeof v1 !== "string" || typeof v2 !== "string") return [value(v1), " → ", value(v2)];
  const [a, b] = words(v1, v2);
  return [h("code", { class: "of1" }, marked(a)), " → ", h("code", { class: "of2" }, marked(b))];
}

const marked = (pieces) => pieces.map(({ text, same }) => (same ? text : h("mark", {}, text)));

/** Pretty where it is JSON. */
function lines(content) {
  const text = content ?? "";
  try {
    return JSON.stringify(JSON.parse(text), null, 2).split("\n");
  } catch {
    return text.split("\n");
  }
}

/** An answer as lines: status, fields, content. */
function whole(answer) {
  const fields = (answer?.fields ?? []).map(([key, content]) => `${key}: ${content}`);
  return [`status: ${answer?.status ?? "no answer"}`, ...fields, "", ...lines(answer?.content)];
}

/** Equal lines around one that differs; from so many lines on, the others are folded. */
const AROUND = 2;
const FOLDS_FROM = 24;

/** Both answers, line beside line, with the words that differ marked. */
function sides(one, name, isWhole) {
  const rows = beside(whole(one.primary), whole(one.mirror));
  const shown = isWhole || rows.length < FOLDS_FROM ? rows : folded(rows, AROUND);
  const line = (row) => {
    if (row.skipped) return h("tr", { class: "skipped" }, h("td", { colspan: 2 }, `${count(row.skipped)} equal line${row.skipped === 1 ? "" : "s"}`));
    const cell = (kind, text, pieces) => h("td", { class: row.same ? kind : `${kind} ${text === null ? "none" : "other"}` }, text === null ? "" : h("code", {}, pieces ?? (text || " ")));
    if (row.same) return h("tr", {}, cell("of1", row.a), cell("of2", row.b));
    if (row.a === null || row.b === null) return h("tr", {}, cell("of1", row.a, row.a === null ? null : h("mark", {}, row.a || " ")), cell("of2", row.b, row.b === null ? null : h("mark", {}, row.b || " ")));
    const [a, b] = words(row.a, row.b);
    return h("tr", {}, cell("of1", row.a, marked(a)), cell("of2", row.b, marked(b)));
  };
  return h(
    "div",
    { class: "scroll beside", tabindex: 0, role: "region", "aria-label": "Both answers, line beside line", "data-key": "beside" },
    h("table", {}, h("caption", { class: "unseen" }, `v1's answer beside ${name}'s`), h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "of1" }, "v1"), h("th", { scope: "col", class: "of2" }, name))), h("tbody", {}, shown.map(line))),
  );
}

/** A command to paste into a shell, with its button; what is missing in it is said. */
function command(title, text, key) {
  const shown = h("pre", { tabindex: 0, "aria-label": `Command for ${title}` }, text);
  const said = h("span", { class: "note", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied.";
    } catch {
      // Not a secure context, or not allowed: it is selected for whoever copies it by hand.
      getSelection().selectAllChildren(shown);
      said.textContent = "Selected: copy it with the keyboard.";
    }
  };
  return h("div", { class: "command" }, h("button", { type: "button", "data-key": `curl ${key}`, onclick: copy }, `Copy as curl: ${title}`), " ", said, shown);
}

/** How to ask for it again. */
function again(one, group, announce) {
  const { request } = one;
  if (!request) return h("p", { class: "note" }, "The request was not kept, so it cannot be made again.");
  const host = h("div", { class: "again", "aria-live": "polite" });
  const left = request.left_out ?? [];
  const ask = async () => {
    show(host, h("p", { class: "note" }, "Asking both."));
    try {
      show(host, answered(await post(`/diffs/${encodeURIComponent(group.id)}/again`, { request_id: one.request_id }), group.mirror));
    } catch (error) {
      show(host, h("p", { class: "note" }, `Not asked: ${error.message}`));
      announce(error.message);
    }
  };
  return [
    h(
      "div",
      { class: "reproduce" },
      request.is_safe
        ? h("button", { type: "button", "data-key": "again", onclick: ask }, "Ask both again")
        : h("span", { class: "note" }, `${one.method} may change something: it is not asked again from here.`),
      h("details", { "data-key": "curl" }, h("summary", { "data-key": "curl summary" }, "As curl"), command("v1", request.curl_primary, "v1"), command(group.mirror, request.curl_mirror, "v2"), left.length > 0 && h("p", { class: "note" }, `Left out, because they are redacted or not kept: ${left.join(", ")}.`)),
    ),
    host,
  ];
}

/** What both said just now. */
function answered({ primary, mirror, differences: found, left_out: left }, name) {
  const side = (title, of) => `${title}: ${of.error ?? `${of.status} in ${seconds(of.seconds)}`}`;
  const rows = (found ?? []).map((of) => [h("code", {}, of.field), h("div", { class: "example" }, changed(of.primary, of.mirror)), of.kind]);
  return [
    h("p", {}, h("strong", {}, "Asked again. "), `${side("v1", primary)}; ${side(name, mirror)}. `, found === null ? "" : found.length ? `${count(found.length)} differ${found.length === 1 ? "s" : ""}.` : "Nothing differs now."),
    rows.length > 0 && table("Differences of both answers just now", [{ title: "Field" }, { title: `v1 → ${name}` }, { title: "Kind" }], rows),
    left?.length > 0 && h("p", { class: "note" }, `Asked without ${left.join(", ")}: redacted or not kept.`),
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
    const announce = (text) => (byId("announcer").textContent = text);
    const pick = (at, isWhole) => {
      const one = samples[at];
      const option = (of, n) => h("option", { value: String(n) }, `${n + 1} of ${samples.length}: ${of.method} ${of.target}`);
      const select = h("select", { id: "sample-choice", "data-key": "sample", onchange: (event) => pick(Number(event.target.value), isWhole) }, samples.map(option));
      select.value = String(at);
      const all = h("input", { type: "checkbox", "data-key": "whole", checked: isWhole, onchange: (event) => pick(at, event.target.checked) });
      show(
        host,
        h("p", { class: "values" }, h("code", {}, group.field), ": ", changed(group.example?.primary, group.example?.mirror)),
        h("div", { class: "inputs" }, h("label", { class: "field" }, "Sample ", select), h("label", { class: "field" }, all, " every line")),
        h("p", { class: "note" }, h("code", {}, `${one.method} ${one.target}`), ` · ${instant(one.at)} · request ${one.request_id}`),
        sides(one, group.mirror, isWhole),
        again(one, group, announce),
      );
    };
    if (samples.length) pick(0, false);
    else show(host, empty("No sample is kept of this difference."));
  } catch (error) {
    show(host, empty(error.message));
  }
}
