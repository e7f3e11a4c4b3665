// Rings and workers: how full, how busy.

import { byId, empty, gauge, h, show, table } from "./dom.js";
import { bytes, count, percent } from "./format.js";
import { last } from "./history.js";

/** As many workers have a row of their own. */
const WORKERS_MAX = 32;

/** From here on it is worth a look, and then worth a worry. */
const [HIGH, FULL] = [0.7, 0.9];

const meter = (share, label) => gauge(share, share >= FULL ? "full" : share >= HIGH ? "high" : "", label);

export function machine(history) {
  const rings = history.rings.map((ring) => {
    const [entries, size] = [last(ring.entries) ?? 0, last(ring.bytes) ?? 0];
    const fill = Math.max(entries / (ring.entries_max || 1), size / (ring.bytes_max || 1));
    return [
      ring.name,
      meter(fill, `Ring ${ring.name}`),
      `${count(entries)} of ${count(ring.entries_max)}`,
      `${bytes(size)} of ${bytes(ring.bytes_max)}`,
      count(last(ring.connections)),
    ];
  });
  const number = (title) => ({ title, class: "number" });
  show(
    byId("rings"),
    rings.length
      ? table("Rings of all workers together", [{ title: "Ring" }, { title: "Full" }, number("Copies"), number("Bytes"), number("Connections")], rings, { visible: true })
      : empty("No mirror, so no rings."),
  );
  const most = (cpu) => cpu.reduce((max, value) => Math.max(max, value ?? 0), 0);
  const workers = history.workers.slice(0, WORKERS_MAX).map(({ worker, cpu }) => {
    const now = last(cpu) ?? 0;
    return [String(worker), meter(now, `Worker ${worker}`), percent(now), percent(most(cpu))];
  });
  const more = history.workers.length - workers.length;
  show(
    byId("workers"),
    table("Workers, share of a core", [{ title: "Worker" }, { title: "Busy" }, number("Now"), number("Most, 5 min")], workers, { visible: true }),
    more > 0 && h("p", { class: "note" }, `And ${count(more)} more workers.`),
  );
}
