// Asks the server that the page has come from. What goes wrong is a Failure, which says
// it in words and whether another try is worth while.
//
// This module must not know the page.

/** How long an answer may take, in milliseconds: longer than the server's own limit. */
const PATIENCE = 60_000;

/** What kinds of failure there are. */
export const Kind = Object.freeze({
  /** The server has too much to do, or is starting or stopping. */
  BUSY: "busy",
  /** There is no answer, or it is one of something in between. */
  UNREACHABLE: "unreachable",
  /** What was asked for is refused as it is. */
  REFUSED: "refused",
  /** The server could not do it. */
  FAILED: "failed",
  /** Nobody waits for it any more. */
  CANCELLED: "cancelled",
});

/** Why there is no answer. */
export class Failure extends Error {
  constructor(kind, title, detail, { status = 0, type = "", pointers = [], retryAfter = 1 } = {}) {
    super(`${title}: ${detail}`);
    this.kind = kind;
    this.title = title;
    this.detail = detail;
    /** The status of the answer; 0 if there was none. */
    this.status = status;
    /** The last part of the problem's type, such as `text-too-long`. */
    this.type = type;
    /** The texts that are to blame, by their places in the request. */
    this.pointers = pointers;
    /** When another try is worth while, in seconds. */
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may be answered a little later. */
  get isPassing() {
    return this.kind === Kind.BUSY || this.kind === Kind.UNREACHABLE;
  }
}

/** The scores of texts, and what made them. */
export async function predict(texts, signal) {
  const begun = performance.now();
  const request = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: texts }),
  };
  const { document, headers } = await ask("predict", request, signal);
  const { predictions } = document;
  if (!Array.isArray(predictions) || predictions.length !== texts.length) {
    throw strange("it does not have as many predictions as there were texts");
  }
  return {
    predictions,
    guest: headers.get("x-fastsentiment-guest") ?? "",
    model: headers.get("x-fastsentiment-model") ?? "",
    hits: Number(headers.get("x-fastsentiment-cache-hits") ?? 0),
    ms: performance.now() - begun,
  };
}

/** What the server is, and what makes its answers. */
export async function version(signal) {
  return (await ask("version", {}, signal)).document;
}

async function ask(path, request, signal) {
  const timeout = new AbortController();
  const abort = () => timeout.abort();
  const timer = setTimeout(abort, PATIENCE);
  signal?.addEventListener("abort", abort);
  try {
    signal?.throwIfAborted();
    const response = await fetch(path, { ...request, signal: timeout.signal });
    if (!response.ok) {
      throw await failureOf(response);
    }
    const document = await response.json().catch((error) => {
      throw error instanceof SyntaxError ? strange("it is not JSON") : error;
    });
    return { document, headers: response.headers };
  } catch (error) {
    if (error instanceof Failure) {
      throw error;
    }
    if (signal?.aborted) {
      throw new Failure(Kind.CANCELLED, "Cancelled", "Nobody waited for the answer.");
    }
    const late = timeout.signal.aborted;
    throw new Failure(
      Kind.UNREACHABLE,
      "The server can not be reached",
      late
        ? `There was no answer within ${PATIENCE / 1000} seconds.`
        : "It may be down, or the network between here and there.",
    );
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** An answer that is no success: nearly always a problem document (RFC 9457). */
async function failureOf(response) {
  const { status, headers } = response;
  const isProblem = /^application\/(problem\+)?json\b/.test(headers.get("content-type") ?? "");
  const problem = (isProblem && (await response.json().catch(() => undefined))) || {};
  const about = {
    status,
    type: String(problem.type ?? "").replace(/^.*:/, ""),
    pointers: (problem.errors ?? [])
      .map(({ pointer }) => /^\/text\/(\d+)$/.exec(pointer)?.[1])
      .filter((index) => index !== undefined)
      .map(Number),
    retryAfter: Math.max(1, Number(headers.get("retry-after")) || 1),
  };
  const title = problem.title ?? `Status ${status}`;
  // It names the place in a request that a person has not seen.
  const detail = (problem.detail ?? "Something before the server has answered.").replace(
    /^`\/text\/\d+`: /,
    "",
  );
  let kind = status < 500 ? Kind.REFUSED : Kind.FAILED;
  if (status === 429 || status === 503) {
    kind = Kind.BUSY;
  } else if (!isProblem && status > 500) {
    kind = Kind.UNREACHABLE;
  }
  return new Failure(kind, title, sentence(detail), about);
}

function strange(detail) {
  return new Failure(Kind.FAILED, "The answer can not be read", sentence(detail));
}

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Waits; fails as soon as nobody waits any more. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new Failure(Kind.CANCELLED, "Cancelled", "Nobody waited any more."));
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
 * When to try again after a failure that may pass, in seconds: when the server says, or
 * after 1, 2, 4 and at most 8.
 */
export function secondsUntilNext(failure, attempt) {
  return Math.max(failure.retryAfter, Math.min(8, 2 ** attempt));
}
