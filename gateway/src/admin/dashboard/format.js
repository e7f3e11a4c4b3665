// Numbers as people read them, each with its unit. A dash stands for what is not known, never for zero.

export const DASH = "–";
const THIN = "\u202f";

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Three significant digits at most, and no zeros behind them. */
function short(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

function scaled(value, steps) {
  const [size, unit] = steps.find(([size]) => Math.abs(value) >= size * 0.9995) ?? steps.at(-1);
  return `${short(value / size)}${THIN}${unit}`;
}

/** 1.5 ms */
export function seconds(value) {
  if (!known(value)) return DASH;
  if (value === 0) return `0${THIN}s`;
  return scaled(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]);
}

/** 64 KiB */
export function bytes(value) {
  if (!known(value)) return DASH;
  return scaled(value, [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]]);
}

/** 12 345 */
export function count(value) {
  if (!known(value)) return DASH;
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** 1.2 k, for axes */
export function few(value) {
  if (!known(value)) return DASH;
  if (Math.abs(value) < 1000) return short(value);
  return scaled(value, [[1e9, "G"], [1e6, "M"], [1e3, "k"]]);
}

/** 120/s */
export const rate = (value) => (known(value) ? `${few(value)}/s` : DASH);

/** Of a share from 0 to 1. Neither 0 % nor 100 % unless it is exactly that. */
export function percent(share) {
  if (!known(share)) return DASH;
  if (share < 0) return `−${percent(-share)}`;
  const value = share * 100;
  if (value > 0 && value < 0.01) return `< 0.01${THIN}%`;
  if (value < 100 && value > 99.99) return `> 99.99${THIN}%`;
  const digits = value < 1 || (value > 99 && value < 100) ? 2 : value < 10 ? 1 : value > 90 && value < 100 ? 1 : 0;
  return `${Number(value.toFixed(digits))}${THIN}%`;
}

/** +3 ms, and − for less */
export function signed(text, value) {
  if (!known(value)) return DASH;
  return `${value > 0 ? "+" : value < 0 ? "−" : "±"}${text(Math.abs(value))}`;
}

/** A figure whose unit nobody told. */
export function figure(value) {
  if (!known(value)) return value === null || value === undefined ? DASH : String(value);
  return Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(3)));
}

/** 14:03:59 */
export function clock(epoch) {
  return known(epoch) ? new Date(epoch * 1000).toLocaleTimeString([], { hour12: false }) : DASH;
}

/** RFC 3339 as local time, written in an order that everybody reads alike. */
export function instant(text) {
  const at = new Date(text ?? NaN);
  if (Number.isNaN(at.getTime())) return DASH;
  const two = (n) => String(n).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${clock(at.getTime() / 1000)}`;
}

/** 3 h 20 min */
export function span(value) {
  if (!known(value) || value < 0) return DASH;
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => value >= size);
  if (at < 0) return `0${THIN}s`;
  const [size, unit] = parts[at];
  const next = parts[at + 1];
  const rest = next ? Math.floor((value % size) / next[0]) : 0;
  return `${Math.floor(value / size)}${THIN}${unit}${rest ? ` ${rest}${THIN}${next[1]}` : ""}`;
}

/** "in_flight" as words. */
export const words = (label) => String(label).replaceAll("_", " ");
