// Which account is burning: one row a config, the one that fails now on top.

import { href, only, question } from "../address.js";
import { query } from "../api.js";
import { spark } from "../charts/charts.js";
import { h } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { later, noRecords, panel, table } from "../parts/panels.js";
import { ANY_OUTCOME, runsOf } from "../parts/runs.js";
import { momentOf } from "../parts/zones.js";

const BURNING = 3; // so many failures in a row are no accident

/** The length of a step such that a spark line has some ten to ninety of them. */
export function sparkInterval(params) {
  const [, number, unit] = /^(\d+)([mhdw])$/.exec(params.get("last") ?? "") ?? [];
  const hours = number
    ? number * { m: 1 / 60, h: 1, d: 24, w: 168 }[unit]
    : ((params.get("to") ? momentOf(params.get("to"), params.get("timezone")) : Date.now()) -
        momentOf(params.get("from") ?? "", params.get("timezone"))) /
      3_600_000;
  return hours <= 1 ? "5m" : hours <= 12 ? "15m" : hours <= 48 ? "1h" : hours <= 2160 ? "1d" : "1w";
}

/**
 * Spark lines that come when they are known: a function from what `key` finds to its place in the
 * page. Until then those of before stand there, where `view` has been shown already.
 */
export function sparks(view, asked, key, label) {
  const before = view.sparks;
  const lines = asked.then(({ groups }) => {
    const found = new Map();
    for (const group of groups) {
      if (!group.other) found.set(key(group), [...(found.get(key(group)) ?? []), group]);
    }
    view.sparks = found;
    return found;
  });
  return (one) => {
    const place = h("span", { class: "sparkplace" });
    const draw = (found) => found?.has(key(one)) && place.replaceChildren(spark(found.get(key(one)), label(one)));
    draw(before);
    lines.then(draw, () => {});
    return place;
  };
}

export function show(view) {
  const several = view.account === "*" || /[*,]/.test(view.account);
  const by = several ? "account,config" : "config";
  return panel(view, "Accounts (configs)", async (signal) => {
    const ask = (more) => query(question(view.params, more), signal);
    const key = (one) => (several ? `${one.account}\t${one.config}` : one.config);
    const asked = ask({ group_by: by, metrics: "jobs,success,success_rate,p95,throttled,first,last" });
    const [all, runs] = await Promise.all([asked, runsOf(view.params, { by, key, all: asked, signal })]);
    if (!all.total.jobs) return noRecords();
    const points = sparks(
      view,
      later(view, () => ask({ group_by: by, metrics: "jobs,success", interval: sparkInterval(view.params), top: 60 })),
      key,
      (one) => {
        const succeeded = `${format.percent(one.success_rate)} of them succeeded`;
        return `Jobs over time of ${one.config}: ${format.count(one.jobs)}, ${succeeded}`;
      },
    );
    // What came between the questions is in the next answers.
    const found = all.groups
      .filter((group) => runs.has(key(group)))
      .map((group) => ({ ...group, ...runs.get(key(group)) }));
    return table(columns(view, several, points), found.sort(burning), {
      label: "Accounts (configs)",
      rowProps: (one) => ({ class: burns(one) ? "burning" : null }),
    });
  });
}

const burns = (one) => one.failures.jobs >= BURNING;

/** Those that fail now first, by how many jobs in a row; then by the rate of success. */
function burning(a, b) {
  const [nowA, nowB] = [a, b].map((one) => (burns(one) ? one.failures.jobs : 0));
  return nowB - nowA || (a.success_rate ?? 101) - (b.success_rate ?? 101) || b.jobs - a.jobs;
}

const number = ({ jobs, exact: known }) => `${known ? "" : "≥ "}${format.count(jobs)}`;

/** "17 × 429 since 12:03", a link to these very records. */
function runCell({ refused, ...one }, view, records) {
  if (!refused.jobs) return format.NONE;
  const { first, codes } = refused;
  const text = `${number(refused)} × ${codes.length === 1 ? codes[0] : "403/429"}`;
  if (!first) return text;
  return h(
    "a",
    {
      href: records(one, { ...ANY_OUTCOME, code: ["403", "429"], last: null, from: new Date(first).toISOString() }),
      title: `Show these, since ${format.moment(first, view.zone)}`,
    },
    `${text} since ${format.since(first, view.zone)}`,
  );
}

function columns(view, several, points) {
  const records = (one, more = {}) =>
    href("records", {
      ...only("config", one.config),
      ...(several ? { account: one.account } : {}),
      ...more,
    });
  return [
    {
      key: "state",
      label: "Now",
      sort: (one) => one.failures.jobs,
      number: false,
      title: "Failures in a row, up to now",
      cell: ({ failures }) =>
        burns({ failures })
          ? h("span", { class: "mark bad" }, `▲ ${number(failures)} failed in a row`)
          : failures.jobs
            ? h("span", { class: "mark dim" }, `${number(failures)} failed`)
            : h("span", { class: "mark ok" }, "✓ works"),
    },
    ...(several
      ? [
          {
            key: "account",
            label: "Account",
            sort: (one) => one.account,
            cell: (one) => h("a", { href: href(view.name, { account: one.account }) }, one.account),
          },
        ]
      : []),
    {
      key: "config",
      label: "Account (config)",
      head: true,
      sort: (one) => one.config,
      cell: (one) => h("a", { href: href(view.name, only("config", one.config)) }, format.value(one.config)),
    },
    {
      key: "jobs",
      label: "Jobs",
      number: true,
      sort: (one) => one.jobs,
      cell: (one) => h("a", { href: records(one) }, format.count(one.jobs)),
    },
    {
      key: "success_rate",
      label: "Success",
      number: true,
      sort: (one) => one.success_rate,
      cell: (one) => format.percent(one.success_rate),
    },
    { key: "p95", label: "p95", number: true, sort: (one) => one.p95, cell: (one) => format.duration(one.p95) },
    {
      key: "run",
      label: "403/429 run",
      number: true,
      sort: (one) => one.refused.jobs,
      title: "403 or 429 in a row, up to now",
      cell: (one) => runCell(one, view, records),
    },
    {
      key: "throttled",
      label: "Throttled",
      number: true,
      sort: (one) => one.throttled,
      cell: (one) =>
        one.throttled ? h("a", { href: records(one, { code: "429" }) }, format.count(one.throttled)) : "0",
    },
    {
      key: "good",
      label: "Last success",
      number: true,
      sort: (one) => one.good,
      cell: (one) =>
        h(
          "span",
          { title: format.moment(one.good, view.zone) },
          one.good === null ? "none in range" : format.ago(one.good),
        ),
    },
    { key: "spark", label: "Over time", cell: points },
  ];
}
