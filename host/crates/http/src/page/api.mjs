// A client of the server that served the page. Every error is a `Failure`: a message for
// people, and whether a retry makes sense.
//
// This module must not know the page.

import { LineParser } from "./csv.mjs";

/** How long the server may be silent, in milliseconds: longer than its own time limit. */
const TIMEOUT = 60_000;

/** The longest delay before a retry that the server did not choose, in seconds. */
const LONGEST_DELAY = 8;

/** Under this name the API key is kept, for this tab only. */
const KEY = "fastsentiment-api-key";

/** The kinds of failure. */
export const Kind = Object.freeze({
  /** The server is overloaded, starting or stopping. */
  BUSY: "busy",
  /** No answer, part of an answer, or the answer of a proxy. */
  UNREACHABLE: "unreachable",
  /** The request itself is at fault: a retry gets the same answer. */
  REFUSED: "refused",
  /** The server wants an API key, or another one. */
  KEY: "key",
  /** An error inside the server. */
  FAILED: "failed",
  /** The caller cancelled the request. */
  CANCELLED: "cancelled",
});

/** Why there is no answer. */
export class Failure extends Error {
  constructor(kind, title, detail, { status = 0, retryAfter = 1 } = {}) {
    super(`${title}: ${detail}`);
    this.kind = kind;
    this.title = title;
    this.detail = detail;
    /** The HTTP status; 0 without one. */
    this.status = status;
    /** When to retry, in seconds. */
    this.retryAfter = retryAfter;
  }

  /** Whether a retry may succeed. */
  get isTransient() {
    return this.kind === Kind.BUSY || this.kind === Kind.UNREACHABLE;
  }
}

let key = storage()?.getItem(KEY) ?? "";
let askForKey = () => {};

/** The storage of this tab, unless the browser has switched it off. */
function storage() {
  try {
    return globalThis.sessionStorage;
  } catch {
    return undefined;
  }
}

/** Sends this API key from now on. */
export function setKey(text) {
  key = text;
  storage()?.setItem(KEY, text);
}

/** Has `callback` called whenever the server wants an API key, or another one. */
export function onKeyNeeded(callback) {
  askForKey = callback;
}

/** The scores of a few texts, and the guest and the model that computed them. */
export function predict(texts, signal) {
  const started = performance.now();
  const request = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: texts }),
  };
  return ask("predict", request, signal, async (response) => {
    const { predictions } = await response.json();
    if (!Array.isArray(predictions) || predictions.length !== texts.length) {
      throw unreadable("It does not have one prediction per text.");
    }
    const { headers } = response;
    return {
      predictions,
      guest: headers.get("x-fastsentiment-guest") ?? "",
      model: headers.get("x-fastsentiment-model") ?? "",
      hits: Number(headers.get("x-fastsentiment-cache-hits") ?? 0),
      ms: performance.now() - started,
    };
  });
}

/**
 * Scores many texts in one bulk request. Calls `onOutcome` for each text, in order and as
 * soon as the server has answered it, with its scores or with its `Failure`.
 *
 * If the answer ends early, this fails after the outcomes that have arrived. The browser
 * reads nothing before it has sent the whole request, so there must be few enough texts
 * for the server to read them all before its answers are read.
 */
export function predictEach(texts, onOutcome, signal) {
  const request = {
    method: "POST",
    headers: { "Content-Type": "application/x-ndjson" },
    body: texts.map((text) => `${JSON.stringify(text)}\n`).join(""),
  };
  return ask("predict", request, signal, async (response, onData) => {
    let answered = 0;
    for await (const line of lines(response.body, onData)) {
      const outcome = outcomeOf(line);
      answered += 1;
      if (answered > texts.length) {
        throw unreadable("It has more lines than there are texts.");
      }
      onOutcome(outcome);
    }
    if (answered < texts.length) {
      throw new Failure(Kind.UNREACHABLE, "The answer broke off", "The connection was closed.");
    }
  });
}

