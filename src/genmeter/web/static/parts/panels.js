// The parts that every view is made of: panels that wait, fail and are empty alike; figures; tables.

import { ApiError } from "../api.js";
import { h, say } from "./dom.js";
import * as format from "./format.js";

/**
 * A titled box whose content is made by `load(signal)`; it shows a skeleton until then.
 *
 * `view` cancels what is under way when something else is asked, and calls `refresh` from time to
 * time: then what is there stays until the new has come.
 */
export function panel(view, title, load, { actions = [], tall = false } = {}) {
  const body = h("div", { class: "body" });
  const box = h(
    "section",
    { class: tall ? "panel tall" : "panel", "aria-label": title },
    h("header", null, h("h2", null, title), h("div", { class: "actions" }, actions)),
    body,
  );
  const run = async (quietly) => {
    if (!quietly) {
      body.replaceChildren(skeleton());
      box.setAttribute("aria-busy", "true");
    }
    try {
      const content = await load(view.signal);
      if (!view.signal.aborted) body.replaceChildren(...[content].flat());
    } catch (error) {
      if (view.signal.aborted || (quietly && error.status === 0)) return;
      body.replaceChildren(failure(error, () => run(false)));
    }
    if (!view.signal.aborted) box.removeAttribute("aria-busy");
  };
  box.reload = () => run(false);
  box.refresh = () => run(true);
  view.refreshes.push(box.refresh);
  view.loads.push(run(false));
  return box;
}

/** What is asked once the panels of a view have what they show: it is not to make them wait. */
export async function later(view, ask) {
  await Promise.all(view.loads);
  return ask();
}

/** What stands there until an answer comes. */
export const skeleton = () => h("div", { class: "skeleton", "aria-hidden": "true" }, h("i"), h("i"), h("i"), h("i"));

/** What went wrong, in the server's words, and a way on. */
export function failure(error, again) {
  if (!(error instanceof ApiError)) console.error(error);
  say(error.message);
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", null, error instanceof ApiError ? error.message : `The page failed: ${error.message}`),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

/** What to do where there is nothing to see. */
export const empty = (text, hint) =>
  h("div", { class: "empty" }, h("p", null, text), hint && h("p", { class: "dim" }, hint));

export const noRecords = () =>
  empty("No records match.", "Choose a longer range or remove a filter. Records come in by POST /v2/account/stats.");

/** A link that looks like the text it is; `active` where it filters by what is there. */
export const link = (target, text, props = {}) => h("a", { href: target, ...props }, text);

/**
 * A table that sorts by a click on a heading.
 *
 * A column is {key, label, cell(row) -> content, sort(row) -> value, number, title}.
 */
export function table(columns, rows, { order = null, label, rowProps = () => ({}) } = {}) {
  let [key, down] = order ?? [null, true];
  const body = h("tbody");
  const heads = columns.map((column) => {
    if (!column.sort) return h("th", { scope: "col", class: column.number ? "n" : null }, column.label);
    const button = h("button", { type: "button", title: column.title ?? `Sort by ${column.label}` }, column.label);
    button.addEventListener("click", () => {
      [key, down] = [column.key, key === column.key ? !down : Boolean(column.number)];
      draw();
    });
    return h("th", { scope: "col", class: column.number ? "n" : null }, button);
  });
  const draw = () => {
    const column = columns.find((one) => one.key === key);
    const sorted = column ? [...rows].sort((a, b) => compare(column.sort(a), column.sort(b), down)) : rows;
    heads.forEach((head, place) => {
      if (columns[place].key === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(
      ...sorted.map((row) =>
        h(
          "tr",
          rowProps(row),
          columns.map((one) =>
            h(
              one.head ? "th" : "td",
              { class: one.number ? "n" : null, scope: one.head ? "row" : null },
              one.cell(row),
            ),
          ),
        ),
      ),
    );
  };
  draw();
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", null, h("thead", null, h("tr", null, heads)), body),
  );
}

function compare(a, b, down) {
  const [noA, noB] = [a === null || a === undefined, b === null || b === undefined];
  if (noA || noB) return noA - noB;
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -order : order;
}

/** A figure with the one of the period before beside it. `better` is 1 where more is better. */
export function figure({ name, text, now, before, beforeText, better, href, points, title }) {
  let change = h("span", { class: "change dim" }, "none before");
  if (now !== null && before !== null && before !== undefined) {
    const up = now > before;
    const part = points ? now - before : before ? ((now - before) / before) * 100 : null;
    const signed = (value, digits) =>
      new Intl.NumberFormat(undefined, { maximumFractionDigits: digits, signDisplay: "always" }).format(value);
    const words =
      now === before
        ? "as before"
        : points
          ? `${signed(part, 1)} points`
          : part === null
            ? "none before"
            : part > 999
              ? `${format.compact(Math.round(now / before))} times`
              : `${signed(part, Math.abs(part) < 10 ? 1 : 0)} %`;
    const mood = now === before || !better ? "" : up === better > 0 ? "good" : "worse";
    change = h(
      "span",
      { class: `change ${mood}` },
      h("span", { "aria-hidden": "true" }, now === before ? "=" : up ? "▲" : "▼"),
      ` ${words} `,
      h("span", { class: "dim before" }, `(${beforeText})`),
    );
  }
  const content = [h("span", { class: "name" }, name), h("strong", null, text), change];
  return href ? h("a", { class: "figure", href, title }, content) : h("div", { class: "figure", title }, content);
}
