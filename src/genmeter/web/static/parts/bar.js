// What all views share: range, time zone, bot and filters. All of it goes into the address.

import { added, exact, FIELDS, filters, go, HERE, removed, shown } from "../address.js";
import { FIELDS as TABLE } from "../fields.js";
import { dates, rangeText } from "./dates.js";
import { h } from "./dom.js";
import * as format from "./format.js";

const RANGES = [
  ["1h", "Last hour"],
  ["6h", "Last 6 hours"],
  ["24h", "Last 24 hours"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["90d", "Last 90 days"],
];

export const NAMES = {
  ...Object.fromEntries(TABLE.filter((field) => field.dimension).map((field) => [field.dimension, field.label])),
  min_msec: "at least, ms",
  max_msec: "at most, ms",
};

/** The bar for a view. `meta` is a promise of what there is to ask about. */
export function bar(params, meta) {
  const bot = picker("Bot", [["", "All bots"]], params.get("bot") ?? "", (value) => go({ bot: value }));
  const chosen = h(
    "ul",
    { class: "filters", "aria-label": "Filters" },
    filters(params).map(([name, pattern]) => chip(params, name, pattern)),
  );
  const adder = adding(params, meta);
  const [box, form] = range(params);
  meta.then(
    ({ bots }) => {
      const now = params.get("bot") ?? "";
      const all = now && !bots.includes(now) ? [...bots, now] : bots;
      bot.lastChild.append(...all.map((name) => h("option", { value: name }, name)));
      bot.lastChild.value = now;
    },
    () => {},
  );
  return h(
    "div",
    { class: "bar", role: "group", "aria-label": "What is shown" },
    box,
    zonePicker(params),
    bot,
    adder,
    form,
    chosen,
  );
}

function picker(label, options, value, changed) {
  const select = h(
    "select",
    { name: label.toLowerCase() },
    options.map(([key, text]) => h("option", { value: key }, text)),
  );
  select.value = value;
  select.addEventListener("change", () => changed(select.value));
  return h("label", null, h("span", null, label), select);
}

/** The picker of a range, and the form for one of one's own. */
function range(params) {
  const last = params.get("last");
  const custom = !RANGES.some(([key]) => key === last);
  const options = [...RANGES, ...(custom ? [["", last ?? rangeText(params)]] : []), ["custom", "Other times …"]];
  const box = picker("Range", options, custom ? "" : last, (value) => {
    form.hidden = value !== "custom";
    if (!form.hidden) form.querySelector("input").focus();
    else if (value) go({ last: value, from: null, to: null });
  });
  const form = dates(params, () => {
    box.lastChild.value = custom ? "" : last;
    box.lastChild.focus();
  });
  return [box, form];
}

function zonePicker(params) {
  const now = params.get("timezone");
  const zones = [...new Set([HERE, "UTC", now, ...Intl.supportedValuesOf("timeZone")])];
  return picker(
    "Time zone",
    zones.map((zone) => [zone, zone === HERE && HERE !== "UTC" ? `${zone} (here)` : zone]),
    now,
    (timezone) => go({ timezone }),
  );
}

function chip(params, name, pattern) {
  const not = name.endsWith("!");
  const text = `${NAMES[name.replace("!", "")]} ${not ? "is not" : "is"} ${shown(pattern)}`.replace(
    /^(at (?:least|most)), ms is (.*)$/,
    (_, words, ms) => `took ${words} ${format.duration(Number(ms))}`,
  );
  return h(
    "li",
    null,
    h("span", null, text),
    h(
      "button",
      { type: "button", "aria-label": `Remove the filter ${text}`, onclick: () => go(removed(params, name, pattern)) },
      "×",
    ),
  );
}

function adding(params, meta) {
  const values = h("datalist", { id: "values" });
  const name = h(
    "select",
    { "aria-label": "Field" },
    [...FIELDS, "min_msec", "max_msec"].map((field) => h("option", { value: field }, NAMES[field])),
  );
  const how = h(
    "select",
    { "aria-label": "Condition" },
    h("option", { value: "" }, "is"),
    h("option", { value: "!" }, "is not"),
    h("option", { value: "*" }, "begins with"),
  );
  const value = h("input", { list: "values", "aria-label": "Value", placeholder: "value", autocomplete: "off" });
  const offer = () => {
    how.hidden = name.value.endsWith("_msec");
    meta.then(
      ({ dimensions }) =>
        values.replaceChildren(
          ...(dimensions[name.value] ?? []).slice(0, 300).map((one) => h("option", { value: format.value(one) })),
        ),
      () => {},
    );
  };
  name.addEventListener("change", offer);
  const form = h(
    "form",
    { "aria-label": "Add a filter" },
    name,
    how,
    value,
    values,
    h("button", { type: "submit" }, "Add"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = value.value.trim();
    if (name.value.endsWith("_msec")) {
      if (/^\d+$/.test(text)) go(added(params, name.value, text));
      else {
        value.setCustomValidity("A whole number of milliseconds");
        value.reportValidity();
      }
      return;
    }
    const wide = name.value === "code" && /^[0-9]xx$/.test(text);
    const pattern = text === "(empty)" || text === "" || wide ? text || "(empty)" : exact(text);
    if (how.value === "*") go(added(params, name.value, `${exact(text)}*`));
    else go(added(params, `${name.value}${how.value}`, pattern));
  });
  value.addEventListener("input", () => value.setCustomValidity(""));
  const box = h("details", { class: "adder" }, h("summary", null, "Filter"), form);
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    offer();
    name.focus();
  });
  return box;
}
