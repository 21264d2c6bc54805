// How the newest jobs of each config went: the failures in a row, and the refusals (403, 429).
//
// A run are the jobs later than the last one that went otherwise. Those of the very millisecond of
// that one do not count: nobody knows which of them was first.

import { exact, question } from "../address.js";
import { query, rows } from "../api.js";

// How a config does now is told by all its jobs, also where only failures are shown.
export const ANY_OUTCOME = { code: null, "code!": null, status: null, "status!": null, min_msec: null, max_msec: null };
const REFUSED = [403, 429];
const NEWEST = 2000;
const MOST_ASKED = 40;

const good = (code) => code >= 200 && code < 300;
const time = (one) => Date.parse(one.timestamp);

/**
 * The runs of each config: a map from `key(config)` to {failures, refused, good}, where the first
 * two are {jobs, codes, first, exact} and `good` is when the last success was, or null.
 *
 * `by` is what `key` tells configs apart by, `all` their figures as the view shows them. Most runs
 * begin within the newest records. For those that do not it is asked where they begin, and then one
 * by one how long they are, up to forty configs, most failures first; of more than that only the
 * least is known.
 */
export async function runsOf(params, { by, key, all, signal }) {
  const ask = (more) => query(question(params, { ...ANY_OUTCOME, ...more }), signal);
  const filtered = Object.keys(ANY_OUTCOME).some((name) => params.get(name));
  const [shown, everything, newest] = await Promise.all([
    all.then(({ groups }) => new Set(groups.map(key))),
    filtered ? ask({ group_by: by, metrics: "jobs,success,first,last" }) : all,
    rows(question(params, { limit: NEWEST, ...ANY_OUTCOME }), signal),
  ]);
  const seen = newest.has_more ? time(newest.data.at(-1)) : -Infinity; // all that is later is known
  const records = new Map();
  for (const record of newest.data) {
    if (!records.has(key(record))) records.set(key(record), []);
    records.get(key(record)).push(record);
  }
  const configs = everything.groups.filter((config) => shown.has(key(config)));
  const of = (config) => records.get(key(config)) ?? [];
  const latest = (config, fits) => time(of(config).find(fits) ?? {});

  const isGood = (one) => good(one.code);
  const isOther = (one) => !REFUSED.includes(one.code);
  const lasts = async (without, code) => {
    if (!without.length) return new Map();
    const names = [...new Set(without.map((one) => one.config))];
    const { groups } = await ask({
      group_by: by,
      metrics: "last",
      ...code,
      ...(names.length <= MOST_ASKED && !params.get("config") ? { config: names.map(exact) } : {}),
    });
    return new Map(groups.map((group) => [key(group), Date.parse(group.last)]));
  };
  const older = configs.filter((config) => Date.parse(config.first) <= seen);
  const [succeeded, failed] = await Promise.all([
    lasts(
      older.filter((config) => config.success && !of(config).some(isGood)),
      { code: "2xx" },
    ),
    lasts(
      older.filter((config) => !of(config).some(isOther)),
      { "code!": `2xx,${REFUSED}` },
    ),
  ]);

  const found = new Map();
  const open = [];
  for (const config of configs) {
    const id = key(config);
    const end = most(
      Date.parse(config.last),
      latest(config, () => true),
    );
    const lastGood = most(succeeded.get(id), latest(config, isGood));
    const lastOther = most(lastGood, failed.get(id), latest(config, isOther));
    const runs = {
      failures: after(of(config), lastGood),
      refused: after(of(config), lastOther),
      good: lastGood === -Infinity ? null : lastGood,
    };
    found.set(id, runs);
    const ends = { failures: lastGood, refused: lastOther };
    const unknown = Object.keys(ends).filter((name) => ends[name] < seen && ends[name] < end);
    for (const name of unknown)
      runs[name] = { ...runs[name], jobs: Math.max(1, runs[name].jobs), first: null, exact: false };
    if (unknown.length) open.push({ config, runs, ends, unknown });
  }

  const { from, to } = everything.query;
  const since = async ({ config, account }, end) =>
    counted(
      await ask({
        last: null,
        from: end === -Infinity ? from : new Date(end + 1).toISOString(),
        to,
        config: exact(config),
        ...(account ? { account: exact(account) } : {}),
        group_by: "code",
        metrics: "jobs,first",
      }),
    );
  open.sort((a, b) => b.config.jobs - b.config.success - (a.config.jobs - a.config.success));
  await Promise.all(
    open.slice(0, MOST_ASKED).map(async ({ config, runs, ends, unknown }) => {
      const [first, second] = unknown;
      runs[first] = await since(config, ends[first]);
      if (second) runs[second] = ends[second] === ends[first] ? runs[first] : await since(config, ends[second]);
    }),
  );
  return found;
}

/** The latest of moments, of which some may be missing. */
const most = (...moments) => Math.max(...moments.map((one) => (Number.isFinite(one) ? one : -Infinity)));

/** The run of those of `records`, newest first, that are later than a moment. */
function after(records, end) {
  const later = records.filter((one) => time(one) > end);
  return {
    jobs: later.length,
    codes: [...new Set(later.map((one) => one.code))],
    first: later.at(-1)?.timestamp ?? null,
    exact: true,
  };
}

/** The run that figures by code tell of. */
function counted({ total, groups }) {
  const firsts = groups.map((group) => group.first).sort((a, b) => Date.parse(a) - Date.parse(b));
  return { jobs: total.jobs, codes: groups.map((group) => group.code), first: firsts[0] ?? null, exact: true };
}
