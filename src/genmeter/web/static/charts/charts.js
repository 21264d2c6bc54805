// Charts over time by uPlot, and small ones as SVG. None needs colour to be read: areas have
// patterns, lines have dashes, the figures under the pointer are told in words, and each chart has
// its table.

import { h, svg } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { failure } from "../parts/panels.js";
import uPlot from "../uPlot.esm.js";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** The outcomes of jobs as the charts stack them, from the bottom up. */
export const OUTCOMES = [
  { key: "success", label: "Success", code: "2xx", pattern: null },
  { key: "client_errors", label: "Client errors", code: "4xx", pattern: "dots" },
  { key: "throttled", label: "Throttled", code: "429", pattern: "lines" },
  { key: "provider_errors", label: "Provider errors", code: "5xx", pattern: "grid" },
];

function paint(name, pattern) {
  const base = color(name);
  if (!pattern) return base;
  const ratio = Math.max(1, Math.round(devicePixelRatio));
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6 * ratio;
  const pen = tile.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = base;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = pen.fillStyle = color("panel");
  pen.lineWidth = 1.2;
  pen.beginPath();
  if (pattern === "dots") {
    for (const at of [1, 4]) pen.rect(at, at, 1.4, 1.4);
    pen.fill();
  }
  const strokes = {
    lines: [-6, 0, 6].map((at) => [at, 6, at + 6, 0]),
    grid: [
      [0, 3, 6, 3],
      [3, 0, 3, 6],
    ],
  };
  for (const [x, y, toX, toY] of strokes[pattern] ?? []) {
    pen.moveTo(x, y);
    pen.lineTo(toX, toY);
  }
  if (pattern !== "dots") pen.stroke();
  return pen.createPattern(tile, "repeat");
}

/** Jobs over time, stacked by outcome. `groups` have `start` and the outcomes' metrics. */
export function stacked(groups, options) {
  const times = groups.map((group) => Date.parse(group.start) / 1000);
  let below = groups.map(() => 0);
  const sums = OUTCOMES.map(({ key }) => (below = below.map((sum, i) => sum + (groups[i][key] ?? 0))));
  // The highest sum first: each next one covers the lower part of it.
  const drawn = OUTCOMES.map((outcome, i) => ({ outcome, sums: sums[i] })).reverse();
  const series = drawn.map(({ outcome }) => ({
    label: outcome.label,
    fill: () => paint(outcome.key, outcome.pattern),
    stroke: () => color(outcome.key),
    width: 0,
    paths: uPlot.paths.bars({ size: [0.86, 60], align: 1 }),
    points: { show: false },
  }));
  return chart(
    times,
    drawn.map((one) => one.sums),
    series,
    {
      ...options,
      axis: (value) => format.compact(value),
      incrs: [1, 2, 5].flatMap((n) => [...Array(9).keys()].map((power) => n * 10 ** power)).sort((a, b) => a - b),
      keys: OUTCOMES.map(({ key, label, pattern }) => ({ name: label, swatch: key, pattern })),
      tell: (i) => OUTCOMES.map(({ key, label }) => `${label} ${format.count(groups[i][key])}`).join(" · "),
    },
  );
}

const MINUTE = 60_000;
const DURATIONS = [
  1,
  2,
  5,
  10,
  20,
  50,
  100,
  200,
  500,
  1000,
  2000,
  5000,
  10_000,
  20_000,
  30_000,
  ...[1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200].map((n) => n * MINUTE),
];
const DASHES = [[], [6, 3], [2, 3]];

/** Percentiles over time as lines. `names` are metrics such as p50. */
export function lines(groups, names, options) {
  const times = groups.map((group) => Date.parse(group.start) / 1000);
  const series = names.map((name, i) => ({
    label: name,
    stroke: () => color(`line${i + 1}`),
    width: 1.75,
    dash: DASHES[i % DASHES.length],
    spanGaps: false,
    points: { show: groups.length < 3, size: 5 },
  }));
  return chart(
    times,
    names.map((name) => groups.map((group) => group[name])),
    series,
    {
      ...options,
      axis: (value) => format.duration(value),
      incrs: DURATIONS,
      keys: names.map((name, i) => ({ name, swatch: `line${i + 1}`, dash: i })),
      tell: (i) => names.map((name) => `${name} ${format.duration(groups[i][name])}`).join(" · "),
    },
  );
}

/**
 * Where a chart is drawn: `draw()` when it comes into the page, and what that returns when it goes.
 *
 * A chart listens to the window, which would keep it for ever and the whole view that it was in.
 */
class Plot extends HTMLElement {
  connectedCallback() {
    try {
      this.end = this.draw();
    } catch (error) {
      this.replaceChildren(failure(error)); // the browser calls this, not the panel that would say so
    }
  }

  disconnectedCallback() {
    this.end?.(); // not where drawing failed
  }
}
customElements.define("genmeter-plot", Plot);

