// What is shown is in the address, behind the #, in the API's own words: a view can be shared,
// the back button works, and none of it reaches a server's log.

import { FIELDS as TABLE } from "./fields.js";

/** The names that records are filtered by, bot and account aside. */
export const FIELDS = TABLE.map((field) => field.dimension).filter(
  (name) => name && name !== "account" && name !== "bot",
);
const BOUNDS = ["min_msec", "max_msec"];
const RANGE = ["last", "from", "to"];
const SHARED = [
  ...RANGE,
  "timezone",
  "account",
  "bot",
  "bot!",
  ...BOUNDS,
  ...FIELDS.flatMap((name) => [name, `${name}!`]),
];

export const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** The address as {view, params}. */
export function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const params = new URLSearchParams(query ?? "");
  if (!RANGE.some((name) => params.get(name))) params.set("last", "24h");
  if (!params.get("timezone")) params.set("timezone", HERE);
  return { view: path || "overview", params };
}

/** The address of a view: what is shared between views stays, `changes` come on top. */
export function href(view, changes = {}, from = read()) {
  const params = new URLSearchParams();
  // Another set of records has other pages and other records.
  if (Object.keys(changes).some((name) => SHARED.includes(name))) changes = { cursor: null, show: null, ...changes };
  for (const [name, value] of from.params) {
    if (from.view === view || SHARED.includes(name)) params.append(name, value);
  }
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(name, one);
    }
  }
  const query = params.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Change the address and with it what is shown: a step that the back button takes back. */
export function go(changes) {
  const target = href(read().view, changes);
  if (target === location.hash) return;
  history.pushState(null, "", target);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Note in the address what is shown already. */
export function note(changes) {
  const { view, params } = read();
  const kept = { cursor: params.get("cursor"), show: params.get("show") };
  const target = href(view, { ...kept, ...changes });
  if (target !== location.hash) history.replaceState(null, "", target);
}

/** The part of the address that says which records, as parameters of query and rows. */
export function question(params, more = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of params) if (SHARED.includes(name)) asked.append(name, value);
  for (const [name, value] of Object.entries(more)) {
    asked.delete(name);
    if (value !== null && value !== undefined) asked.set(name, value);
  }
  return asked;
}

/** The pattern that stands for one exact value of a field. */
export function exact(value) {
  if (value === null || value === "") return "(empty)";
  const text = String(value).replace(/[\\,*]/g, "\\$&");
  return text === "(empty)" ? "\\(empty)" : text;
}

/** The pattern as a person reads it. */
export function shown(pattern) {
  return pattern.replace(/\\(.)/gs, "$1");
}

/** The patterns of a parameter: repeated, or separated by commas. */
export function patterns(values) {
  return values.flatMap((value) => value.match(/(?:\\.|[^,\\])+/gs) ?? []);
}

/** The filters as [name, pattern] pairs, `name` with its "!" where it negates. */
export function filters(params) {
  const named = FIELDS.flatMap((name) => [name, `${name}!`]);
  return [
    ...named.flatMap((name) => patterns(params.getAll(name)).map((one) => [name, one])),
    ...BOUNDS.filter((name) => params.get(name)).map((name) => [name, params.get(name)]),
  ];
}

/** What to change in the address so that a filter is added. */
export function added(params, name, pattern) {
  if (BOUNDS.includes(name)) return { [name]: pattern };
  const there = patterns(params.getAll(name));
  return { [name]: there.includes(pattern) ? there : [...there, pattern] };
}

/** What to change in the address so that of what is shown only this value of a field is left. */
export const only = (name, value) => ({ [name]: exact(value) });

/** What to change in the address so that a filter is gone. */
export function removed(params, name, pattern) {
  if (BOUNDS.includes(name)) return { [name]: null };
  return { [name]: patterns(params.getAll(name)).filter((one) => one !== pattern) };
}

/** Whether a record is one of those that the address asks for, its time aside. */
export function matches(record, params) {
  const bots = patterns(params.getAll("bot"));
  if (bots.length && !bots.includes("all") && !bots.includes(record.bot)) return false;
  if (patterns(params.getAll("bot!")).includes(record.bot)) return false;
  if (params.get("min_msec") && record.msec < Number(params.get("min_msec"))) return false;
  if (params.get("max_msec") && record.msec > Number(params.get("max_msec"))) return false;
  return FIELDS.every((name) => {
    const values = valuesOf(record, name);
    const one = patterns(params.getAll(name));
    const none = patterns(params.getAll(`${name}!`));
    const fits = (pattern) => values.some((value) => fitsValue(pattern, value));
    return (!one.length || one.some(fits)) && !none.some(fits);
  });
}

function valuesOf(record, name) {
  if (name === "captchaProvider") {
    return record.captchaProviders.split(",").map((one) => one.trim());
  }
  const value = record[name];
  return [value === null || value === undefined ? "" : String(value)];
}

function fitsValue(pattern, value) {
  if (pattern === "(empty)") return value === "";
  if (/^[0-9]xx$/.test(pattern) && value.length === 3) return value[0] === pattern[0];
  const open = /(?:^|[^\\])(?:\\\\)*\*$/.test(pattern);
  return open ? value.startsWith(shown(pattern.slice(0, -1))) : value === shown(pattern);
}
