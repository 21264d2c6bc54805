// For admins: whose records are shown, and the tokens of all accounts.

import { go, href } from "../address.js";
import { ask, json, meta } from "../api.js";
import { copyButton, dialog, h, say } from "../parts/dom.js";
import * as format from "../parts/format.js";
import { empty, panel, table } from "../parts/panels.js";

const SCOPES = { read: "ask for statistics", write: "record jobs", admin: "all of it, for every account" };

export function show(view) {
  if (!view.admin) {
    return panel(view, "Admin", async () =>
      empty("This token is no admin's.", "Sign in with one that has the scope admin."),
    );
  }
  const list = panel(view, "Tokens", (signal) => tokens(view, signal, () => list.reload()));
  return h(
    "div",
    { class: "administration" },
    h(
      "div",
      null,
      whose(view),
      panel(view, "New token", async () => creating(() => list.reload())),
    ),
    list,
  );
}

function whose(view) {
  return panel(view, "Whose records are shown", async (signal) => {
    const { accounts } = await meta(new URLSearchParams({ account: "*" }), signal);
    const now = view.params.get("account") ?? "";
    const select = h(
      "select",
      null,
      [
        ["", `My own (${view.own})`],
        ["*", "All accounts together"],
        ...(accounts ?? []).map((name) => [name, name]),
      ].map(([value, text]) => h("option", { value }, text)),
    );
    if (now && ![...select.options].some((option) => option.value === now))
      select.append(h("option", { value: now }, now));
    select.value = now;
    select.addEventListener("change", () => go({ account: select.value }));
    return [
      h("label", null, h("span", null, "Account"), select),
      h("p", { class: "dim" }, "It holds for all views. ", h("a", { href: href("overview") }, "See the overview")),
    ];
  });
}

async function tokens(view, signal, changed) {
  const found = (await json("/v2/tokens", null, signal)).tokens;
  const state = (one) => (one.revoked ? "revoked" : one.valid ? "valid" : "expired");
  const columns = [
    {
      key: "account",
      label: "Account",
      head: true,
      sort: (one) => one.account,
      cell: (one) => h("a", { href: href("overview", { account: one.account }) }, one.account),
    },
    { key: "name", label: "Name", sort: (one) => one.name, cell: (one) => one.name },
    { key: "id", label: "Id", cell: (one) => h("code", null, one.id) },
    { key: "scopes", label: "Scopes", sort: (one) => one.scopes.join(), cell: (one) => one.scopes.join(", ") },
    {
      key: "created",
      label: "Created",
      number: true,
      sort: (one) => Date.parse(one.created),
      cell: (one) => format.moment(one.created, view.zone),
    },
    {
      key: "expires",
      label: "Expires",
      number: true,
      sort: (one) => one.expires && Date.parse(one.expires),
      cell: (one) => (one.expires ? format.moment(one.expires, view.zone) : "never"),
    },
    {
      key: "state",
      label: "State",
      sort: state,
      cell: (one) => h("span", { class: `mark ${state(one) === "valid" ? "ok" : "dim"}` }, state(one)),
    },
    {
      key: "revoke",
      label: "",
      cell: (one) =>
        one.revoked
          ? ""
          : h(
              "button",
              {
                type: "button",
                class: "small",
                "aria-label": `Revoke the token ${one.id} of ${one.account}`,
                onclick: () => revoking(one, changed),
              },
              "Revoke",
            ),
    },
  ];
  return table(columns, found, { label: "Tokens", rowProps: (one) => ({ class: one.valid ? null : "over" }) });
}

function revoking(token, changed) {
  const box = dialog(
    `Revoke the token “${token.name}” of ${token.account}?`,
    h(
      "div",
      null,
      h("p", null, "Whoever uses it is refused from now on. It cannot be taken back."),
      h(
        "div",
        { class: "actions" },
        h(
          "button",
          {
            type: "button",
            class: "danger",
            onclick: async () => {
              try {
                await ask(`/v2/tokens/${encodeURIComponent(token.id)}`, { method: "DELETE" });
                say("Revoked");
              } catch (error) {
                say(error.message);
              }
              box.close();
              changed();
            },
          },
          "Revoke",
        ),
        h("button", { type: "button", onclick: () => box.close() }, "Keep it"),
      ),
    ),
  );
}

function creating(changed) {
  const fault = h("p", { class: "notice bad", role: "alert", hidden: true });
  const made = h("div", { "aria-live": "polite" });
  const form = h(
    "form",
    { class: "create", "aria-label": "New token" },
    h(
      "label",
      null,
      h("span", null, "Account"),
      h("input", { name: "account", required: true, maxlength: 64, autocomplete: "off" }),
    ),
    h(
      "label",
      null,
      h("span", null, "Name"),
      h("input", { name: "name", maxlength: 200, autocomplete: "off", placeholder: "the account's" }),
    ),
    h(
      "label",
      null,
      h("span", null, "Days until it expires"),
      h("input", { name: "expires_days", type: "number", min: 1, max: 36500, placeholder: "never" }),
    ),
    h(
      "fieldset",
      null,
      h("legend", null, "Scopes"),
      Object.entries(SCOPES).map(([scope, text]) =>
        h(
          "label",
          { class: "check" },
          h("input", { type: "checkbox", name: "scopes", value: scope, checked: scope === "read" }),
          h("span", null, h("b", null, scope), `: ${text}`),
        ),
      ),
    ),
    h("button", { type: "submit", class: "main" }, "Create"),
    fault,
    made,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = new FormData(form);
    const wanted = {
      account: given.get("account").trim(),
      scopes: given.getAll("scopes"),
      name: given.get("name").trim(),
    };
    if (given.get("expires_days")) wanted.expires_days = Number(given.get("expires_days"));
    try {
      const response = await ask("/v2/tokens", {
        method: "POST",
        body: JSON.stringify(wanted),
        headers: { "Content-Type": "application/json" },
      });
      const token = await response.json();
      fault.hidden = true;
      made.replaceChildren(
        h(
          "div",
          { class: "notice" },
          h("p", null, `The token of ${token.account}. It is shown this once:`),
          h("code", { class: "token" }, token.token),
          copyButton(token.token),
        ),
      );
      form.reset();
      changed();
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
    }
  });
  return form;
}
