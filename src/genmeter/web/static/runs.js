// How the newest jobs of each config went: the failures in a row, and the refusals (403, 429).
//
// A run are the jobs later than the last one that went otherwise. Those of the very millisecond of
// that one do not count: nobody knows which of them was first.

import { query, rows } from "./api.js";
import { exact, question } from "./address.js";

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
 * begin within the newest records. Of those that do not, one by one is asked how long they are, up
 * to forty configs, most failures first; of more than that only the least is known.
 */
export async function runsOf(params, { by, key, all, signal }) {
  const ask = (more) => query(question(params, { ...ANY_OUTCOME, ...more }), signal);
  const last = async (code) => {
    const { groups } = await ask({ group_by: by, metrics: "last", ...code });
    return new Map(groups.map((group) => [key(group), Date.parse(group.last)]));
  };
  const filtered = Object.keys(ANY_OUTCOME).some((name) => params.get(name));
  const [shown, everything, succeeded, failed, newest] = await Promise.all([
    all.then(({ groups }) => new Set(groups.map(key))),
    filtered ? ask({ group_by: by, metrics: "jobs,success,last" }) : all,
    last({ code: "2xx" }),
    last({ "code!": `2xx,${REFUSED}` }),
    rows(question(params, { limit: NEWEST, ...ANY_OUTCOME }), signal),
  ]);
  const seen = newest.has_more ? time(newest.data.at(-1)) : -Infinity; // all that is later is known
  const records = new Map();
  for (const record of newest.data) {
    if (!records.has(key(record))) records.set(key(record), []);
    records.get(key(record)).push(record);
  }

  const found = new Map();
  const open = [];
  for (const config of everything.groups) {
    const id = key(config);
    if (!shown.has(id)) continue;
    const mine = records.get(id) ?? [];
    const latest = (fits) => time(mine.find(fits) ?? {});
    const end = most(Date.parse(config.last), latest(() => true));
    const lastGood = most(succeeded.get(id), latest((one) => good(one.code)));
    const lastOther = most(lastGood, failed.get(id), latest((one) => !REFUSED.includes(one.code)));
    const runs = { failures: after(mine, lastGood), refused: after(mine, lastOther), good: lastGood === -Infinity ? null : lastGood };
    found.set(id, runs);
    const ends = { failures: lastGood, refused: lastOther };
    const unknown = Object.keys(ends).filter((name) => ends[name] < seen && ends[name] < end);
    for (const name of unknown) runs[name] = { ...runs[name], jobs: Math.max(1, runs[name].jobs), first: null, exact: false };
    if (unknown.length) open.push({ config, runs, ends, unknown });
  }

  const { from, to } = everything.query;
  const since = async ({ config, account }, end) => counted(await ask({
    last: null, from: end === -Infinity ? from : new Date(end + 1).toISOString(), to,
    config: exact(config), ...(account ? { account: exact(account) } : {}), group_by: "code", metrics: "jobs,first",
  }));
  open.sort((a, b) => b.config.jobs - b.config.success - (a.config.jobs - a.config.success));
  await Promise.all(open.slice(0, MOST_ASKED).map(async ({ config, runs, ends, unknown }) => {
    const [first, second] = unknown;
    runs[first] = await since(config, ends[first]);
    if (second) runs[second] = ends[second] === ends[first] ? runs[first] : await since(config, ends[second]);
  }));
  return found;
}

/** The latest of moments, of which some may be missing. */
const most = (...moments) => Math.max(...moments.map((one) => (Number.isFinite(one) ? one : -Infinity)));

/** The run of those of `records`, newest first, that are later than a moment. */
function after(records, end) {
  const later = records.filter((one) => time(one) > end);
  return { jobs: later.length, codes: [...new Set(later.map((one) => one.code))], first: later.at(-1)?.timestamp ?? null, exact: true };
}

/** The run that figures by code tell of. */
function counted({ total, groups }) {
  const firsts = groups.map((group) => group.first).sort((a, b) => Date.parse(a) - Date.parse(b));
  return { jobs: total.jobs, codes: groups.map((group) => group.code), first: firsts[0] ?? null, exact: true };
}
