// The client of the server: answers, bulk answers that arrive in pieces, and failures.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import {
  Failure,
  Kind,
  onKeyNeeded,
  pause,
  predict,
  predictEach,
  retryDelay,
  setKey,
} from "../../crates/http/src/page/api.mjs";

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

/** Replaces the server with one that gives this answer. Returns the requests it got. */
function answering(status, body, headers = {}) {
  const requests = [];
  globalThis.fetch = async (path, request) => {
    requests.push({ path, ...request });
    const isRaw = typeof body === "string" || body instanceof ReadableStream;
    return new Response(isRaw ? body : JSON.stringify(body), { status, headers });
  };
  return requests;
}

/** A body that arrives in pieces of `size` bytes, and then breaks off if `breaks`. */
function streamed(text, { size = 7, breaks = false } = {}) {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < bytes.length) {
        controller.enqueue(bytes.slice(at, at + size));
        at += size;
      } else if (breaks) {
        controller.error(new TypeError("network error"));
      } else {
        controller.close();
      }
    },
  });
}

/** Sends a bulk request. Resolves with the outcomes, and the failure if it fails. */
async function bulk(texts) {
  const outcomes = [];
  const failure = await predictEach(texts, (outcome) => outcomes.push(outcome)).then(
    () => undefined,
    (error) => error,
  );
  assert.ok(failure === undefined || failure instanceof Failure, String(failure));
  return { outcomes, failure };
}

async function failureOf(promise) {
  const error = await promise.then(() => undefined, (reason) => reason);
  assert.ok(error instanceof Failure, String(error));
  return error;
}

test("an answer comes with the versions and the cache hits in its headers", async () => {
  const predictions = [[{ label: "A", score: 1 }], [{ label: "B", score: 1 }]];
  const headers = { "x-fastsentiment-guest": "g", "x-fastsentiment-model": "m", "x-fastsentiment-cache-hits": "2" };
  const requests = answering(200, { predictions }, headers);
  const { ms, ...answer } = await predict(["a", "b"]);
  assert.deepEqual(answer, { predictions, guest: "g", model: "m", hits: 2 });
  assert.ok(ms >= 0);
  // Relative, so that a proxy may serve the page below any path.
  assert.equal(requests[0].path, "predict");
  assert.deepEqual(JSON.parse(requests[0].body), { text: ["a", "b"] });
});

test("a failure has the texts of its problem, without pointers into the request", async () => {
  const problem = {
    type: "urn:fastsentiment:problem:text-too-long",
    title: "Text too long",
    status: 422,
    detail: "`/text/3`: the text is long",
    errors: [{ pointer: "/text/3", detail: "" }],
  };
  answering(422, problem, { "Content-Type": "application/problem+json" });
  const failure = await failureOf(predict(["a"]));
  assert.equal(failure.kind, Kind.REFUSED);
  assert.equal(failure.message, "Text too long: The text is long.");
  assert.equal(failure.status, 422);
  assert.equal(failure.isTransient, false);
});

test("the status decides whether a retry makes sense", async () => {
  const json = { "Content-Type": "application/problem+json" };
  for (const [status, headers, kind, isTransient] of [
    [503, { ...json, "Retry-After": "7" }, Kind.BUSY, true],
    [429, {}, Kind.BUSY, true],
    [408, json, Kind.BUSY, true],
    [500, json, Kind.FAILED, false],
    [504, json, Kind.FAILED, false],
    [502, {}, Kind.UNREACHABLE, true],
    [401, {}, Kind.KEY, false],
    [404, {}, Kind.REFUSED, false],
  ]) {
    answering(status, "{}", headers);
    const failure = await failureOf(predict(["a"]));
    assert.deepEqual([failure.kind, failure.isTransient], [kind, isTransient], String(status));
    assert.equal(failure.status, status);
    assert.equal(failure.retryAfter, headers["Retry-After"] ? 7 : 1);
    assert.ok(failure.title.length > 0 && failure.detail.length > 0);
  }
});

test("an answer that is not the server's is a failure", async () => {
  for (const body of ["<html>", "{}", '{"predictions": []}', '{"predictions": 1}']) {
    answering(200, body);
    const failure = await failureOf(predict(["a"]));
    assert.equal(failure.title, "The answer cannot be read");
  }
  globalThis.fetch = async () => {
    throw new TypeError("Failed to fetch");
  };
  const failure = await failureOf(predict(["a"]));
  assert.equal(failure.kind, Kind.UNREACHABLE);
  assert.ok(failure.isTransient);
});

const scored = (label) => `{"predictions":[{"label":"${label}","score":1}]}\n`;
const problem = (members) =>
  `${JSON.stringify({ error: { title: "A title", detail: "the reason", ...members } })}\n`;
