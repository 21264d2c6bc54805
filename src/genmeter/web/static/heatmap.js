// Hours across, days down. A cell says its figure in words too; arrow keys move, Enter shows the hour.

import { h } from "./dom.js";
import * as format from "./format.js";

const STEPS = 6;
const GOOD_HIGH = ["success_rate"];

const text = (metric, value) =>
  metric === "success_rate" ? format.percent(value) : metric === "p95" ? format.duration(value) : format.count(value);

/** A map of hourly `groups`; `choose(from, to)` is called for the hour that is chosen. */
export function heatMap(groups, { metric, label, zone, choose }) {
  const days = new Map();
  for (const group of groups) {
    const [date, hour] = [group.start.slice(0, 10), Number(group.start.slice(11, 13))];
    if (!days.has(date)) days.set(date, new Map());
    // Where clocks are set back an hour comes twice: its cell holds the one with more jobs.
    const there = days.get(date).get(hour);
    if (!there || there.jobs < group.jobs) days.get(date).set(hour, group);
  }
  const values = groups.map((group) => group[metric]).filter((value) => value !== null);
  const [low, high] = metric === "success_rate" ? [Math.min(...values, 100), 100] : [0, Math.max(...values, 1)];
  const step = (value) => {
    const part = high > low ? (value - low) / (high - low) : 1;
    return value === 0 && metric !== "success_rate" ? 0 : Math.min(STEPS, 1 + Math.floor((GOOD_HIGH.includes(metric) ? 1 - part : part) * STEPS * 0.999));
  };
  const told = h("p", { class: "told", role: "status" }, `${label}, from ${text(metric, low)} to ${text(metric, high)}${GOOD_HIGH.includes(metric) ? "; darker is worse" : ""}`);
  const hours = [...Array(24).keys()];
  const body = h("tbody", null, [...days].reverse().map(([date, cells]) =>
    h("tr", null, h("th", { scope: "row" }, format.day(`${date}T12:00:00Z`, "UTC")), hours.map((hour) => {
      const group = cells.get(hour);
      if (!group || group[metric] === null) return h("td", { class: "none" }, h("span", { class: "unseen" }, "no jobs"));
      return h("td", { class: `heat${step(group[metric])}`, tabindex: "-1", "data-start": group.start },
        h("span", { class: "unseen" }, text(metric, group[metric])));
    }))));
  const table = h("table", { class: "heat", role: "grid", "aria-label": `${label} by hour and day` },
    h("thead", null, h("tr", null, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Day")), hours.map((hour) => h("th", { scope: "col" }, String(hour).padStart(2, "0"))))), body);
  const starts = new Map(groups.map((group) => [group.start, group]));
  const tell = (cell) => {
    const group = starts.get(cell.dataset.start);
    told.textContent = `${format.minute(group.start, zone)}: ${label} ${text(metric, group[metric])}${metric === "jobs" ? "" : `, ${format.count(group.jobs)} jobs`}`;
  };
  const pick = (cell) => {
    const from = new Date(cell.dataset.start);
    choose(from.toISOString(), new Date(from.getTime() + 3_600_000).toISOString());
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
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    let [row, column] = [cell.parentElement.rowIndex, cell.cellIndex];
    for (let next = null; ;) {
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
  return h("div", null, told, h("div", { class: "scroll" }, table));
}
