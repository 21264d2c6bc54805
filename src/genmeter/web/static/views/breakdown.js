// The same figures cut one way, by model, endpoint, tier, SKU, code or captcha provider, and by the hour.

import { go, href, only, question } from "../address.js";
import { query } from "../api.js";
import { heatMap, hoursOf } from "../charts/heatmap.js";
import { h } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { later, noRecords, panel, table } from "../parts/panels.js";
import { sparkInterval, sparks } from "./accounts.js";
import { codeLink } from "./records.js";

const METRICS = "jobs,success_rate,service_rate,p50,p95,throttled,client_errors,provider_errors";
const TOP = 60;
const HEAT = {
  jobs: "Jobs",
  success_rate: "Success rate",
  p95: "p95",
  throttled: "Throttled",
  provider_errors: "Provider errors",
};

/** A view that cuts by `dimension`, which people call `title`. */
export const cutBy = (dimension, title) => (view) => [byValue(view, dimension, title), byHour(view)];

function byValue(view, dimension, title) {
  return panel(view, title, async (signal) => {
    const found = await query(question(view.params, { group_by: dimension, metrics: METRICS, top: 500 }), signal);
    if (!found.total.jobs) return noRecords();
    const series = question(view.params, {
      group_by: dimension,
      metrics: "jobs,success",
      interval: sparkInterval(view.params),
      top: TOP,
    });
    const points = sparks(
      view,
      later(view, () => query(series, signal)),
      (one) => one[dimension],
      (one) => `Jobs over time: ${format.count(one.jobs)}, ${format.percent(one.success_rate)} of them succeeded`,
    );
    return table(columns(view, dimension, title, found.total.jobs, points), found.groups, {
      label: title,
      order: ["jobs", true],
    });
  });
}

function columns(view, dimension, title, total, points) {
  const filter = (one, more = {}) => href(view.name, { ...only(dimension, one[dimension]), ...more });
  const counted = (key, label, code) => ({
    key,
    label,
    number: true,
    sort: (one) => one[key],
    cell: (one) =>
      one[key] && !one.other
        ? h(
            "a",
            { href: filter(one, dimension === "code" ? {} : { code }), title: "Show only these" },
            format.count(one[key]),
          )
        : format.count(one[key]),
  });
  return [
    {
      key: "value",
      label: title,
      head: true,
      sort: (one) => one[dimension] ?? "",
      cell: (one) =>
        one.other
          ? h("span", { class: "dim" }, "all others")
          : dimension === "code"
            ? codeLink(view, one.code)
            : h("a", { href: filter(one) }, format.value(one[dimension])),
    },
    {
      key: "jobs",
      label: "Jobs",
      number: true,
      sort: (one) => one.jobs,
      cell: (one) => (one.other ? format.count(one.jobs) : h("a", { href: filter(one) }, format.count(one.jobs))),
    },
    {
      key: "share",
      label: "Share",
      number: true,
      sort: (one) => one.jobs,
      cell: (one) =>
        h(
          "span",
          { class: "share" },
          h("meter", { min: 0, max: 1, value: one.jobs / total, "aria-hidden": "true" }),
          format.percent((one.jobs / total) * 100),
        ),
    },
    {
      key: "success_rate",
      label: "Success",
      number: true,
      sort: (one) => one.success_rate,
      cell: (one) => format.percent(one.success_rate),
    },
    {
      key: "service_rate",
      label: "Service",
      number: true,
      sort: (one) => one.service_rate,
      cell: (one) => format.percent(one.service_rate),
    },
    { key: "p50", label: "p50", number: true, sort: (one) => one.p50, cell: (one) => format.duration(one.p50) },
    { key: "p95", label: "p95", number: true, sort: (one) => one.p95, cell: (one) => format.duration(one.p95) },
    counted("throttled", "Throttled", "429"),
    counted("client_errors", "Client errors", ["4xx"]),
    counted("provider_errors", "Provider errors", ["0", "5xx"]),
    { key: "spark", label: "Over time", cell: (one) => (one.other ? "" : points(one)) },
  ];
}

function byHour(view) {
  const metric = HEAT[view.params.get("heat")] ? view.params.get("heat") : "jobs";
  const choice = h(
    "select",
    { "aria-label": "Figure by the hour" },
    Object.entries(HEAT).map(([key, label]) => h("option", { value: key }, label)),
  );
  choice.value = metric;
  choice.addEventListener("change", () => go({ heat: choice.value === "jobs" ? "" : choice.value }));
  return panel(
    view,
    "Hour by day",
    async (signal) => {
      const ask = (more) =>
        query(question(view.params, { metrics: [...new Set(["jobs", metric])].join(","), ...more }), signal);
      const found = await ask({ interval: "1h" });
      if (!found.total.jobs) return noRecords();
      const hours = await hoursOf(found, async (from, to) => (await ask({ last: null, from, to })).total);
      return heatMap(hours, {
        metric,
        label: HEAT[metric],
        zone: view.zone,
        choose: (from, to) => go({ last: null, from, to }),
      });
    },
    { actions: [choice] },
  );
}
