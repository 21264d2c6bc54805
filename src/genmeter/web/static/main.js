// Signs in, keeps the frame, and shows the view that the address names.

import { href, note, read } from "./address.js";
import { ApiError, ask, meta, session } from "./api.js";
import { bar } from "./parts/bar.js";
import { h, say } from "./parts/dom.js";
import * as accounts from "./views/accounts.js";
import * as admin from "./views/admin.js";
import { cutBy } from "./views/breakdown.js";
import * as overview from "./views/overview.js";
import * as records from "./views/records.js";
import * as tryit from "./views/tryit.js";

const VIEWS = {
  overview: ["Overview", overview.show],
  accounts: ["Accounts", accounts.show],
  models: ["Models", cutBy("model", "Models")],
  endpoints: ["Endpoints", cutBy("endpoint", "Endpoints")],
  tiers: ["Tiers", cutBy("tier", "Tiers")],
  skus: ["SKUs", cutBy("sku", "SKUs")],
  codes: ["Codes", cutBy("code", "Codes")],
  captcha: ["Captcha providers", cutBy("captchaProvider", "Captcha providers")],
  records: ["Records", records.show],
  try: ["Try It", tryit.show],
  admin: ["Admin", admin.show],
};
const WITHOUT_BAR = ["try", "admin"];
const REFRESH_MS = 60_000;

const app = document.getElementById("app");
let who = null; // what the server says of the token
let shown = null;
let current = { stop: new AbortController(), refreshes: [] };

function leave() {
  current.stop.abort();
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
}

function signIn(text = "") {
  leave();
  who = null;
  document.title = "Sign in – genmeter";
  const token = h("input", {
    type: "password",
    name: "token",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
  });
  const told = h("p", { class: text ? "notice bad" : "dim", role: "alert" }, text);
  const button = h("button", { type: "submit", class: "main" }, "Sign in");
  const form = h(
    "form",
    { class: "signin" },
    h("h1", null, h("span", { class: "logo", "aria-hidden": "true" }), "genmeter"),
    h("p", null, "Usage statistics: how your jobs went."),
    h("label", null, h("span", null, "Token"), token),
    button,
    told,
    h(
      "p",
      { class: "dim" },
      "Kept in this tab until you close it. An operator makes one with ",
      h("code", null, "genmeter token create"),
      ".",
    ),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    await enter(token.value.trim());
    button.disabled = false;
  });
  app.replaceChildren(h("main", { class: "door" }, form));
  token.focus();
}

/** Sign in with a token, or say why not. */
async function enter(token) {
  try {
    const answer = await ask("/v2/account", { token });
    who = await answer.json();
  } catch (error) {
    session.token = null;
    signIn(
      error.status === 401 ? "The server does not know this token, or it has expired or was revoked." : error.message,
    );
    return;
  }
  session.token = token;
  session.ended = () => {
    session.token = null;
    signIn("You were signed out: the token has expired or was revoked. Sign in with another.");
  };
  render();
}

function render() {
  if (!who) return;
  const focused = placeOf(document.activeElement);
  leave();
  const { view: name, params } = read();
  const [title, show] = VIEWS[name] ?? [
    "Nothing here",
    () =>
      h("p", { class: "empty" }, "There is no such view. ", h("a", { href: href("overview") }, "Go to the overview")),
  ];
  note({ timezone: params.get("timezone"), last: params.get("last") }); // so that it can be shared as it is
  const stop = new AbortController();
  const view = {
    name,
    params,
    zone: params.get("timezone"),
    signal: stop.signal,
    stop,
    refreshes: [],
    loads: [],
    admin: who.scopes.includes("admin"),
    own: who.name,
    account: params.get("account") ?? "",
    meta: known(params.get("account") ?? ""),
  };
  current = view;
  document.title = `${title} – genmeter`;
  const main = h("main", { id: "main", tabindex: "-1", "aria-label": title });
  const content = [show(view)].flat();
  main.append(
    h("h1", { class: WITHOUT_BAR.includes(name) ? null : "unseen" }, title),
    ...(WITHOUT_BAR.includes(name) ? [] : [bar(params, view.meta)]),
    ...content,
  );
  app.replaceChildren(frame(name, view), main);
  const [views, here] = ["nav.views", "nav.views [aria-current]"].map((one) => app.querySelector(one));
  // On a narrow screen the views are a row that scrolls.
  if (here) views.scrollLeft = here.offsetLeft - views.offsetLeft - (views.clientWidth - here.offsetWidth) / 2;
  if (focused) app.querySelector(focused)?.focus({ preventScroll: true });
  if (shown !== name) scrollTo(0, 0);
  shown = name;
}

/** Where the focus goes when all is drawn anew: to the same control, or to what it was in. */
function placeOf(element) {
  if (element?.closest("nav.views")) return "nav.views [aria-current]";
  if (element?.closest(".bar")) return element.name ? `.bar [name="${element.name}"]` : ".bar summary";
  return element?.closest("#main") ? "#main" : null;
}

let remembered = { key: null, answer: null };

/** What there is to ask about: asked for once a minute, however many views want it. */
function known(account) {
  const key = `${session.token}\t${account}\t${Math.floor(Date.now() / REFRESH_MS)}`;
  if (remembered.key !== key) {
    const answer = meta(account ? new URLSearchParams({ account }) : null);
    answer.catch(() => (remembered.key = null));
    remembered = { key, answer };
  }
  return remembered.answer;
}

function frame(name, view) {
  const item = ([key, [label]]) =>
    h("li", null, h("a", { href: href(key), "aria-current": key === name ? "page" : null }, label));
  const skip = h(
    "button",
    { type: "button", class: "skip", onclick: () => document.getElementById("main").focus() },
    "Skip to the content",
  );
  const out = h(
    "button",
    {
      type: "button",
      class: "small",
      onclick: () => {
        session.token = null;
        signIn();
      },
    },
    "Sign out",
  );
  return h(
    "header",
    { class: "frame" },
    skip,
    h("a", { class: "brand", href: href("overview") }, h("span", { class: "logo", "aria-hidden": "true" }), "genmeter"),
    h(
      "nav",
      { class: "views", "aria-label": "Views" },
      h(
        "ul",
        null,
        Object.entries(VIEWS)
          .filter(([key]) => key !== "admin" || view.admin)
          .map(item),
      ),
    ),
    h(
      "div",
      { class: "who" },
      h(
        "span",
        { title: `Token ${who.id}, scopes ${who.scopes.join(", ")}` },
        view.account ? (view.account === "*" ? "All accounts" : view.account) : who.name,
      ),
      h("a", { href: "/docs" }, "Routes"),
      out,
    ),
  );
}

/** Take the token of /#token=TOKEN out of the address, before anything else can see it. */
function tokenOfAddress() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname);
  return decodeURIComponent(found[1]);
}

const given = tokenOfAddress();
addEventListener("hashchange", () => {
  const token = tokenOfAddress();
  if (token) enter(token);
  else render();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
setInterval(() => {
  if (document.visibilityState !== "visible" || !current.params?.get("last")) return;
  for (const refresh of current.refreshes) refresh();
}, REFRESH_MS);
addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof ApiError || event.reason?.name === "AbortError") event.preventDefault();
  else say("The page failed.");
});

if (given ?? session.token) enter(given ?? session.token);
else signIn();
