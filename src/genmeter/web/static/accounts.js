// Which account is burning: one row a config, the one that fails now on top.

import { query, rows } from "./api.js";
import { added, exact, href, question } from "./address.js";
import { spark } from "./charts.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { noRecords, panel, table } from "./panels.js";

const LOOKED_AT = 2000;
const RUN = [403, 429];
// How an account does now is told by all its jobs, also where only failures are shown.
const ANY_OUTCOME = { code: null, "code!": null, status: null, "status!": null, min_msec: null, max_msec: null };
const good = (code) => code >= 200 && code < 300;

/** The length of a step such that a spark line has some ten to ninety of them. */
export function sparkInterval(params) {
  const [, number, unit] = /^(\d+)([mhdw])$/.exec(params.get("last") ?? "") ?? [];
  const hours = number ? number * { m: 1 / 60, h: 1, d: 24, w: 168 }[unit]
    : ((Date.parse(params.get("to")) || Date.now()) - Date.parse(params.get("from"))) / 3_600_000;
  return hours <= 1 ? "5m" : hours <= 12 ? "15m" : hours <= 48 ? "1h" : hours <= 2160 ? "1d" : "1w";
}

/** Spark lines that come when they are known: a function from a value to its place in the page. */
export function sparks(asked, dimension, label) {
  const lines = asked.then(({ groups }) => {
    const found = new Map();
    for (const group of groups) {
      if (!group.other) found.set(group[dimension], [...(found.get(group[dimension]) ?? []), group]);
    }
    return found;
  });
  return (one) => {
    const place = h("span", { class: "sparkplace" });
    lines.then((found) => found.has(one[dimension]) && place.replaceChildren(spark(found.get(one[dimension]), label(one))), () => {});
    return place;
  };
}

export function show(view) {
  const several = view.account === "*" || /[*,]/.test(view.account);
  const by = several ? "account,config" : "config";
  return panel(view, "Accounts (configs)", async (signal) => {
    const ask = (more) => query(question(view.params, more), signal);
    const points = sparks(ask({ group_by: "config", metrics: "jobs,success", interval: sparkInterval(view.params), top: 60 }), "config",
      (one) => `Jobs over time of ${one.config}: ${format.count(one.jobs)}, ${format.percent(one.success_rate)} of them succeeded`);
    const [all, succeeded, newest] = await Promise.all([
      ask({ group_by: by, metrics: "jobs,success_rate,p95,throttled,client_errors,last" }),
      ask({ group_by: by, metrics: "jobs,last", ...ANY_OUTCOME, code: "2xx" }),
      rows(question(view.params, { limit: LOOKED_AT, ...ANY_OUTCOME }), signal),
    ]);
    if (!all.total.jobs) return noRecords();
    const key = (one) => (several ? `${one.account}\t${one.config}` : one.config);
    const lastGood = new Map(succeeded.groups.map((group) => [key(group), group.last]));
    const runs = runsOf(newest, key);
    const found = all.groups.map((group) => ({
      ...group, run: runs.get(key(group)) ?? { length: 0, code: null, open: false, failures: 0 },
      good: lastGood.get(key(group)) ?? null,
    }));
    return table(columns(view, several, points), found.sort(burning), { label: "Accounts (configs)", rowProps: (one) => ({ class: one.run.failures >= 3 ? "burning" : null }) });
  });
}

/** How each config's newest records went: the failures in a row, and the 403 or 429 among them. */
export function runsOf({ data, has_more: more }, key) {
  const runs = new Map();
  for (const record of data) {
    const id = key(record);
    const run = runs.get(id) ?? { length: 0, failures: 0, code: null, closed: false, broken: false };
    runs.set(id, run);
    if (run.closed) continue;
    if (good(record.code)) run.closed = true;
    else {
      run.failures += 1;
      if (RUN.includes(record.code) && !run.broken) {
        run.length += 1;
        run.code ??= record.code;
      } else run.broken = true;
    }
  }
  for (const run of runs.values()) run.open = !run.closed && !run.broken && more;
  return runs;
}

/** Those that fail now first, by how many jobs in a row; then by the rate of success. */
function burning(a, b) {
  const [nowA, nowB] = [a.run.failures >= 3 ? a.run.failures : 0, b.run.failures >= 3 ? b.run.failures : 0];
  return nowB - nowA || (a.success_rate ?? 101) - (b.success_rate ?? 101) || b.jobs - a.jobs;
}

const runText = ({ length, code, open }) => (length ? `${open ? "≥ " : ""}${length} × ${code}` : format.NONE);

function columns(view, several, points) {
  const only = (one, more = {}) => href("records", {
    ...added(view.params, "config", exact(one.config)), ...(several ? { account: one.account } : {}), ...more });
  return [
    { key: "state", label: "Now", sort: (one) => one.run.failures, number: false, title: "Failures in a row, up to now",
      cell: (one) => one.run.failures >= 3
        ? h("span", { class: "mark bad" }, `▲ ${one.run.failures}${one.run.closed ? "" : "+"} failures in a row`)
        : one.run.failures ? h("span", { class: "mark dim" }, `${one.run.failures} failed`) : h("span", { class: "mark ok" }, "✓ works") },
    ...(several ? [{ key: "account", label: "Account", sort: (one) => one.account, cell: (one) => h("a", { href: href(view.name, { account: one.account }) }, one.account) }] : []),
    { key: "config", label: "Account (config)", head: true, sort: (one) => one.config,
      cell: (one) => h("a", { href: href(view.name, added(view.params, "config", exact(one.config))) }, format.value(one.config)) },
    { key: "jobs", label: "Jobs", number: true, sort: (one) => one.jobs, cell: (one) => h("a", { href: only(one) }, format.count(one.jobs)) },
    { key: "success_rate", label: "Success", number: true, sort: (one) => one.success_rate, cell: (one) => format.percent(one.success_rate) },
    { key: "p95", label: "p95", number: true, sort: (one) => one.p95, cell: (one) => format.duration(one.p95) },
    { key: "run", label: "403/429 run", number: true, sort: (one) => one.run.length, title: "403 or 429 in a row, up to now",
      cell: (one) => runText(one.run) },
    { key: "throttled", label: "Throttled", number: true, sort: (one) => one.throttled,
      cell: (one) => (one.throttled ? h("a", { href: only(one, { code: "429" }) }, format.count(one.throttled)) : "0") },
    { key: "good", label: "Last success", number: true, sort: (one) => one.good && Date.parse(one.good),
      cell: (one) => h("span", { title: format.moment(one.good, view.zone) }, one.good ? format.ago(one.good) : "none in range") },
    { key: "spark", label: "Jobs and failures over time",
      cell: points },
  ];
}
