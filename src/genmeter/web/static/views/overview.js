// How it goes: the figures beside the period before, outcomes and durations over time, the newest.

import { go, href, matches, only, question } from "../address.js";
import { follow, query, rows } from "../api.js";
import { lines, OUTCOMES, stacked } from "../charts/charts.js";
import { h } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { empty, figure, noRecords, panel } from "../parts/panels.js";
import { recordTable } from "./records.js";

const FIGURES = ["jobs", "success_rate", "service_rate", "p50", "p95", "throttled", "captcha_attempts"];
const PERCENTILES = ["p50", "p95", "p99"];
const NEWEST = 20;

export function show(view) {
  const metrics = [...new Set([...FIGURES, ...OUTCOMES.map((one) => one.key), ...PERCENTILES])].join(",");
  // All of it is of one question; the panels after the first wait for its answer.
  let asked = null;
  const answer = (signal) => {
    asked ??= query(question(view.params, { metrics, interval: "auto", compare: "previous" }), signal).finally(() =>
      setTimeout(() => (asked = null)),
    );
    return asked;
  };
  return [
    panel(view, "Figures", async (signal) => figures(view, await answer(signal))),
    ...overTime(view, answer),
    newest(view),
  ];
}

function figures(view, { total, previous }) {
  const before = previous.total;
  const attempts = (one) => (one.jobs ? one.captcha_attempts / one.jobs : null);
  const item = (name, key, text, better, more = {}) =>
    figure({
      name,
      text: text(total[key]),
      now: total[key],
      before: before.jobs ? before[key] : null,
      beforeText: text(before[key]),
      better,
      ...more,
    });
  return h(
    "div",
    { class: "figures" },
    item("Jobs", "jobs", format.count, 0, { href: href("records"), title: "Show the records" }),
    item("Success rate", "success_rate", format.percent, 1, { points: true, title: "2xx of all jobs" }),
    item("Service rate", "service_rate", format.percent, 1, {
      points: true,
      title: "2xx of all jobs but those a client got wrong",
    }),
    item("Median", "p50", format.duration, -1, { title: "p50: half of all jobs took no longer" }),
    item("p95", "p95", format.duration, -1, { title: "95 of 100 jobs took no longer" }),
    item("Throttled", "throttled", format.count, -1, {
      href: href(view.name, only("code", 429)),
      title: "429; show only these",
    }),
    figure({
      name: "Captcha tries a job",
      title: "Captcha attempts, by all providers together",
      text: format.ratio(attempts(total)),
      now: attempts(total),
      before: attempts(before),
      beforeText: format.ratio(attempts(before)),
      better: -1,
    }),
  );
}

function overTime(view, answer) {
  const of = (draw) => async (signal) => {
    const found = await answer(signal);
    return found.total.jobs ? draw(found) : noRecords();
  };
  const options = ({ groups }) => ({
    zone: view.zone,
    zoom: (from, to) => go({ last: null, from, to }),
    step: groups.length > 1 ? (Date.parse(groups[1].start) - Date.parse(groups[0].start)) / 1000 : 60,
  });
  const outcomes = of((found) =>
    stacked(found.groups, {
      ...options(found),
      label: "Jobs over time, by outcome",
      head: ["From", ...OUTCOMES.map((one) => one.label)],
      rows: () =>
        found.groups.map((group) => [
          format.minute(group.start, view.zone),
          ...OUTCOMES.map(({ key }) => format.count(group[key])),
        ]),
    }),
  );
  const durations = of((found) =>
    lines(found.groups, PERCENTILES, {
      ...options(found),
      label: "Durations over time",
      head: ["From", ...PERCENTILES],
      rows: () =>
        found.groups.map((group) => [
          format.minute(group.start, view.zone),
          ...PERCENTILES.map((name) => format.duration(group[name])),
        ]),
    }),
  );
  return [
    h(
      "div",
      { class: "pair" },
      panel(view, "Jobs by outcome", outcomes, { tall: true }),
      panel(view, "Durations", durations, { tall: true }),
    ),
  ];
}

function newest(view) {
  const state = h("span", { class: "state", role: "status" });
  const endsNow = Boolean(view.params.get("last")) || !view.params.get("to");
  const body = h("div");
  const identity = identityOf(view);
  let records = [];
  let drawing = false;
  const draw = () => {
    drawing = false;
    if (view.signal.aborted) return;
    body.replaceChildren(
      records.length
        ? recordTable(view, records, { short: true })
        : empty("No records yet.", "The next one appears here by itself."),
    );
  };
  // Asked for once the stream has its place: what is stored from then on comes by it.
  let placed = () => {};
  const following = endsNow ? new Promise((resolve) => (placed = resolve)) : null;
  const box = panel(
    view,
    "Newest records",
    async (signal) => {
      await following;
      const there = new Set(records);
      const answer = await rows(question(view.params, { limit: NEWEST }), signal);
      const known = new Set(answer.data.map(identity));
      const since = records.filter((one) => !there.has(one) && !known.has(identity(one)));
      records = [...since, ...answer.data].slice(0, NEWEST);
      draw();
      return body;
    },
    { actions: [state, h("a", { href: href("records") }, "All records")] },
  );
  if (endsNow) {
    const params = new URLSearchParams();
    for (const name of ["account", "bot"]) if (view.params.get(name)) params.set(name, view.params.get(name));
    let told = false;
    follow(
      params,
      view.signal,
      (arrived) => {
        const mine = arrived.filter((one) => matches(one, view.params)).slice(-NEWEST);
        if (!mine.length) return;
        const again = new Set(mine.map(identity));
        for (const one of mine) one.fresh = true;
        records = [...mine.reverse(), ...records.filter((one) => !again.has(identity(one)))].slice(0, NEWEST);
        if (!drawing) requestAnimationFrame(draw);
        drawing = true;
      },
      (now, goesOn) => {
        state.className = `state ${now}`;
        state.textContent = { live: "Live", waiting: "Connecting again …", off: "Not live" }[now];
        if (told && now === "live" && !goesOn) box.refresh(); // what came meanwhile was in no stream
        told = true;
        placed();
      },
    );
  }
  return box;
}

/** What tells a record from all others. Of one account, only those from the stream name it. */
const identityOf = (view) => {
  const account = view.account || view.own;
  return (one) => `${one.account ?? account}\t${one.bot}\t${one.timestamp}\t${one.jobid}`;
};
