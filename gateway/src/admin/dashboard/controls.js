// The configuration in force, and the changes that the gateway takes while it serves: a mirror's share, a route's
// weights. Nothing is changed without a confirmation, and what was changed holds until the next reload.

import { getText, patch, query, segment, token } from "./api.js";
import { byId, empty, h, say, show } from "./dom.js";
import { DASH } from "./format.js";

/** The shares that mirrors had when this page last saw them run. */
const ran = new Map();

const percentText = (value) => `${value}\u202f%`;

/** Asks in a dialog; whether it was confirmed. */
function confirmed(title, text, action) {
  const dialog = byId("confirm-dialog");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-action").textContent = action;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Asks for the token; whether one was given. */
export function askToken() {
  const dialog = byId("token-dialog");
  const field = byId("token-field");
  field.value = token.get();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue === "yes") token.set(field.value.trim());
        field.value = "";
        resolve(dialog.returnValue === "yes");
      },
      { once: true },
    );
  });
}

/** One change, asked again with a token where the gateway wants one. */
async function change(path, body, announce, reload) {
  try {
    const { warnings } = await patch(path, body);
    announce(`Changed.${warnings?.length ? ` Warning: ${warnings.map((w) => w.message).join("; ")}` : ""}`);
    await reload();
  } catch (error) {
    if (error.kind === "unauthorized" && (await askToken())) return change(path, body, announce, reload);
    announce(`Not changed: ${error.message}`);
  }
}

/** A mirror on a route: its share, a slider and a field for another one, pause and resume. */
function mirrorRow(mirror, announce, reload) {
  const what = `mirror ${mirror.name} on route ${mirror.route}`;
  const path = query(`/mirrors/${segment(mirror.name)}`, { route: mirror.route });
  const most = Math.max(100, mirror.percent);
  const set = async (percent, action) => {
    const now = percentText(mirror.percent);
    const text = `${what} gets copies of ${percentText(percent)} of its requests instead of ${now}. It holds from the next request until the configuration is loaded again.`;
    if (await confirmed(`${action} ${mirror.name}?`, text, action)) await change(path, { percent }, announce, reload);
  };
  const slider = h("input", { type: "range", min: 0, max: most, step: "any", "aria-label": `Share of ${what}, percent`, "data-key": `slider ${what}` });
  const field = h("input", { type: "number", min: 0, max: 10_000, step: "any", "aria-label": `Share of ${what} as a number, percent`, "data-key": `number ${what}` });
  const apply = h("button", { type: "button", disabled: true, "data-key": `apply ${what}`, onclick: () => set(Number(field.value), "Set") }, "Set");
  const take = (value) => {
    [slider.value, field.value] = [value, value];
    apply.disabled = Number(value) === mirror.percent || value === "" || !(Number(value) >= 0);
  };
  slider.addEventListener("input", () => take(String(Number(Number(slider.value).toFixed(most > 100 ? 0 : 1)))));
  field.addEventListener("input", () => {
    slider.value = field.value;
    apply.disabled = field.value === "" || Number(field.value) === mirror.percent || !(Number(field.value) >= 0);
  });
  take(String(mirror.percent));
  const isPaused = mirror.percent === 0;
  if (!isPaused) ran.set(what, mirror.percent);
  // What this page saw last; paused before it looked, what is configured. Where that is nothing, nothing is offered.
  const before = ran.get(what) ?? mirror.configured_percent;
  const turn = () => (isPaused ? set(before, "Resume") : set(0, "Pause"));
  const toggle = (!isPaused || before > 0) && h("button", { type: "button", "data-key": `pause ${what}`, onclick: turn }, isPaused ? `Resume at ${percentText(before)}` : "Pause");
  return h(
    "li",
    { class: "control" },
    h("p", {}, h("strong", {}, mirror.name), ` on ${mirror.route}, to ${mirror.upstream ?? DASH}${mirror.role === "baseline" ? ", baseline" : ""}: `, h("span", { class: isPaused ? "badge hold" : "figure" }, isPaused ? "paused" : percentText(mirror.percent))),
    h("div", { class: "inputs" }, slider, field, h("span", { "aria-hidden": "true" }, "%"), apply, toggle),
  );
}

/** A route's primaries, with a weight each where there are several. */
function routeRow(route, announce, reload) {
  const primaries = route.primaries ?? [];
  const action = route.redirect ? `redirects, ${route.redirect.status}` : route.reply ? `answers ${route.reply.status}` : null;
  const fields = primaries.map((primary) => {
    const field = h("input", { type: "number", min: 0, max: 1_000_000, step: 1, "aria-label": `Weight of ${primary.upstream} on route ${route.name}`, "data-key": `weight ${route.name} ${primary.upstream}` });
    field.value = String(primary.weight);
    return field;
  });
  const apply = async () => {
    const weights = Object.fromEntries(primaries.map((primary, at) => [primary.upstream, Number(fields[at].value)]));
    const text = Object.entries(weights).map(([name, weight]) => `${name} ${weight}`).join(", ");
    if (await confirmed(`Change the weights of ${route.name}?`, `Clients' requests go to: ${text}. This changes who answers clients.`, "Set")) {
      await change(`/routes/${segment(route.name)}`, { weights }, announce, reload);
    }
  };
  const several = primaries.length > 1 && primaries.every((primary) => primary.upstream);
  const shown = several
    ? h(
        "div",
        { class: "inputs" },
        primaries.map((primary, at) => h("label", { class: "field" }, primary.upstream, " ", fields[at])),
        h("button", { type: "button", "data-key": `weights ${route.name}`, onclick: apply }, "Set weights"),
      )
    : h("p", { class: "note" }, action ?? `to ${primaries.map((primary) => primary.upstream ?? "nobody").join(", ")}`);
  return h(
    "li",
    { class: "control" },
    h("p", {}, h("strong", {}, route.name), " ", h("span", { class: "note" }, (route.matches ?? []).join(" or "))),
    shown,
    h("p", { class: "note" }, route.mirrors?.length ? `copied to ${route.mirrors.join(", ")}` : "not copied"),
  );
}

/** The file that says what is in force, asked for when somebody wants to read it. */
export async function written() {
  if (!byId("written").open) return;
  try {
    say(byId("written-text"), await getText("/config"));
  } catch (error) {
    say(byId("written-text"), error.message);
  }
}

let shown = "";

/** Draws both lists, if they are others than those on the page: an input that somebody holds stays. */
export function configuration(routes, mirrors, announce, reload) {
  const told = JSON.stringify([routes, mirrors]);
  if (told === shown) return;
  shown = told;
  written();
  const list = (rows, why) => (rows.length ? h("ul", { class: "controls" }, rows) : empty(why));
  show(byId("mirrors"), list(mirrors.map((mirror) => mirrorRow(mirror, announce, reload)), "No route has a mirror: nothing is copied."));
  show(byId("routes"), list(routes.map((route) => routeRow(route, announce, reload)), "No routes."));
}
