// A range of one's own: from one minute up to another, as the clocks of the chosen zone show them.

import { go } from "../address.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { local, momentOf, moments } from "./zones.js";

/** The range in the address, in words. */
export function rangeText(params) {
  const zone = params.get("timezone");
  const words = (text) => {
    try {
      const at = momentOf(text, zone);
      return Number.isNaN(at) ? text : format.minute(at, zone);
    } catch {
      return text; // neither a zone nor a moment that the browser knows: the answer says so
    }
  };
  return [words(params.get("from") ?? ""), params.get("to") ? words(params.get("to")) : "now"].join(" – ");
}

/** The form, hidden at first. `done` is called before the address changes, or when it is left. */
export function dates(params, done) {
  const zone = params.get("timezone");
  const fields = { from: field("From", "from", params, zone), to: field("To", "to", params, zone) };
  const told = h("p", { class: "notice bad", role: "alert", id: "dates-told", hidden: true });
  const form = h(
    "form",
    { class: "dates", hidden: true, "aria-label": "Other times", novalidate: true },
    Object.values(fields).map((one) => one.label),
    h("button", { type: "submit" }, "Show"),
    h(
      "p",
      { class: "dim", id: "dates-hint" },
      `Times in ${zone}. To itself is not included; leave it empty to end now.`,
    ),
    told,
  );
  const refuse = ({ input }, message) => {
    told.textContent = message;
    told.hidden = false;
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", "dates-told");
    input.focus();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    told.hidden = true;
    for (const { input } of Object.values(fields)) {
      input.removeAttribute("aria-invalid");
      input.setAttribute("aria-describedby", "dates-hint");
    }
    const read = {};
    for (const [name, one] of Object.entries(fields)) {
      try {
        read[name] = one.read();
      } catch (error) {
        refuse(one, error.message);
        return;
      }
    }
    if (read.to && momentOf(read.from, zone) >= momentOf(read.to, zone)) {
      refuse(fields.to, "From must be before To.");
      return;
    }
    done();
    go({ last: null, ...read });
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    form.hidden = true;
    done();
  });
  return form;
}

/** One end of the range: {label, input, read() -> text for the address, null for now}. */
function field(text, name, params, zone) {
  const given = params.get(name);
  const before = shownAs(given, zone);
  const input = h("input", {
    type: "datetime-local",
    name,
    value: before,
    max: "9999-12-31T23:59",
    "aria-describedby": "dates-hint",
  });
  const read = () => {
    const { value } = input;
    if (given && value === before && before) return given; // as it was, to the millisecond
    if (!value && (name === "from" || input.validity.badInput)) {
      throw new Error(
        name === "from"
          ? "Give the date and time to begin with."
          : "Give a date and a time to end with, or neither: up to now.",
      );
    }
    if (!value) return null;
    // A midnight is a day's begin whatever the zone: the address says the day, as the API does.
    if (value.endsWith("T00:00")) return value.slice(0, 10);
    const found = moments(value.slice(0, 16), zone);
    if (!found.length)
      throw new Error(`Clocks in ${zone} skip ${format.minute(`${value}Z`, "UTC")}. Choose another time.`);
    // Where clocks show it twice, the range has both.
    return new Date(name === "from" ? found[0] : found.at(-1)).toISOString();
  };
  return { label: h("label", null, h("span", null, text), input), input, read };
}

function shownAs(text, zone) {
  try {
    return local(momentOf(text ?? "", zone), zone);
  } catch {
    return "";
  }
}
