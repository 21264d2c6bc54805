// The one way to the server. The token is in this tab's session storage and nowhere else.

const KEPT = "genmeter.token";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const SILENCE_MS = 45_000; // three times what a live stream may be without a sign of life

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const session = {
  get token() {
    return sessionStorage.getItem(KEPT);
  },
  set token(text) {
    if (text) sessionStorage.setItem(KEPT, text);
    else sessionStorage.removeItem(KEPT);
  },
  /** Called when the server no longer takes the token. */
  ended: () => {},
};

/** The answer to a request, whatever it is; ApiError where none comes. */
export async function send(path, { params, token = session.token, ...options } = {}) {
  const query = params?.toString();
  const headers = { ...options.headers, Authorization: `Bearer ${token}` };
  try {
    // What may be asked with one token must not answer another's question from a cache.
    return await fetch(query ? `${path}?${query}` : path, { cache: "no-store", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Is it running, and is the network up?");
  }
}

/** The answer where it is one of success; ApiError with the server's words where it is not. */
export async function ask(path, options = {}) {
  const response = await send(path, options);
  if (response.ok) return response;
  let message = `The server answered ${response.status}`;
  try {
    message = (await response.json()).error ?? message;
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (response.status === 401 && !options.token) session.ended();
  throw new ApiError(response.status, message);
}

/** The answer's JSON. */
export async function json(path, params, signal) {
  return (await ask(path, { params, signal })).json();
}

export const query = (params, signal) => json("/v2/account/stats/query", params, signal);
export const rows = (params, signal) => json("/v2/account/stats/rows", params, signal);
export const meta = (params, signal) => json("/v2/account/stats/meta", params, signal);

/** Let the browser save an answer under the name that the server gives it. */
export async function download(path, params, signal) {
  const response = await ask(path, { params, signal });
  const given = response.headers.get("Content-Disposition") ?? "";
  const name = /filename="([^"]+)"/.exec(given)?.[1] ?? "genmeter";
  const content = await response.blob();
  const expected = response.headers.get("Genmeter-SHA256");
  if (expected && globalThis.crypto?.subtle && content.size < 50_000_000) {
    const digest = await crypto.subtle.digest("SHA-256", await content.arrayBuffer());
    const found = [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join("");
    if (found !== expected) throw new ApiError(0, "The file arrived damaged; export it again.");
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return { name, rows: Number(response.headers.get("Genmeter-Rows")) };
}

/**
 * Call `arrived(records)` for records as they are stored, until `signal` says so.
 *
 * A break is mended where it was: nothing is missed and nothing comes twice. A server that says
 * nothing for longer than it may is taken for gone. `state` is told "live", "waiting" or "off", and
 * of "live" whether it goes on where it was; where not, what came before is for others to ask.
 * An EventSource would do, could it send a token.
 */
export async function follow(params, signal, arrived, state) {
  let lastId = "";
  for (let pause = FIRST_PAUSE_MS; !signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), SILENCE_MS);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE_MS);
    };
    try {
      const headers = lastId ? { "Last-Event-ID": lastId } : {};
      const response = await ask("/v2/account/stats/live", {
        params,
        headers,
        signal: AbortSignal.any([signal, silent.signal]),
      });
      state("live", Boolean(lastId));
      pause = FIRST_PAUSE_MS;
      let rest = "";
      const text = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await text.read(); !piece.done; piece = await text.read()) {
        heard();
        const blocks = (rest + piece.value).split("\n\n");
        rest = blocks.pop();
        const records = [];
        for (const line of blocks.join("\n").split("\n")) {
          if (line.startsWith("id: ")) lastId = line.slice(4);
          else if (line.startsWith("data: ")) records.push(JSON.parse(line.slice(6)));
        }
        if (records.length) arrived(records);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500) {
        state("off");
        return;
      }
    } finally {
      clearTimeout(timer);
    }
    if (signal.aborted) return;
    state("waiting");
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
