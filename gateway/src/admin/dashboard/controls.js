// The configuration in force, and the changes that the gateway takes while it serves: a mirror's share, a route's
// weights. Nothing is changed without a confirmation, and what was changed holds until the next reload.

import { getText, patch, query, segment, token } from "./api.js";
import { byId, empty, h, say, show } from "./dom.js";
import { DASH } from "./format.js";

/** The shares that mirrors had when this page last saw them run, by route and mirror. */
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

/** One change, asked again with a token where the gateway wants one; whether it was made. */
async function change(path, body, announce, reload) {
  try {
    const { warnings } = await patch(path, body);
    announce(`Changed.${warnings?.length ? ` Warning: ${warnings.map((w) => w.message).join("; ")}` : ""}`);
    await reload();
    return true;
  } catch (error) {
    if (error.kind === "unauthorized" && (await askToken())) return change(path, body, announce, reload);
    announce(`Not changed: ${error.message}`);
    return false;
  }
}

/** The slider's positions: from 0.01 % to 1,000 % in equal steps of its logarithm. */
const STEPS = 500;
const LEAST = 0.01;
const DECADE = STEPS / 5;

const toPosition = (percent) => (percent > 0 ? Math.round(Math.min(STEPS, Math.max(0, Math.log10(percent / LEAST) * DECADE))) : 0);
const fromPosition = (position) => Number((LEAST * 10 ** (position / DECADE)).toPrecision(position % DECADE ? 2 : 1));

const isShare = (text) => text !== "" && Number(text) >= 0 && Number(text) <= 10_000;

/** The share that it had before it was paused: what this page saw, what the changes tell, what its file says. */
function before(mirror, changes) {
  const seen = ran.get(`${mirror.route}\n${mirror.name}`);
  if (seen !== undefined) return seen;
  const part = (name) => (/^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name));
  const key = `route.${part(mirror.route)}.mirrors.${part(mirror.name)}.percent`;
  const last = changes.filter((change) => !change.refused).flatMap((change) => change.what).findLast((what) => what.key === key);
  return last?.to === "0" && Number(last.from) > 0 ? Number(last.from) : mirror.configured_percent;
}

/** What the page sees run is remembered, for whoever pauses it. */
export function remember(mirrors) {
  for (const mirror of mirrors) if (mirror.percent > 0) ran.set(`${mirror.route}\n${mirror.name}`, mirror.percent);
}

/** Shares of several mirrors on several routes, in as few changes as they need. */
async function setAll(wanted, reload, announce) {
  const byName = Map.groupBy ? Map.groupBy(wanted, (of) => of.mirror.name) : wanted.reduce((all, of) => all.set(of.mirror.name, [...(all.get(of.mirror.name) ?? []), of]), new Map());
  for (const [name, all] of byName) {
    const isOne = all.every((of) => of.percent === all[0].percent && of.isWhole);
    for (const { mirror, percent } of isOne ? [all[0]] : all) {
      const path = query(`/mirrors/${segment(name)}`, { route: isOne ? "" : mirror.route });
      if (!(await change(path, { percent }, announce, async () => {}))) return reload();
    }
  }
  return reload();
}

/** Stops every copy, or lets those go on that were stopped. */
export async function pauseAll(mirrors, changes, announce, reload) {
  const names = [...new Set(mirrors.map((mirror) => mirror.name))].join(", ");
  if (mirrors.some((mirror) => mirror.percent > 0)) {
    const text = `No copy of any request is sent to ${names}, from the next request on, until it is resumed or the configuration is loaded again. Clients notice nothing.`;
    if (await confirmed("Pause all mirrors?", text, "Pause all")) await setAll(mirrors.map((mirror) => ({ mirror, percent: 0, isWhole: true })), reload, announce);
    return;
  }
  const wanted = mirrors.map((mirror) => ({ mirror, percent: before(mirror, changes), isWhole: true })).filter((of) => of.percent > 0);
  if (!wanted.length) return announce("Nothing to resume: every mirror's file says 0 %. Set a share below.");
  const shares = [...new Set(wanted.map((of) => `${of.mirror.name} at ${percentText(of.percent)}`))].slice(0, 6).join(", ");
  if (await confirmed("Resume all mirrors?", `Copies are sent again from the next request on: ${shares}.`, "Resume all")) {
    // A mirror of which one route stays at nothing is set route by route.
    const whole = wanted.map((of) => ({ ...of, isWhole: mirrors.filter((mirror) => mirror.name === of.mirror.name).length === wanted.filter((w) => w.mirror.name === of.mirror.name).length }));
    await setAll(whole, reload, announce);
  }
}

/** "5 %", or "5 to 100 %" where routes have several shares. */
function sharesText(mirrors) {
  const all = mirrors.map((mirror) => mirror.percent);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return low === high ? percentText(low) : `${low} to ${percentText(high)}`;
}

