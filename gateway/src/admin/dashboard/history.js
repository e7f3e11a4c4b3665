// The history that /live told so far: columns of seconds, the newest last. Pure.

const keyOf = (item) => item.name ?? item.worker;

const isList = (value) => Array.isArray(value) && value.length > 0 && typeof value[0] === "object" && value[0] !== null;

/** Whether any column says anything still. */
const speaks = (value) =>
  Array.isArray(value)
    ? value.some((cell) => cell !== null)
    : typeof value === "object" && value !== null && Object.values(value).some(speaks);

/** `fresh` behind `old`; what one of them lacks is null there, so that all columns stay of one length. */
function join(old, fresh, before, added, max) {
  const nulls = (n) => new Array(n).fill(null);
  if (isList(old) || isList(fresh)) {
    const keys = [...new Set([...(fresh ?? []), ...(old ?? [])].map(keyOf))];
    const find = (list, key) => (list ?? []).find((item) => keyOf(item) === key);
    const joined = keys.map((key) => join(find(old, key), find(fresh, key), before, added, max));
    // A name that only an old configuration had goes with its last second.
    return joined.filter((item, at) => find(fresh, keys[at]) || speaks(item));
  }
  if (Array.isArray(old) || Array.isArray(fresh)) {
    return [...(old ?? nulls(before)), ...(fresh ?? nulls(added))].slice(-max);
  }
  const shape = fresh ?? old;
  if (typeof shape !== "object" || shape === null) return shape;
  const entry = (key) => [key, join(old?.[key], fresh?.[key], before, added, max)];
  return Object.fromEntries([...new Set([...Object.keys(old ?? {}), ...Object.keys(fresh ?? {})])].map(entry));
}

/** The history after one more answer. Another process's begins anew: `null` until all that it has is asked for. */
export function extend(history, answer) {
  if (!history) return answer;
  if (history.started !== answer.started) return answer.at.length < answer.seq && answer.at.length < answer.samples_max ? null : answer;
  if (answer.seq < history.seq) return answer;
  return join(history, answer, history.at.length, answer.at.length, answer.samples_max);
}

/** Steps further apart than this many of their length have nothing between them: no line joins them. */
const GAP_STEPS = 3;

/** `columns` over `at`, in seconds, with a `null` where nothing was seen for long. */
export function withGaps(at, columns, lengths) {
  const holes = at.map((_, n) => n).filter((n) => n > 0 && at[n] - at[n - 1] > GAP_STEPS * Math.max(lengths[n] ?? 1, lengths[n - 1] ?? 1));
  if (!holes.length) return [at, ...columns];
  const cut = (column, fill) => holes.reduceRight((all, n) => all.toSpliced(n, 0, fill(n)), column);
  return [cut(at, (n) => (at[n] + at[n - 1]) / 2), ...columns.map((column) => cut(column, () => null))];
}

const numbers = (column) => (column ?? []).filter((value) => value !== null);

/** Seconds after which a value is no longer one of now. */
const NOW = 5;

/** The last value, if it is one of now. */
export const last = (column) => numbers((column ?? []).slice(-NOW)).at(-1) ?? null;

export const sum = (column) => numbers(column).reduce((all, value) => all + value, 0);

/** Columns of counts, added up second by second. */
export function total(columns) {
  return (columns[0] ?? []).map((_, at) => columns.reduce((all, column) => all + (column[at] ?? 0), 0));
}

/** Counts of samples as counts per second. */
export const perSecond = (column, seconds) =>
  column.map((value, at) => (value === null || !seconds[at] ? null : value / seconds[at]));

/** Mean per second of the newest samples. */
export function recent(column, seconds) {
  const time = sum(seconds.slice(-NOW));
  return time > 0 ? sum(column.slice(-NOW)) / time : null;
}

export const mirrorOf = (history, name) => history?.mirrors?.find((mirror) => mirror.name === name) ?? null;