const scores = (label) => [{ label, score: 1 }];

test("a bulk request has a line per text, and each text gets its scores or its failure", async () => {
  const lines = [
    scored("É"),
    problem({ status: 422, line: 2 }),
    problem({ status: 504, line: 3 }),
    problem({ status: 503, line: 4 }),
    scored("B"),
  ];
  for (const size of [1, 7, 1000]) {
    const requests = answering(200, streamed(lines.join(""), { size }));
    const texts = ["a", "b\nc", "", "d", "e\u2028"];
    const { outcomes, failure } = await bulk(texts);
    assert.equal(failure, undefined);
    assert.deepEqual(outcomes[0], scores("É"));
    assert.deepEqual(outcomes[4], scores("B"));
    const failures = outcomes.slice(1, 4);
    assert.deepEqual(failures.map(({ kind }) => kind), [Kind.REFUSED, Kind.FAILED, Kind.BUSY]);
    assert.equal(failures[0].message, "A title: The reason.");
    const [{ path, headers, body }] = requests;
    assert.equal(path, "predict");
    assert.equal(headers["Content-Type"], "application/x-ndjson");
    const sent = body.split("\n");
    assert.equal(sent.pop(), "");
    assert.deepEqual(sent.map((line) => JSON.parse(line)), texts);
  }
});

test("outcomes arrive before the answer is complete", async () => {
  let controller;
  answering(200, new ReadableStream({ start: (made) => void (controller = made) }));
  let arrived;
  const first = new Promise((resolve) => void (arrived = resolve));
  const request = predictEach(["a", "b"], arrived);
  controller.enqueue(new TextEncoder().encode(`${scored("A")}{"predict`));
  assert.deepEqual(await first, scores("A"));
  controller.enqueue(new TextEncoder().encode(scored("B").slice('{"predict'.length)));
  controller.close();
  await request;
});

test("an answer that ends early is a transient failure after the outcomes so far", async () => {
  const early = problem({ status: 503, after_line: 1 });
  for (const body of [
    scored("A") + early,
    streamed(scored("A") + problem({ status: 400, after_line: 1 })),
    streamed(scored("A")),
    streamed(scored("A") + scored("B").slice(0, -1)),
    streamed(scored("A") + scored("B").slice(0, 9), { breaks: true }),
  ]) {
    answering(200, body);
    const { outcomes, failure } = await bulk(["a", "b", "c"]);
    assert.deepEqual(outcomes, [scores("A")]);
    assert.ok(failure.isTransient, failure.message);
  }
});

test("a bulk answer that is not the server's is a failure", async () => {
  for (const body of ["<html>\n", "{}\n", scored("A") + scored("B")]) {
    answering(200, body);
    const { failure } = await bulk(["a"]);
    assert.equal(failure.title, "The answer cannot be read");
  }
});

test("requests and pauses can be cancelled", async () => {
  globalThis.fetch = (_, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  const stop = new AbortController();
  const request = failureOf(predict(["a"], stop.signal));
  const paused = failureOf(pause(3_600_000, stop.signal));
  stop.abort();
  assert.equal((await request).kind, Kind.CANCELLED);
  assert.equal((await paused).kind, Kind.CANCELLED);
  assert.equal((await failureOf(predict(["a"], stop.signal))).kind, Kind.CANCELLED);
});

test("the delay before a retry grows, and is at least what the server asks for", () => {
  const after = (retryAfter) => ({ retryAfter });
  assert.deepEqual([0, 1, 2, 3, 9].map((attempt) => retryDelay(after(1), attempt)), [
    ...[1, 2, 4, 8, 8],
  ]);
  assert.equal(retryDelay(after(30), 1), 30);
});

test("a key is asked for, and sent from then on", async () => {
  const asked = [];
  onKeyNeeded(({ detail }) => asked.push(detail));
  const problem = { title: "Unauthorized", detail: "send a key", status: 401 };
  const json = { "content-type": "application/problem+json" };
  let requests = answering(401, problem, json);
  const failure = await failureOf(predict(["a"]));
  assert.deepEqual([failure.kind, failure.isTransient], [Kind.KEY, false]);
  assert.deepEqual(asked, ["Send a key."]);
  assert.equal(requests[0].headers.Authorization, undefined);
  setKey("fsk_1");
  requests = answering(403, { ...problem, status: 403 }, json);
  assert.equal((await failureOf(predictEach(["a"], () => {}))).kind, Kind.KEY);
  assert.equal(asked.length, 2);
  assert.equal(requests[0].headers.Authorization, "Bearer fsk_1");
  assert.equal(requests[0].headers["Content-Type"], "application/x-ndjson");
  setKey("");
});