function chart(times, values, series, { zone, zoom, axis, incrs, keys, tell, label, head, rows, step }) {
  const place = h("genmeter-plot", { class: "plot", role: "img", "aria-label": label });
  const told = h("p", { class: "told", "aria-hidden": "true" }, "\u00a0");
  const legend = h(
    "ul",
    { class: "legend" },
    keys.map(({ name, swatch, pattern, dash }) => h("li", null, sample(swatch, pattern, dash), name)),
  );
  const scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;
  const lined = {
    stroke: () => color("dim"),
    grid: { stroke: () => color("rule"), width: 1 },
    ticks: { show: false },
    font: `${11 * scale}px system-ui`,
  };
  const shape = {
    width: 300,
    height: 190,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone === "UTC" ? "Etc/UTC" : zone),
    scales: {
      x: { range: (_, low, high) => [low, Math.max(high + step, low + 1)] },
      y: { range: (_, __, high) => [0, high > 0 ? high * 1.06 : 1] },
    },
    axes: [
      {
        ...lined,
        grid: { show: false },
        size: 26 * scale,
        space: 64 * scale,
        values: (_, ticks, __, ___, apart) => ticks.map((at) => format.tick(at * 1000, zone, apart)),
      },
      { ...lined, size: 62 * scale, incrs, values: (_, ticks) => ticks.map(axis) },
    ],
    series: [{}, ...series],
    hooks: {
      setCursor: [
        (plot) => {
          const i = plot.cursor.idx;
          told.textContent =
            i === null || i === undefined ? "\u00a0" : `${format.minute(times[i] * 1000, zone)}: ${tell(i)}`;
        },
      ],
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          const at = (x) => Math.round(plot.posToVal(x, "x") / 60) * 60_000;
          const [from, to] = [at(plot.select.left), at(plot.select.left + plot.select.width)];
          if (to > from) zoom(new Date(from).toISOString(), new Date(to).toISOString());
        },
      ],
    },
  };
  place.draw = () => {
    const plotted = new uPlot(shape, [times, ...values], place);
    const watch = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width > 50) plotted.setSize({ width, height: width > 1400 ? 260 : 190 });
    });
    watch.observe(place);
    return () => {
      watch.disconnect();
      plotted.destroy();
    };
  };
  const asTable = h("details", { class: "astable" }, h("summary", null, "As a table"));
  asTable.addEventListener("toggle", () => {
    if (!asTable.open || asTable.children.length > 1) return;
    asTable.append(
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, as a table` },
        h(
          "table",
          null,
          h(
            "thead",
            null,
            h(
              "tr",
              null,
              head.map((text, i) => h("th", { scope: "col", class: i ? "n" : null }, text)),
            ),
          ),
          h(
            "tbody",
            null,
            rows().map((cells) =>
              h(
                "tr",
                null,
                cells.map((text, i) => h(i ? "td" : "th", { class: i ? "n" : null }, text)),
              ),
            ),
          ),
        ),
      ),
    );
  });
  return h("div", { class: "chart" }, legend, place, told, asTable);
}

function sample(name, pattern, dash) {
  const box = svg("svg", { viewBox: "0 0 14 10", class: `swatch ${name}`, "aria-hidden": "true" });
  if (dash !== undefined) {
    box.append(
      svg("line", {
        x1: 0,
        y1: 5,
        x2: 14,
        y2: 5,
        "stroke-dasharray": DASHES[dash].map((n) => n / 1.5).join(" ") || null,
      }),
    );
    return box;
  }
  box.append(svg("rect", { width: 14, height: 10, rx: 2 }));
  const marks = {
    dots: "M2 2h1.6v1.6h-1.6zM6 6h1.6v1.6h-1.6zM10 2h1.6v1.6h-1.6z",
    lines: "M0 10L10 0M5 10L14 1M-4 9L5 0",
    grid: "M0 5H14M4 0V10M10 0V10",
  };
  if (pattern) box.append(svg("path", { d: marks[pattern], class: pattern === "dots" ? "mark dots" : "mark" }));
  return box;
}

/**
 * A spark line: bars of jobs, what failed of them at the top of each, told in words too.
 *
 * All bars of a kind are one path: a page has up to a hundred lines of ninety bars.
 */
export function spark(points, label) {
  const most = Math.max(1, ...points.map((point) => point.jobs));
  const width = 120 / Math.max(1, points.length);
  const wide = Math.max(0.6, width * 0.82).toFixed(2);
  const paths = { fine: "", bad: "" };
  points.forEach(({ jobs, success }, i) => {
    const [all, bad] = [(jobs / most) * 24, ((jobs - success) / most) * 24];
    const bar = (top, height) => `M${(i * width).toFixed(2)} ${top.toFixed(2)}h${wide}v${height.toFixed(2)}h-${wide}z`;
    if (all > bad) paths.fine += bar(24 - all + bad, all - bad);
    if (bad > 0) paths.bad += bar(24 - all, Math.max(1, bad));
  });
  return svg(
    "svg",
    { class: "spark", viewBox: "0 0 120 24", preserveAspectRatio: "none", role: "img", "aria-label": label },
    Object.entries(paths).map(([kind, d]) => (d ? svg("path", { class: kind, d }) : null)),
  );
}
