// The contract's question, asked live, and the same in three languages to take away.

import { note } from "../address.js";
import { send, session } from "../api.js";
import { copyButton, h } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { tree } from "../parts/jsontree.js";
import { empty, failure, skeleton } from "../parts/panels.js";

const PATH = "/v2/account/stats";
const NAMES = ["bot", "date", "limit", "config"];

export function show(view) {
  const asked = (name) => view.params.get(`try_${name}`) ?? "";
  const bot = h("select", { name: "bot", required: true });
  const date = h("input", { name: "date", type: "date", value: asked("date") });
  const limit = h("input", {
    name: "limit",
    type: "number",
    min: 1,
    max: 50000,
    step: 1,
    placeholder: "all of the day",
    value: asked("limit"),
  });
  const config = h("input", {
    name: "config",
    autocomplete: "off",
    placeholder: "all",
    list: "configs",
    value: asked("config"),
  });
  const token = h("input", {
    name: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    value: session.token,
    required: true,
  });
  const configs = h("datalist", { id: "configs" });
  const fill = (bots) => {
    bot.replaceChildren(...bots.map((name) => h("option", null, name)));
    bot.value = bots.includes(asked("bot")) ? asked("bot") : bots.includes("google-flow") ? "google-flow" : bots[0];
    written();
  };
  const button = h("button", { type: "submit", class: "main" }, "Send");
  const form = h(
    "form",
    { class: "try", "aria-label": "Try It" },
    field("Token", token, "Kept in this tab only"),
    field("Bot", bot, "Required"),
    field("Date", date, "UTC; today where neither date nor limit is given"),
    field("Limit", limit, "The last N over all days; the date is then ignored"),
    field("Config", config, "Only this account, exactly"),
    configs,
    h("div", { class: "send" }, button),
  );
  const answer = h(
    "div",
    { class: "answer", "aria-live": "polite" },
    empty("No answer yet.", "Send the question to see it here."),
  );
  const code = h("pre", { tabindex: "0" });
  const languages = { curl, JavaScript: javascript, Python: python };
  let language = "curl";
  const tabs = Object.keys(languages).map((name) =>
    h("button", { type: "button", role: "tab", onclick: () => choose(name) }, name),
  );
  const question = () =>
    new URLSearchParams(NAMES.map((name) => [name, form.elements[name].value]).filter(([, value]) => value));
  const written = () => {
    code.textContent = languages[language](`${location.origin}${PATH}`, question());
  };
  const choose = (name) => {
    language = name;
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab.textContent === name);
      tab.tabIndex = tab.textContent === name ? 0 : -1;
    }
    written();
  };
  const tabList = h("div", { class: "tabs", role: "tablist", "aria-label": "Language" }, tabs);
  tabList.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.findIndex((tab) => tab.textContent === language) + step + tabs.length) % tabs.length];
    choose(next.textContent);
    next.focus();
  });
  form.addEventListener("input", written);
  let asking = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    view.signal.addEventListener("abort", () => mine.abort());
    answer.replaceChildren(skeleton());
    note(Object.fromEntries(NAMES.map((name) => [`try_${name}`, form.elements[name].value])));
    try {
      answer.replaceChildren(...(await sent(question(), token.value.trim(), mine.signal)));
    } catch (error) {
      if (error.name !== "AbortError") answer.replaceChildren(failure(error));
    }
  });
  view.meta.then(
    ({ bots, dimensions }) => {
      fill(bots);
      configs.append(...(dimensions.config ?? []).slice(0, 300).map((value) => h("option", { value })));
    },
    () => fill(["google-flow"]),
  );
  choose("curl");
  return h(
    "div",
    { class: "tryit" },
    h(
      "section",
      { class: "panel", "aria-label": "Question" },
      h("header", null, h("h2", null, "GET ", h("code", null, PATH)), h("a", { href: "/docs" }, "All routes")),
      h("div", { class: "body" }, form),
    ),
    h(
      "section",
      { class: "panel", "aria-label": "The same as code" },
      h(
        "header",
        null,
        h("h2", null, "The same as code"),
        h(
          "div",
          { class: "actions" },
          copyButton(() => code.textContent),
        ),
      ),
      h("div", { class: "body" }, tabList, code),
    ),
    h(
      "section",
      { class: "panel wide", "aria-label": "Answer" },
      h("header", null, h("h2", null, "Answer")),
      h("div", { class: "body" }, answer),
    ),
  );
}

function field(label, input, hint) {
  const id = `hint-${input.name}`;
  input.setAttribute("aria-describedby", id);
  return h("div", null, h("label", null, h("span", null, label), input), h("small", { id }, hint));
}

async function sent(params, token, signal) {
  const started = performance.now();
  const response = await send(PATH, { params, token, signal });
  const content = await response.arrayBuffer();
  const took = performance.now() - started;
  const text = new TextDecoder().decode(content);
  let shown = null;
  try {
    shown = tree(JSON.parse(text));
  } catch {
    shown = h("pre", null, text.slice(0, 100_000));
  }
  const facts = [
    ["Status", h("span", { class: response.ok ? "mark ok" : "mark bad" }, `${response.status} ${response.statusText}`)],
    ["Size", format.size(content.byteLength)],
    ["Time", format.duration(Math.round(took))],
    ["Request id", response.headers.get("X-Request-Id") ?? format.NONE],
  ];
  return [
    h(
      "dl",
      { class: "facts" },
      facts.map(([name, fact]) => h("div", null, h("dt", null, name), h("dd", null, fact))),
    ),
    h("div", { class: "actions" }, copyButton(text, "Copy the answer")),
    shown,
  ];
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const literal = (value) => JSON.stringify(value);

function curl(url, params) {
  return `curl -H "Authorization: Bearer YOUR_API_TOKEN" \\\n     ${quoted(`${url}?${params}`)}`;
}

function javascript(url, params) {
  const lines = [...params].map(([name, value]) => `  ${name}: ${literal(value)},`).join("\n");
  return [
    `const token = 'YOUR_API_TOKEN';`,
    `const params = new URLSearchParams({`,
    `${lines}`,
    `});`,
    ``,
    `const response = await fetch(\`${url}?\${params}\`, {`,
    `  headers: { Authorization: \`Bearer \${token}\` },`,
    `});`,
    `const stats = await response.json();`,
    `console.log(\`Total records: \${stats.total}\`);`,
    ``,
  ].join("\n");
}

function python(url, params) {
  const lines = [...params].map(([name, value]) => `        ${literal(name)}: ${literal(value)},`).join("\n");
  return [
    `import requests`,
    ``,
    `token = "YOUR_API_TOKEN"`,
    `response = requests.get(`,
    `    "${url}",`,
    `    params={`,
    `${lines}`,
    `    },`,
    `    headers={"Authorization": f"Bearer {token}"},`,
    `)`,
    `stats = response.json()`,
    `print(f"Total records: {stats['total']}")`,
    ``,
  ].join("\n");
}
