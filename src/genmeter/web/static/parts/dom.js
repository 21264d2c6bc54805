// Elements from plain calls. Data gets in as text nodes and attributes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element of HTML: h("a", {class: "x", href: "#", onclick: f}, "text", element, null). */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An element of SVG. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** Let a screen reader say `text`, without moving the focus. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A button that puts text onto the clipboard. */
export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
      say("Copied");
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

/** A dialog that is open, and closes by its button, Escape, or a click beside it. */
export function dialog(title, content, closed = () => {}) {
  const box = h(
    "dialog",
    { "aria-label": title },
    h(
      "header",
      null,
      h("h2", null, title),
      h("button", { type: "button", class: "small", onclick: () => box.close() }, "Close"),
    ),
    content,
  );
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("close", () => {
    box.remove();
    closed();
  });
  document.body.append(box);
  box.showModal();
  return box;
}