/** One mirror, on the route that is looked at or on all that have it: its share, a slider and a field for another one. */
function mirrorRow(name, all, route, { changes, facts, announce, reload }) {
  const of = route ? all.filter((mirror) => mirror.route === route) : all;
  const [first] = of;
  const where = route ? `on route ${route}` : all.length === 1 ? `on route ${first.route}` : `on all its ${all.length} routes`;
  const what = `mirror ${name} ${where}`;
  const path = query(`/mirrors/${segment(name)}`, { route: route || (all.length === 1 ? first.route : "") });
  const shares = of.map((mirror) => mirror.percent);
  const now = shares.every((share) => share === shares[0]) ? shares[0] : null;
  const set = async (percent, action) => {
    const text = `${what} gets copies of ${percentText(percent)} of its requests instead of ${sharesText(of)}. It holds from the next request until the configuration is loaded again.`;
    if (await confirmed(`${action} ${name}?`, text, action)) await change(path, { percent }, announce, reload);
  };
  const isPaused = shares.every((share) => share === 0);
  const slider = h("input", { type: "range", min: 0, max: STEPS, step: 1, "aria-label": `Share of ${what}, percent`, "data-key": `slider ${name} ${where}` });
  const field = h("input", { type: "number", min: 0, max: 10_000, step: "any", "aria-label": `Share of ${what} as a number, percent`, "data-key": `number ${name} ${where}` });
  const apply = h("button", { type: "button", disabled: true, "data-key": `apply ${name} ${where}`, onclick: () => set(Number(field.value), "Set") }, "Set");
  const fresh = () => {
    apply.disabled = !isShare(field.value) || Number(field.value) === now;
    slider.setAttribute("aria-valuetext", isShare(field.value) ? (Number(field.value) === 0 ? "paused" : percentText(Number(field.value))) : "several shares");
  };
  slider.addEventListener("input", () => {
    field.value = String(fromPosition(Number(slider.value)));
    fresh();
  });
  field.addEventListener("input", () => {
    if (isShare(field.value)) slider.value = String(toPosition(Number(field.value)));
    fresh();
  });
  const enter = (event) => {
    if (event.key !== "Enter" || apply.disabled) return;
    // Or the same press of the key would say yes to the question as well.
    event.preventDefault();
    apply.click();
  };
  [slider, field].forEach((input) => input.addEventListener("keydown", enter));
  field.value = now === null ? "" : String(now);
  slider.value = String(toPosition(now ?? Math.max(...shares)));
  fresh();
  const turn = () => {
    if (!isPaused) return set(0, "Pause");
    const wanted = of.map((mirror) => ({ mirror, percent: before(mirror, changes), isWhole: !route }));
    const share = wanted[0].percent;
    if (wanted.every((one) => one.percent === share)) return set(share, "Resume");
    const text = `${what} gets its copies again, on each route as many as before.`;
    return confirmed(`Resume ${name}?`, text, "Resume").then((is) => is && setAll(wanted.filter((one) => one.percent > 0), reload, announce));
  };
  const shared = [...new Set(of.map((mirror) => before(mirror, changes)))];
  const at = shared.length === 1 ? ` at ${percentText(shared[0])}` : "";
  const toggle = (!isPaused || shared.some((share) => share > 0)) && h("button", { type: "button", "data-key": `pause ${name} ${where}`, onclick: turn }, isPaused ? `Resume${at}` : "Pause");
  return h(
    "li",
    { class: "control mirror" },
    h(
      "p",
      {},
      h("strong", {}, name),
      ` ${where}, to ${first.upstream ?? DASH}${first.role === "baseline" ? ", baseline" : ""}: `,
      h("span", { class: isPaused ? "badge hold" : "figure" }, isPaused ? "paused" : sharesText(of)),
      h("span", { class: "note", "data-facts": name }, facts(name)),
    ),
    h("div", { class: "inputs" }, h("span", { class: "ends" }, slider, h("span", { class: "marks", "aria-hidden": "true" }, ["0.01", "0.1", "1", "10", "100", "1000"].map((mark) => h("span", {}, mark)))), field, h("span", { "aria-hidden": "true" }, "%"), apply, toggle),
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

/** As many mirrors have a row, and as many routes where none is chosen; of more, none. */
const MIRRORS_MAX = 6;
const ROUTES_MAX = 3;

/** What either list was drawn from. */
const shown = { mirrors: "", routes: "" };

/** Draws both lists, each if it is another than the one on the page: an input that somebody holds stays. */
export function configuration({ routes, mirrors, changes, route, facts, announce, reload }) {
  remember(mirrors);
  const names = [...new Set(mirrors.map((mirror) => mirror.name))];
  const listed = names.filter((name) => !route || mirrors.some((mirror) => mirror.name === name && mirror.route === route));
  const list = (rows, why, more) => (rows.length ? [h("ul", { class: "controls" }, rows), more && h("p", { class: "note" }, more)] : [empty(why)]);
  // Of one that is paused, what it goes on at.
  const at = mirrors.filter((mirror) => mirror.percent === 0).map((mirror) => before(mirror, changes));
  const ofMirrors = JSON.stringify([mirrors, route, at]);
  if (ofMirrors !== shown.mirrors) {
    shown.mirrors = ofMirrors;
    written();
    const rows = listed.slice(0, MIRRORS_MAX).map((name) => mirrorRow(name, mirrors.filter((mirror) => mirror.name === name), route, { changes, facts, announce, reload }));
    const more = listed.length - rows.length;
    show(byId("mirrors"), ...list(rows, route ? "This route has no mirror." : "No route has a mirror: nothing is copied.", more > 0 && `And ${more} more mirrors: gateway set.`));
  }
  for (const span of byId("mirrors").querySelectorAll("[data-facts]")) say(span, facts(span.dataset.facts));
  const ofRoutes = JSON.stringify([routes, route]);
  if (ofRoutes === shown.routes) return;
  shown.routes = ofRoutes;
  written();
  const meant = route ? routes.filter((of) => of.name === route) : routes.length > ROUTES_MAX ? [] : routes;
  show(byId("routes"), ...list(meant.map((of) => routeRow(of, announce, reload)), routes.length ? `${routes.length} routes: choose one in the list of routes to see it here, with its weights.` : "No routes."));
}
