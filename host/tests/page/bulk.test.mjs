// Jobs against a server that is busy, gone, strict or broken: no row costs another, and
// none is asked for twice.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";

import { Failure, Kind } from "../../crates/http/src/page/api.mjs";
import { End, Job } from "../../crates/http/src/page/bulk.mjs";
import { Scores } from "../../crates/http/src/page/scored.mjs";
import { open } from "../../crates/http/src/page/source.mjs";

const scoreOf = (text) => [{ label: "A", score: text.length }];
const answer = (texts, ms = 1) => ({
  predictions: texts.map(scoreOf),
  guest: "g",
  model: "m",
  hits: 0,
  ms,
});
const refusal = (status, about = {}) => {
  const kind = { 503: Kind.BUSY, 0: Kind.UNREACHABLE }[status];
  const other = status < 500 ? Kind.REFUSED : Kind.FAILED;
  return new Failure(kind ?? other, `Status ${status}`, "Why.", { status, ...about });
};

/** A job on so many rows, asked of `ask`, in which waiting takes no time. */
async function job(rows, ask) {
  const texts = Array.from({ length: rows }, (_, at) => `text ${at}`);
  const source = await open(new File([texts.join("\n")], "a.txt"));
  const scores = new Scores();
  const clock = { now: 0, waits: [] };
  const wait = async (milliseconds, signal) => {
    clock.now += milliseconds;
    clock.waits.push(milliseconds);
    signal.throwIfAborted();
  };
  const asked = new Map();
  const counted = async (given, signal) => {
    const answered = await ask(given, signal);
    given.forEach((text) => asked.set(text, (asked.get(text) ?? 0) + 1));
    return answered;
  };
  const made = new Job(source, scores, counted, { wait, now: () => clock.now });
  return { job: made, scores, clock, asked, texts };
}

function assertAll({ scores, texts, asked }, besides = []) {
  texts.forEach((text, row) => {
    if (!besides.includes(row)) {
      assert.deepEqual(scores.get(row), scoreOf(text), text);
      assert.equal(asked.get(text), 1, text);
    }
  });
}

test("every row is asked for once, some requests at a time", async () => {
  let underWay = 0;
  let most = 0;
  let largest = 0;
  const made = await job(5000, async (texts) => {
    underWay += 1;
    most = Math.max(most, underWay);
    largest = Math.max(largest, texts.length);
    await new Promise((resolve) => setTimeout(resolve, 1));
    underWay -= 1;
    return answer(texts);
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.equal(most, 3);
  assert.equal(largest, 256);
});

test("requests become smaller where answers take long", async () => {
  const sizes = [];
  const made = await job(1000, async (texts) => {
    sizes.push(texts.length);
    return answer(texts, 5000);
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.ok(sizes.at(-1) < sizes[0] / 4, `${sizes}`);
});

test("a server that is busy or away is waited for", async () => {
  const failures = [refusal(503, { retryAfter: 7 }), refusal(0), refusal(503)];
  const made = await job(100, async (texts) => {
    const failure = failures.shift();
    if (failure) {
      throw failure;
    }
    return answer(texts);
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.equal(made.scores.failures.size, 0);
  assert.ok(made.clock.waits.includes(7000));
});

test("a server that stays away stops the run, which goes on later", async () => {
  let left = 2;
  let isAway = true;
  const made = await job(1000, async (texts) => {
    left -= 1;
    if (isAway && left < 0) {
      throw refusal(0);
    }
    return answer(texts);
  });
  assert.equal(await made.job.run(), End.STOPPED);
  assert.equal(made.job.failure.kind, Kind.UNREACHABLE);
  assert.ok(made.scores.scored > 0 && made.scores.scored < 1000);
  isAway = false;
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
});

test("the text that is to blame costs no other", async () => {
  const made = await job(300, async (texts) => {
    const at = texts.findIndex((text) => text === "text 17" || text === "text 18");
    if (at >= 0) {
      throw refusal(422, { type: "text-too-long", pointers: [at] });
    }
    return answer(texts);
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made, [17, 18]);
  assert.deepEqual([...made.scores.failures.keys()].sort(), [17, 18]);
});

test("without a name the text that fails is found in halves", async () => {
  for (const status of [400, 413, 422, 500, 504]) {
    const made = await job(300, async (texts) => {
      if (texts.includes("text 123")) {
        throw refusal(status);
      }
      return answer(texts);
    });
    assert.equal(await made.job.run(), End.DONE);
    assertAll(made, [123]);
    assert.deepEqual([...made.scores.failures.keys()], [123]);
  }
});

test("a server that takes few texts gets few", async () => {
  const sizes = [];
  const made = await job(200, async (texts) => {
    if (texts.length > 4) {
      throw refusal(422, { type: "too-many-texts" });
    }
    sizes.push(texts.length);
    return answer(texts);
  });
  assert.equal(await made.job.run(), End.DONE);
  assertAll(made);
  assert.ok(sizes.slice(-5).every((size) => size <= 4));
});

test("a server that fails at everything is not asked for every row", async () => {
  let requests = 0;
  const made = await job(5000, async () => {
    requests += 1;
    throw refusal(500);
  });
  assert.equal(await made.job.run(), End.STOPPED);
  assert.ok(requests < 200, `${requests}`);
  assert.equal(made.job.failure.status, 500);
});

test("what has nothing to do with texts stops at once", async () => {
  let requests = 0;
  const made = await job(5000, async () => {
    requests += 1;
    throw refusal(401);
  });
  assert.equal(await made.job.run(), End.STOPPED);
  assert.ok(requests <= 3);
  assert.equal(made.scores.failures.size, 0);
});

test("a run that is cancelled keeps what it has, and can go on", async () => {
  const made = await job(2000, async (texts, signal) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (signal.aborted) {
      throw new Failure(Kind.CANCELLED, "Cancelled", "");
    }
    if (texts.includes("text 500")) {
      made.job.cancel();
    }
    return answer(texts);
  });
  assert.equal(await made.job.run(), End.CANCELLED);
  const { scored } = made.scores;
  assert.ok(scored > 0 && scored < 2000, `${scored}`);
  const asked = made.asked.size;
  assert.equal(asked, scored);
});
