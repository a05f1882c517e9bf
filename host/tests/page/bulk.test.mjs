// Jobs with servers that are busy, gone, strict or broken: a bad row costs no other, and no
// row is scored twice.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";

import { Failure, Kind } from "../../crates/http/src/page/api.mjs";
import { End, Job } from "../../crates/http/src/page/bulk.mjs";
import { Scores } from "../../crates/http/src/page/scored.mjs";
import { open } from "../../crates/http/src/page/source.mjs";

const scoreOf = (text) => [{ label: "A", score: text.length }];
const busy = (about) => new Failure(Kind.BUSY, "Overloaded", "Why.", { status: 503, ...about });
const unreachable = () => new Failure(Kind.UNREACHABLE, "Unreachable", "Why.");
const refused = (status) => new Failure(Kind.REFUSED, "Refused", "Why.", { status });
const failed = () => new Failure(Kind.FAILED, "Failed", "Why.", { status: 500 });

/** Lets other requests go on. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/**
 * A job on some rows, whose waits take no time. `predict` gets the texts of a request and
 * a function that answers the next of them.
 */
async function job(rows, predict) {
  const texts = Array.isArray(rows) ? rows : Array.from({ length: rows }, (_, at) => `text ${at}`);
  const source = await open(new File([texts.join("\n")], "a.txt"));
  const scores = new Scores();
  const clock = { now: 0, waits: [] };
  const wait = async (milliseconds, signal) => {
    clock.now += milliseconds;
    clock.waits.push(milliseconds);
    await turn();
    signal.throwIfAborted();
  };
  const requests = [];
  const answered = new Map();
  const made = new Job(source, scores, {
    predict: async (given, onOutcome, signal) => {
      requests.push(given);
      let at = 0;
      const answer = (outcome) => {
        const text = given[at];
        at += 1;
        const isFinal = !(outcome instanceof Failure && outcome.isTransient);
        answered.set(text, (answered.get(text) ?? 0) + (isFinal ? 1 : 0));
        onOutcome(outcome ?? scoreOf(text));
      };
      await turn();
      await predict(given, answer, signal);
    },
    wait,
    now: () => clock.now,
  });
  return { job: made, scores, clock, requests, answered, texts };
}

const answerAll = (texts, answer) => texts.forEach(() => answer());

/** All rows have scores from one answer, but for those with a failure. */
function assertAll({ scores, texts, answered }, failures = []) {
  assert.deepEqual([...scores.failures.keys()].sort((a, b) => a - b), failures);
  texts.forEach((text, row) => {
    if (!failures.includes(row)) {
      assert.deepEqual(scores.get(row), scoreOf(text), text);
    }
    assert.equal(answered.get(text), 1, text);
  });
}

