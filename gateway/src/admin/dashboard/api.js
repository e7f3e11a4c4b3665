// The admin listener, asked from the page that it served. The token, where there is one, lives as long as the tab.

const TOKEN = "umbra-token";

/** Longer than any answer takes that is worth waiting for. */
const ANSWER_MS_MAX = 8_000;

/** What became of a question that got no good answer. `kind`: unreachable, missing, unauthorized or refused. */
export class Trouble extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

const KINDS = { 401: "unauthorized", 404: "missing", 405: "missing", 501: "missing" };

/** One sentence of what the gateway answered. */
function reason(status, text) {
  try {
    const { error, problems } = JSON.parse(text);
    if (error) return error;
    if (problems) return problems.map((p) => (p.key ? `${p.key}: ${p.message}` : p.message)).join("; ");
  } catch {
    // Not JSON: said as it is.
  }
  return text.trim().slice(0, 300) || `status ${status}`;
}

async function ask(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  if (token.get()) headers.authorization = `Bearer ${token.get()}`;
  let response;
  let text;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", signal });
    text = await response.text();
  } catch {
    throw new Trouble("unreachable", "The admin listener does not answer.");
  }
  if (!response.ok) throw new Trouble(KINDS[response.status] ?? "refused", reason(response.status, text));
  return text;
}

async function json(path, options) {
  const text = await ask(path, options);
  try {
    return JSON.parse(text);
  } catch {
    throw new Trouble("refused", `${path} answered something that is not JSON.`);
  }
}

export const get = (path) => json(path);

/** As it is, for what is no JSON. */
export const getText = (path) => ask(path, { headers: { accept: "*/*" } });

export const patch = (path, body) =>
  json(path, { method: "PATCH", body: JSON.stringify(body), headers: { "content-type": "application/json" } });

export const post = (path, body) =>
  json(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });

/** `path` with the parameters that have a value. */
export function query(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

/** A name as one or more segments of a path: a name may hold slashes. */
export const segment = (name) => name.split("/").map(encodeURIComponent).join("/");
