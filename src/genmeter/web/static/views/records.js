// The records themselves: a table that holds still while more arrive, each in full, all as a file.

import { href, note, only, question } from "../address.js";
import { download, query, rows } from "../api.js";
import { FIELDS } from "../fields.js";
import { copyButton, dialog, h, say } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { noRecords, panel } from "../parts/panels.js";

const PAGE = 100;
const SHORT = ["bot", "config", "endpoint", "model"];
const FORMATS = { csv: "CSV", parquet: "Parquet", ndjson: "NDJSON" };
const ESCAPES = { csv: "formulas" }; // people open it in a spreadsheet, which would run them

export function show(view) {
  const { params } = view;
  const cursor = params.get("cursor");
  const order = params.get("order") === "oldest" ? "oldest" : "newest";
  const total = h("span", { class: "dim" });
  // A file holds what is shown, also where more has come since: its range is that of the answer.
  const range = {};
  const exports = Object.entries(FORMATS).map(([name, label]) =>
    exporter(view, label, () => question(params, { order, format: name, escape: ESCAPES[name], ...range })),
  );
  const switched = h(
    "a",
    { href: href("records", { order: order === "newest" ? "oldest" : "", cursor: null }) },
    order === "newest" ? "Oldest first" : "Newest first",
  );
  const box = panel(
    view,
    "Records",
    async (signal) => {
      const asked = question(params, { limit: PAGE, order, cursor });
      const counting = query(question(params, { metrics: "jobs" }), signal);
      const answer = await rows(asked, signal);
      Object.assign(range, { last: null, from: answer.query.from, to: answer.query.to });
      counting.then(
        (found) => (total.textContent = `${format.count(found.total.jobs)} match`),
        () => {},
      );
      if (!answer.data.length) return noRecords();
      const shown = params.get("show");
      const one = shown && answer.data.find((record) => record.jobid === shown);
      if (one) open(view, one);
      return [recordTable(view, answer.data), pages(answer, cursor)];
    },
    {
      actions: [
        total,
        switched,
        h(
          "span",
          { class: "group", role: "group", "aria-label": "Export all records that match" },
          h("span", { class: "dim" }, "Export"),
          exports,
        ),
      ],
    },
  );
  view.refreshes.length = 0; // what is being read holds still
  return box;
}

function pages(answer, cursor) {
  return h(
    "nav",
    { class: "pages", "aria-label": "Pages" },
    cursor && h("a", { href: href("records", { cursor: null }) }, "First page"),
    cursor && h("button", { type: "button", onclick: () => history.back() }, "Back"),
    answer.has_more &&
      h("a", { href: href("records", { cursor: answer.next_cursor, show: null }), rel: "next" }, "Next page"),
  );
}

function exporter(view, label, asked) {
  const button = h("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const saved = await download("/v2/account/stats/rows", asked(), view.signal);
      say(`${format.count(saved.rows)} records saved as ${saved.name}`);
      button.title = `${format.count(saved.rows)} records saved as ${saved.name}`;
    } catch (error) {
      if (error.name !== "AbortError") dialog("Nothing was exported", h("p", null, error.message));
    }
    button.disabled = false;
  });
  return button;
}

/** The class of a code, for its mark. */
export const outcome = (code) =>
  code === 429
    ? "throttled"
    : code >= 200 && code < 300
      ? "success"
      : code >= 400 && code < 500
        ? "client_errors"
        : code === 0 || code >= 500
          ? "provider_errors"
          : "other";

/** A code with its mark, a link that filters by it. */
export const codeLink = (view, code) =>
  h(
    "a",
    { class: `code ${outcome(code)}`, href: href(view.name, only("code", code)), title: "Show only these" },
    String(code),
  );

/** Records as a table; a click on a value filters by it, on the time shows the whole record. */
export function recordTable(view, records, { short = false } = {}) {
  const several = view.params.get("account") && records.some((record) => record.account);
  const columns = FIELDS.filter(({ key, inTable }) =>
    short ? SHORT.includes(key) : inTable && !["account", "code"].includes(key),
  );
  const names = columns.map(({ key }) => key);
  const heads = [
    "Time",
    ...(several ? ["Account"] : []),
    "Code",
    "Took",
    ...columns.map(({ label }) => label[0].toUpperCase() + label.slice(1)),
  ];
  const cell = (record, name) => {
    const text = record[name];
    if (!text) return "";
    if (name === "captchaProviders") return text;
    return h("a", { href: href(view.name, name === "bot" ? { bot: text, cursor: null } : only(name, text)) }, text);
  };
  const row = (record) =>
    h(
      "tr",
      { class: record.fresh ? "fresh" : null },
      h(
        "th",
        { scope: "row" },
        h(
          "button",
          { type: "button", class: "plain", title: "Show the whole record", onclick: () => open(view, record) },
          short ? format.clock(record.timestamp, view.zone) : format.moment(record.timestamp, view.zone),
        ),
      ),
      several && h("td", null, record.account),
      h("td", null, codeLink(view, record.code)),
      h("td", { class: "n" }, format.duration(record.msec)),
      names.map((name) => h("td", null, cell(record, name))),
    );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Records" },
    h(
      "table",
      { class: "records" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((text) => h("th", { scope: "col", class: text === "Took" ? "n" : null }, text)),
        ),
      ),
      h("tbody", null, records.map(row)),
    ),
  );
}

function open(view, record) {
  if (document.querySelector("dialog[open]")) return;
  const { fresh, ...plain } = record;
  const names = Object.keys(plain);
  const shown = (name) =>
    name === "timestamp"
      ? `${plain[name]} (${format.moment(plain[name], view.zone)})`
      : name === "msec"
        ? `${format.count(plain[name])} (${format.duration(plain[name])})`
        : format.value(plain[name]);
  const box = dialog(
    "Record",
    h(
      "div",
      null,
      h(
        "dl",
        { class: "record" },
        names.map((name) => [h("dt", null, name), h("dd", null, shown(name))]),
      ),
      copyButton(() => JSON.stringify(plain, null, 2), "Copy as JSON"),
    ),
    () => {
      if (!view.signal.aborted) note({ show: null });
    },
  );
  if (view.name === "records") note({ show: record.jobid });
  view.signal.addEventListener("abort", () => box.close());
}