test("every row is sent once, in a few requests of many rows", async () => {
  let inFlight = 0;
  let most = 0;
  const made = await job(5500, async (texts, answer) => {
    inFlight += 1;
    most = Math.max(most, inFlight);
    await turn();
    answerAll(texts, answer);
    inFlight -= 1;
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.equal(most, 2);
  const sizes = made.requests.map(({ length }) => length);
  assert.deepEqual(sizes, [1000, 1000, 1000, 1000, 1000, 500]);
});

test("long rows make small requests", async () => {
  const rows = Array.from({ length: 10 }, (_, at) => String(at).repeat(30_000));
  rows.push("x".repeat(200_000), "short");
  const made = await job(rows, answerAll);
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.deepEqual(made.requests.map(({ length }) => length), [2, 2, 2, 2, 2, 1, 1]);
});

test("scores are there before their request is complete", async () => {
  let seen;
  const made = await job(10, (texts, answer) => {
    answer();
    seen = made.scores.scored;
    texts.slice(1).forEach(() => answer());
  });
  assert.equal(await made.job.run(), End.DONE);
  assert.equal(seen, 1);
});

test("a server that is busy or cannot be reached gets the request again", async () => {
  const failures = [busy({ retryAfter: 7 }), unreachable(), busy()];
  const made = await job(100, (texts, answer) => {
    const failure = failures.shift();
    if (failure) {
      throw failure;
    }
    answerAll(texts, answer);
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.deepEqual(made.clock.waits, [7000, 2000, 4000]);
});

test("after an answer that ended early only the other rows are sent again", async () => {
  const made = await job(100, (texts, answer) => {
    texts.slice(0, 30).forEach(() => answer());
    if (texts.length > 30) {
      throw unreachable();
    }
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.deepEqual(made.requests.map(({ length }) => length), [100, 70, 40, 10]);
  // Progress resets the delay.
  assert.deepEqual(made.clock.waits, [1000, 1000, 1000]);
});

test("a row for which the server has no room is sent again without the others", async () => {
  let isFull = true;
  const made = await job(10, (texts, answer) => {
    texts.forEach((text) => answer(isFull && /[37]$/.test(text) ? busy() : undefined));
    isFull = false;
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.deepEqual(made.requests[1], ["text 3", "text 7"]);
});

test("a server that stays away stops the run, which can be resumed", async () => {
  let left = 2;
  let isAway = true;
  const made = await job(4000, (texts, answer) => {
    left -= 1;
    if (isAway && left < 0) {
      throw unreachable();
    }
    answerAll(texts, answer);
  });
  assert.equal(await made.job.run(), End.STOPPED);
  assert.equal(made.job.failure.kind, Kind.UNREACHABLE);
  assert.equal(made.scores.scored, 2000);
  isAway = false;
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
});

test("a row that is refused or fails costs no other", async () => {
  const made = await job(300, (texts, answer) => {
    const outcomes = { "text 17": refused(422), "text 18": failed() };
    texts.forEach((text) => answer(outcomes[text]));
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made, [17, 18]);
  assert.equal(made.scores.failures.get(17).kind, Kind.REFUSED);
  assert.equal(made.requests.length, 1);
});

test("a row that is too large for a proxy costs no other", async () => {
  const made = await job(["a", "x".repeat(100_000), "b"], (texts, answer) => {
    if (texts[0].length > 1) {
      throw refused(413);
    }
    answerAll(texts, answer);
  });
  assert.equal(await made.job.run(), End.DONE);
  assert.equal(made.scores.scored, 2);
  assert.equal(made.scores.failures.get(1).status, 413);
});

test("a server that fails on every row stops the run", async () => {
  const made = await job(5000, (texts, answer) => {
    texts.forEach(() => answer(failed()));
  });
  assert.equal(await made.job.run(), End.STOPPED);
  assert.equal(made.job.failure.status, 500);
  // The other request may record one more before it is cancelled.
  assert.ok(made.scores.failures.size <= 21, `${made.scores.failures.size}`);
  // The same if each failure is the last answer of its request.
  const single = await job(Array.from({ length: 50 }, () => "x".repeat(70_000)), (_, answer) => {
    answer(failed());
  });
  assert.equal(await single.job.run(), End.STOPPED);
  assert.ok(single.requests.length < 25);
});

test("a request that is refused stops the run at once", async () => {
  const made = await job(5000, () => {
    throw refused(401);
  });
  assert.equal(await made.job.run(), End.STOPPED);
  assert.equal(made.job.failure.status, 401);
  assert.ok(made.requests.length <= 2);
  assert.equal(made.scores.failures.size, 0);
});

test("a cancelled run keeps its scores and can be resumed", async () => {
  let isFirst = true;
  const made = await job(4000, async (texts, answer, signal) => {
    for (const text of texts) {
      if (signal.aborted) {
        throw new Failure(Kind.CANCELLED, "Cancelled", "");
      }
      answer();
      if (isFirst && text === "text 500") {
        made.job.cancel();
      }
    }
  });
  assert.equal(await made.job.run(), End.CANCELLED);
  const { scored } = made.scores;
  assert.ok(scored > 500 && scored < 4000, `${scored}`);
  assert.equal(made.answered.size, scored);
  isFirst = false;
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
});
