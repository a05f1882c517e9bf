// The formats of numbers, durations and sizes.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../crates/http/src/page/format.mjs";

test("only a share of 1 is shown as 100 %", () => {
  const shown = [0, 1e-9, 0.0013, 0.5, 0.9986909, 0.99999, 1].map(format.percent);
  assert.deepEqual(shown, ["0.0 %", "< 0.1 %", "0.1 %", "50.0 %", "99.9 %", "99.9 %", "100.0 %"]);
});

test("durations and sizes get a suitable unit", () => {
  assert.deepEqual([4.26, 12.4, 999, 12_345].map(format.milliseconds), [
    ...["4.3 ms", "12 ms", "999 ms", "12.3 s"],
  ]);
  assert.deepEqual([NaN, 0.4, 59.6, 61, 7260].map(format.remaining), [
    ...["not known yet", "less than 1 s", "1 min 0 s", "1 min 1 s", "2 h 1 min"],
  ]);
  assert.deepEqual([0, 999, 1500, 250_000, 3e9].map(format.size), [
    ...["0 bytes", "999 bytes", "1.5 kB", "250 kB", "3.0 GB"],
  ]);
  assert.equal(format.counted(1, "row"), "1 row");
  assert.equal(format.counted(1234, "row"), "1,234 rows");
});

test("the median of an even count is the mean of the middle two", () => {
  assert.equal(format.median([3]), 3);
  assert.equal(format.median([9, 1, 5]), 5);
  assert.equal(format.median([4, 1, 2, 9]), 3);
});
