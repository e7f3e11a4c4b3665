// Curves with uPlot: over time, over latency, over percentiles. Each has its legend as text and its table for those who
// cannot see it. It knows how to draw and nothing of what.

import { h, say, show, table } from "./dom.js";

const uPlot = globalThis.uPlot;

/** A colour of the style sheet as the canvas wants it, in the theme that is on. */
function color(name, alpha = 1) {
  const probe = h("span", { hidden: true });
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return alpha === 1 ? value : value.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
}

/**
 * A chart in `host`. `lines`: {label, color, dash, width, fill, stepped}; `x`: {format(value, step), time, log, splits,
 * range}; `y`: {format, log, least}; `rows(data, names)` gives {caption, columns, rows} of its table. Returns
 * `update(data, reason, names, marks)`, which takes the x column and one column for each line, why there is nothing to draw,
 * how the lines are called from now on, and moments {at, refused} to mark.
 */
export function chart(host, { label, lines, x, y, height = 132, rows, sync }) {
  const figure = h("div", { class: "plot", "aria-hidden": "true" });
  const values = lines.map(() => h("output", { class: "value", "aria-hidden": "true" }));
  let names = lines.map((line) => line.label);
  const labels = names.map((name) => h("span", {}, name));
  const legend = h(
    "ul",
    { class: "legend", "aria-label": `Lines of ${label}` },
    lines.map((line, at) =>
      h("li", {}, h("span", { class: `swatch ${line.color}${line.dash ? " dashed" : ""}` }), labels[at], " ", values[at]),
    ),
  );
  const body = h("div", { class: "data" });
  const details = h("details", { class: "numbers" }, h("summary", {}, "As a table", h("span", { class: "unseen" }, `: ${label}`)), body);
  const nothing = h("p", { class: "empty over" });
  show(host, legend, h("div", { class: "stack" }, figure, nothing), details);

  let plot = null;
  let marked = [];
  let inks = {};
  let data = [[], ...lines.map(() => [])];

  const axis = (of, vertical) => ({
    stroke: color("quiet"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: color("line"), width: 1 },
    ticks: { show: false },
    gap: 6,
    size: vertical ? 58 : 26,
    space: vertical ? 30 : 64,
    // Nothing comes more often than by the second.
    ...(of.time ? { incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600] } : {}),
    ...(of.splits ? { splits: of.splits, filter: null } : {}),
    values: (_, splits, axis, space, step) => splits.map((value) => (value === null ? "" : of.format(value, step))),
  });

  function build() {
    plot?.destroy();
    inks = { ink: color("ink"), bad: color("bad") };
    const width = Math.max(figure.clientWidth, 120);
    const logarithmic = (of) => (of.log ? { distr: 3, log: of.log } : {});
    plot = new uPlot(
      {
        width,
        height,
        legend: { show: false },
        padding: [8, 22, 0, 0],
        cursor: {
          y: false,
          points: { size: 6 },
          drag: { x: false, y: false },
          ...(sync ? { sync: { key: sync, setSeries: false } } : {}),
        },
        scales: {
          x: { time: Boolean(x.time), ...logarithmic(x), ...(x.range ? { range: x.range } : {}) },
          y: { ...logarithmic(y), ...(y.log ? {} : { range: (_, low, high) => [0, Math.max(high || 0, y.least ?? 1) * 1.08] }) },
        },
        axes: [axis(x, false), axis(y, true)],
        series: [
          {},
          ...lines.map((line) => ({
            stroke: color(line.color),
            width: line.width ?? 1.5,
            dash: line.dash,
            fill: line.fill ? color(line.color, line.fill) : undefined,
            points: { show: false },
            spanGaps: false,
            paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
          })),
        ],
        hooks: { setCursor: [readout], draw: [flags] },
      },
      data,
      figure,
    );
  }

  /** A line with a flag where something was changed. */
  function flags(of) {
    const { ctx, bbox } = of;
    const size = 5 * devicePixelRatio;
    ctx.save();
    for (const { at, refused } of marked) {
      const x = Math.round(of.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = refused ? inks.bad : inks.ink;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.6 * size);
      ctx.fill();
    }
    ctx.restore();
  }

  /** What the legend says: the values under the pointer, else the newest ones where x is time. */
  function readout() {
    const at = plot?.cursor.idx ?? null;
    lines.forEach((line, n) => {
      const column = data[n + 1];
      const value = at !== null ? column[at] : x.time ? column.findLast((v) => v !== null) : undefined;
      say(values[n], at === null && !x.time ? "" : y.format(value));
    });
  }

  function tell() {
    if (!details.open) return;
    const { caption, columns, rows: cells } = rows(data, names);
    show(body, table(caption, columns, cells, { visible: true }));
  }

  details.addEventListener("toggle", tell);
  new ResizeObserver(() => {
    const width = Math.max(figure.clientWidth, 120);
    if (plot && Math.abs(plot.width - width) > 1) plot.setSize({ width, height });
  }).observe(figure);
  document.addEventListener("themechange", build);
  build();

  return (next, reason = "", called = names, marks = []) => {
    data = next;
    names = called;
    marked = marks;
    labels.forEach((element, at) => say(element, names[at]));
    nothing.hidden = !reason;
    say(nothing, reason);
    plot.setData(data);
    readout();
    tell();
  };
}
