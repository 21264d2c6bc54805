// Numbers and times in the reader's own locale.

const WHOLE = new Intl.NumberFormat();
const SHORT = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const TENTH = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const UP_TO_TENTH = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const TWO = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const HUNDREDTH = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const NONE = "–";

export const count = (value) => (value === null || value === undefined ? NONE : WHOLE.format(value));
export const compact = (value) =>
  value === null || value === undefined ? NONE : Math.abs(value) < 10_000 ? WHOLE.format(value) : SHORT.format(value);
export const percent = (value) => (value === null || value === undefined ? NONE : `${TENTH.format(value)} %`);
/** A length of time in hours. */
export const hours = (ms) => `${UP_TO_TENTH.format(ms / 3_600_000)} h`;
export const ratio = (value) => (value === null ? NONE : HUNDREDTH.format(value));

/** Milliseconds as a person says them. */
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1000) return `${WHOLE.format(ms)} ms`;
  if (ms < 100_000) return `${(ms < 10_000 ? TWO : UP_TO_TENTH).format(ms / 1000)} s`;
  if (ms < 6_000_000) return `${UP_TO_TENTH.format(ms / 60_000)} min`;
  return hours(ms);
}

/** Bytes as a person says them. */
export function size(bytes) {
  if (bytes < 1000) return `${WHOLE.format(bytes)} bytes`;
  if (bytes < 1_000_000) return `${UP_TO_TENTH.format(bytes / 1000)} kB`;
  return `${UP_TO_TENTH.format(bytes / 1_000_000)} MB`;
}

const formats = new Map();

function formatOf(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formats.has(key)) {
    formats.set(key, new Intl.DateTimeFormat(undefined, { timeZone: zone, ...options }));
  }
  return formats.get(key);
}

/** A moment, to the second. */
export const moment = (value, zone) =>
  value === null || value === undefined
    ? NONE
    : formatOf(zone, { dateStyle: "short", timeStyle: "medium" }).format(new Date(value));

const isToday = (value, zone) => {
  const date = (at) => formatOf(zone, { dateStyle: "short" }).format(at);
  return date(new Date(value)) === date(new Date());
};

/** The time of the day of a moment, to the second, and its day where that is not today. */
export const clock = (value, zone) =>
  isToday(value, zone) ? formatOf(zone, { timeStyle: "medium" }).format(new Date(value)) : moment(value, zone);

/** The same to the minute, the day without its year. */
export const since = (value, zone) => {
  const day = isToday(value, zone) ? {} : { day: "numeric", month: "short" };
  return formatOf(zone, { ...day, hour: "2-digit", minute: "2-digit" }).format(new Date(value));
};

/** The day of a moment, short. */
export const day = (value, zone) =>
  formatOf(zone, { weekday: "short", day: "numeric", month: "short" }).format(new Date(value));

/** A moment to the minute, its day too. */
export const minute = (value, zone) =>
  formatOf(zone, { dateStyle: "medium", timeStyle: "short" }).format(new Date(value));

const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "always", style: "narrow" });

/** What stands under a chart at a moment: the day where one begins, else the time. */
export function tick(ms, zone, apartSeconds) {
  const time = formatOf(zone, { hour: "2-digit", minute: "2-digit" }).format(new Date(ms));
  const midnight = formatOf("UTC", { hour: "2-digit", minute: "2-digit" }).format(new Date(0));
  if (apartSeconds < 86_400 && time !== midnight) return time;
  return formatOf(zone, { day: "numeric", month: "short" }).format(new Date(ms));
}

/** How long ago a moment was. */
export function ago(value, now = Date.now()) {
  if (value === null || value === undefined) return "never";
  const seconds = Math.max(0, Math.round((now - new Date(value)) / 1000));
  for (const [unit, length] of [
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (seconds >= length) return AGO.format(-Math.floor(seconds / length), unit);
  }
  return AGO.format(-seconds, "second");
}

/** A value of a field as text: what has none says so. */
export const value = (text) => (text === "" || text === null || text === undefined ? "(empty)" : String(text));