/** The server's version, and the guest and the model that are live. */
export function version(signal) {
  return ask("version", {}, signal, (response) => response.json());
}

/**
 * Sends a request and has `read` read a successful response. `read` calls its second
 * argument whenever data arrives, which restarts the time-out.
 */
async function ask(path, request, signal, read) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  let timer;
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(abort, TIMEOUT);
  };
  signal?.addEventListener("abort", abort);
  try {
    signal?.throwIfAborted();
    restart();
    const headers = { ...request.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const response = await fetch(path, { ...request, headers, signal: controller.signal });
    restart();
    if (!response.ok) {
      const failure = await failureOf(response);
      if (failure.kind === Kind.KEY) {
        askForKey(failure);
      }
      throw failure;
    }
    return await read(response, restart);
  } catch (error) {
    if (error instanceof Failure) {
      throw error;
    }
    if (error instanceof SyntaxError) {
      throw unreadable("It is not JSON.");
    }
    if (signal?.aborted) {
      throw new Failure(Kind.CANCELLED, "Cancelled", "The request was cancelled.");
    }
    const detail = controller.signal.aborted
      ? `It did not answer within ${TIMEOUT / 1000} seconds.`
      : "It may be down, or the network may be.";
    throw new Failure(Kind.UNREACHABLE, "The server cannot be reached", detail);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    // Ends a response that was not read to its end; otherwise it does nothing.
    abort();
  }
}

/** The complete lines of a body. What comes after the last line end was cut off. */
async function* lines(body, onData) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new LineParser({ keepsBlank: false });
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    onData();
    yield* parser.push(decoder.decode(value, { stream: true }));
  }
}

/** What a line of a bulk answer says about a text: its scores, or its failure. */
function outcomeOf(line) {
  const { predictions, error } = JSON.parse(line);
  if (error?.after_line !== undefined) {
    // The answer ends here, whatever the reason, and the rest can be sent again.
    throw failureFrom(error, Kind.BUSY);
  }
  if (error) {
    return failureFrom(error, kindOf(error.status));
  }
  if (!Array.isArray(predictions)) {
    throw unreadable("A line has neither predictions nor an error.");
  }
  return predictions;
}

/** The failure in an unsuccessful response, usually a problem document (RFC 9457). */
async function failureOf(response) {
  const { status, headers } = response;
  const isProblem = /^application\/(problem\+)?json\b/.test(headers.get("content-type") ?? "");
  const problem = {
    title: `Status ${status}`,
    detail: "The answer came from a proxy in front of the server.",
    ...(isProblem && (await response.json().catch(() => undefined))),
    status,
  };
  // A proxy that cannot reach the server answers with a page of its own.
  const kind = !isProblem && status > 500 ? Kind.UNREACHABLE : kindOf(status);
  return failureFrom(problem, kind, Math.max(1, Number(headers.get("retry-after")) || 1));
}

function failureFrom({ title, detail, status }, kind, retryAfter) {
  // People have not seen the places in the request that a detail may name.
  const words = detail.replace(/^`\/text\/\d+`: /, "");
  return new Failure(kind, title, sentence(words), { status, retryAfter });
}

function kindOf(status) {
  if (status === 408 || status === 429 || status === 503) {
    return Kind.BUSY;
  }
  if (status === 401 || status === 403) {
    return Kind.KEY;
  }
  return status < 500 ? Kind.REFUSED : Kind.FAILED;
}

function unreadable(detail) {
  return new Failure(Kind.FAILED, "The answer cannot be read", detail);
}

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Waits for some milliseconds; fails as soon as `signal` is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new Failure(Kind.CANCELLED, "Cancelled", "The wait was cancelled."));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) {
      stop();
    }
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * The delay before a retry, in seconds: what the server asks for, but at least 1, 2, 4 and
 * then 8.
 */
export function retryDelay(failure, attempt) {
  return Math.max(failure.retryAfter, Math.min(LONGEST_DELAY, 2 ** attempt));
}
