// Hours across, days down. A cell says its figure in words too; arrow keys move, Enter shows the hour.

import { h } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { moments } from "../parts/zones.js";

const STEPS = 6;
const GOOD_HIGH = ["success_rate"];

const text = (metric, value) =>
  metric === "success_rate" ? format.percent(value) : metric === "p95" ? format.duration(value) : format.count(value);

/**
 * The hours of an answer by the hour, {from, to, start, hours, ...figures}, each name of an hour once.
 *
 * Where clocks are set back an hour comes twice, and a rate or a percentile of both is not to be
 * had from those of each: `ask(from, to)` is asked for the figures of the two together.
 */
export async function hoursOf({ query: { from, to }, groups }, ask) {
  const found = [];
  groups.forEach((group, i) => {
    const name = group.start.slice(0, 13);
    const span = { from: i ? group.start : from, to: groups[i + 1]?.start ?? to };
    // By more than an hour, in Antarctica, they come one after the other: these are one cell.
    const before = found.slice(-2).find((one) => one.name === name);
    if (before) {
      found.length = found.indexOf(before) + 1;
      Object.assign(before, { to: span.to, again: true });
    } else found.push({ ...group, ...span, name, again: false });
  });
  await Promise.all(
    found.filter((one) => one.again).map(async (one) => Object.assign(one, await ask(one.from, one.to))),
  );
  return found;
}

/** Why a day has no such hour. */
const absent = (date, hour, zone) =>
  moments(`${date}T${String(hour).padStart(2, "0")}:00`, zone).length ? "not in the range" : "clocks skip this hour";

/** A map of the hours of `hoursOf`; `choose(from, to)` is called for the one that is chosen. */
export function heatMap(hours, { metric, label, zone, choose }) {
  const days = new Map();
  for (const one of hours) {
    const [date, hour] = [one.name.slice(0, 10), Number(one.name.slice(11))];
    if (!days.has(date)) days.set(date, new Map());
    days.get(date).set(hour, one);
  }
  const values = hours.map((one) => one[metric]).filter((value) => value !== null);
  const [low, high] = metric === "success_rate" ? [Math.min(...values, 100), 100] : [0, Math.max(...values, 1)];
  const step = (value) => {
    const part = high > low ? (value - low) / (high - low) : 1;
    return value === 0 && metric !== "success_rate"
      ? 0
      : Math.min(STEPS, 1 + Math.floor((GOOD_HIGH.includes(metric) ? 1 - part : part) * STEPS * 0.999));
  };
  const told = h(
    "p",
    { class: "told", role: "status" },
    `${label}, from ${text(metric, low)} to ${text(metric, high)}`,
    GOOD_HIGH.includes(metric) && "; darker is worse",
  );
  const clock = [...Array(24).keys()];
  const body = h(
    "tbody",
    null,
    [...days].reverse().map(([date, cells]) =>
      h(
        "tr",
        null,
        h("th", { scope: "row" }, format.day(`${date}T12:00:00Z`, "UTC")),
        clock.map((hour) => {
          const one = cells.get(hour);
          // A label and no content: thousands of cells are laid out in half the time.
          if (!one || one[metric] === null)
            return h("td", { class: "none", "aria-label": one ? "no jobs" : absent(date, hour, zone) });
          return h("td", {
            class: `heat${step(one[metric])}${one.again ? " again" : ""}`,
            tabindex: "-1",
            "data-start": one.start,
            "aria-label": text(metric, one[metric]) + (one.again ? ", clocks set back" : ""),
          });
        }),
      ),
    ),
  );
  const table = h(
    "table",
    { class: "heat", role: "grid", "aria-label": `${label} by hour and day` },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", { scope: "col" }, h("span", { class: "unseen" }, "Day")),
        clock.map((hour) => h("th", { scope: "col" }, String(hour).padStart(2, "0"))),
      ),
    ),
    body,
  );
  const starts = new Map(hours.map((one) => [one.start, one]));
  const tell = (cell) => {
    const one = starts.get(cell.dataset.start);
    const twice = one.again
      ? `, clocks set back, ${format.hours(Date.parse(one.to) - Date.parse(one.from))} in all`
      : "";
    const jobs = metric === "jobs" ? "" : `, ${format.count(one.jobs)} jobs`;
    told.textContent = `${format.minute(one.start, zone)}${twice}: ${label} ${text(metric, one[metric])}${jobs}`;
  };
  const pick = (cell) => {
    const { from, to } = starts.get(cell.dataset.start);
    choose(new Date(from).toISOString(), new Date(to).toISOString());
  };
  body.querySelector("[data-start]")?.setAttribute("tabindex", "0");
  const cellOf = (event) => event.target.closest("[data-start]");
  table.addEventListener("pointerover", (event) => cellOf(event) && tell(cellOf(event)));
  table.addEventListener("focusin", (event) => cellOf(event) && tell(cellOf(event)));
  table.addEventListener("click", (event) => cellOf(event) && pick(cellOf(event)));
  table.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      pick(cell);
      return;
    }
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    let [row, column] = [cell.parentElement.rowIndex, cell.cellIndex];
    for (let next = null; ; ) {
      [row, column] = [row + down, column + right];
      next = table.rows[row]?.cells[column];
      if (!next || row < 1) return;
      if (!next.dataset.start) continue;
      cell.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
      return;
    }
  });
  return h("div", { class: "hours" }, told, h("div", { class: "scroll" }, table));
}
