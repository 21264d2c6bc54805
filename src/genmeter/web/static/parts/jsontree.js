// JSON to look at: coloured, foldable, and only as much of it in the page as is open.

import { h } from "./dom.js";

const AT_A_TIME = 100;
const AT_ONCE = 20; // a longer list is folded at first

/** `value` as a tree, its first `open` levels unfolded. */
export function tree(value, open = 2) {
  return h("div", { class: "json", role: "group", "aria-label": "The answer as JSON" }, node(null, value, open));
}

function node(name, value, open) {
  const key =
    name === null
      ? []
      : [h("span", { class: "key" }, typeof name === "number" ? String(name) : JSON.stringify(name)), ": "];
  if (value === null || typeof value !== "object") return h("div", { class: "leaf" }, key, leaf(value));
  const entries = Array.isArray(value) ? value.map((one, i) => [i, one]) : Object.entries(value);
  const [begin, end] = Array.isArray(value) ? "[]" : "{}";
  if (!entries.length) return h("div", { class: "leaf" }, key, begin + end);
  const count = `${entries.length} ${Array.isArray(value) ? "items" : "keys"}`;
  const body = h("div", { class: "inside" });
  const box = h(
    "details",
    null,
    h("summary", null, key, `${begin} `, h("span", { class: "dim" }, count), ` ${end}`),
    body,
  );
  let shown = 0;
  const more = () => {
    body.lastElementChild?.matches("button") && body.lastElementChild.remove();
    for (const [inner, one] of entries.slice(shown, shown + AT_A_TIME)) body.append(node(inner, one, open - 1));
    shown += AT_A_TIME;
    if (shown < entries.length) {
      body.append(
        h(
          "button",
          { type: "button", class: "small", onclick: more },
          `Show ${Math.min(AT_A_TIME, entries.length - shown)} of ${entries.length - shown} more`,
        ),
      );
    }
  };
  box.addEventListener("toggle", () => box.open && !shown && more());
  if (open > 0 && (entries.length <= AT_ONCE || !Array.isArray(value))) {
    more();
    box.open = true;
  }
  return box;
}

const leaf = (value) => h("span", { class: value === null ? "null" : typeof value }, JSON.stringify(value));
