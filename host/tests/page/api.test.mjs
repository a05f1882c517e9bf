// What the server says, and what becomes of it: an answer, or a failure in words.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Failure, Kind, pause, predict, secondsUntilNext } from "../../crates/http/src/page/api.mjs";

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

/** Has the server answer so, and gives what it was asked. */
function answering(status, body, headers = {}) {
  const asked = [];
  globalThis.fetch = async (path, request) => {
    asked.push({ path, ...request });
    return new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });
  };
  return asked;
}

async function failureOf(promise) {
  const error = await promise.then(() => undefined, (reason) => reason);
  assert.ok(error instanceof Failure, String(error));
  return error;
}

test("an answer has what its headers say", async () => {
  const predictions = [[{ label: "A", score: 1 }], [{ label: "B", score: 1 }]];
  const headers = { "x-fastsentiment-guest": "g", "x-fastsentiment-model": "m", "x-fastsentiment-cache-hits": "2" };
  const asked = answering(200, { predictions }, headers);
  const { ms, ...answer } = await predict(["a", "b"]);
  assert.deepEqual(answer, { predictions, guest: "g", model: "m", hits: 2 });
  assert.ok(ms >= 0);
  // Relative, so that a proxy may serve it below any path.
  assert.equal(asked[0].path, "predict");
  assert.deepEqual(JSON.parse(asked[0].body), { text: ["a", "b"] });
});

test("a problem is told in its own words, without places that nobody has seen", async () => {
  const problem = {
    type: "urn:fastsentiment:problem:text-too-long",
    title: "Text too long",
    status: 422,
    detail: "`/text/3`: the text is long",
    errors: [{ pointer: "/text/3", detail: "" }, { pointer: "/other", detail: "" }],
  };
  answering(422, problem, { "Content-Type": "application/problem+json" });
  const failure = await failureOf(predict(["a"]));
  assert.equal(failure.kind, Kind.REFUSED);
  assert.equal(failure.message, "Text too long: The text is long.");
  assert.equal(failure.type, "text-too-long");
  assert.deepEqual(failure.pointers, [3]);
  assert.equal(failure.isPassing, false);
});

test("statuses tell what is worth another try", async () => {
  const json = { "Content-Type": "application/problem+json" };
  for (const [status, headers, kind, isPassing] of [
    [503, { ...json, "Retry-After": "7" }, Kind.BUSY, true],
    [429, {}, Kind.BUSY, true],
    [500, json, Kind.FAILED, false],
    [504, json, Kind.FAILED, false],
    [502, {}, Kind.UNREACHABLE, true],
    [401, {}, Kind.REFUSED, false],
  ]) {
    answering(status, "{}", headers);
    const failure = await failureOf(predict(["a"]));
    assert.deepEqual([failure.kind, failure.isPassing], [kind, isPassing], String(status));
    assert.equal(failure.status, status);
    assert.equal(failure.retryAfter, headers["Retry-After"] ? 7 : 1);
    assert.ok(failure.title.length > 0 && failure.detail.length > 0);
  }
});

test("what is no answer of the server is no prediction", async () => {
  for (const body of ["<html>", "{}", '{"predictions": []}', '{"predictions": 1}']) {
    answering(200, body);
    const failure = await failureOf(predict(["a"]));
    assert.equal(failure.title, "The answer can not be read");
  }
  globalThis.fetch = async () => {
    throw new TypeError("Failed to fetch");
  };
  const failure = await failureOf(predict(["a"]));
  assert.equal(failure.kind, Kind.UNREACHABLE);
  assert.ok(failure.isPassing);
});

test("what nobody waits for is cancelled", async () => {
  globalThis.fetch = (_, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  const stop = new AbortController();
  const asked = failureOf(predict(["a"], stop.signal));
  const paused = failureOf(pause(3_600_000, stop.signal));
  stop.abort();
  assert.equal((await asked).kind, Kind.CANCELLED);
  assert.equal((await paused).kind, Kind.CANCELLED);
  assert.equal((await failureOf(predict(["a"], stop.signal))).kind, Kind.CANCELLED);
});

test("another try comes when the server says, and later each time", () => {
  const after = (retryAfter) => ({ retryAfter });
  assert.deepEqual([0, 1, 2, 3, 9].map((attempt) => secondsUntilNext(after(1), attempt)), [
    ...[1, 2, 4, 8, 8],
  ]);
  assert.equal(secondsUntilNext(after(30), 1), 30);
});
