// What the clocks of a zone show, and which moments that stands for. Milliseconds since 1970.

const DAY_MS = 86_400_000;
const clocks = new Map();

/** How far the clocks of `zone` are ahead of UTC at a moment. */
function ahead(ms, zone) {
  if (!clocks.has(zone)) {
    clocks.set(
      zone,
      new Intl.DateTimeFormat("en-US", {
        timeZone: zone,
        hourCycle: "h23",
        calendar: "gregory",
        numberingSystem: "latn",
        year: "numeric",
        month: "numeric",
        day: "numeric",
        hour: "numeric",
        minute: "numeric",
        second: "numeric",
      }),
    );
  }
  const parts = Object.fromEntries(
    clocks
      .get(zone)
      .formatToParts(ms)
      .map(({ type, value }) => [type, Number(value)]),
  );
  const { year, month, day, hour, minute, second } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(ms / 1000) * 1000;
}

/** What the clocks show, to the minute: "2026-03-29T01:30". */
export const local = (ms, zone) => new Date(ms + ahead(ms, zone)).toISOString().slice(0, 16);

/**
 * The moments at which the clocks show `text`, "2026-03-29T01:30", in their order: none where they
 * skip it, two where they are set back over it.
 */
export function moments(text, zone) {
  const shown = Date.parse(`${text}Z`);
  if (Number.isNaN(shown)) return [];
  const found = [-DAY_MS, 0, DAY_MS].map((apart) => shown - ahead(shown + apart, zone));
  return [...new Set(found)].filter((ms) => local(ms, zone) === text).sort((a, b) => a - b);
}

/** The moment that `from` or `to` in the address stands for, as the API reads it; else NaN. */
export function momentOf(text, zone) {
  if (/^\d+$/.test(text)) return Number(text);
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return Date.parse(text);
  const midnight = Date.parse(`${text}T00:00Z`);
  if (Number.isNaN(midnight)) return NaN;
  // Where clocks skip midnight, the day begins when they do.
  return moments(`${text}T00:00`, zone)[0] ?? midnight - ahead(midnight - DAY_MS, zone);
}
