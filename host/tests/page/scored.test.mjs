// Scored files: the original rows are unchanged, and the new columns and fields are right.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";

import { Scores, written } from "../../crates/http/src/page/scored.mjs";
import { open } from "../../crates/http/src/page/source.mjs";

const GOOD = [
  { label: "POSITIVE", score: 0.9986909 },
  { label: "NEGATIVE", score: 0.0013091193 },
];
const BAD = [
  { label: "NEGATIVE", score: 1 },
  { label: "POSITIVE", score: 1e-7 },
];

async function scored(name, content, kind, outcomes) {
  const source = await open(new File([content], name));
  const scores = new Scores();
  outcomes.forEach((outcome, row) => {
    if (outcome instanceof Error) {
      scores.fail(row, outcome);
    } else if (outcome) {
      scores.set(row, outcome);
    }
  });
  let text = "";
  for await (const piece of written(source, scores, kind)) {
    text += piece;
  }
  return text;
}

test("CSV gets new columns", async () => {
  const text = 'id,text\n1,"a, ""b"""\n2,=1+1\n3,"c\nd"\n';
  assert.equal(
    await scored("a.csv", text, "csv", [GOOD, BAD, GOOD]),
    "id,text,label,score,score_POSITIVE,score_NEGATIVE\n" +
      '1,"a, ""b""",POSITIVE,0.9986909,0.9986909,0.0013091193\n' +
      "2,=1+1,NEGATIVE,1,1e-7,1\n" +
      '3,"c\nd",POSITIVE,0.9986909,0.9986909,0.0013091193\n',
  );
});

test("new columns get a prefix if their names are taken", async () => {
  const text = await scored("a.csv", "text,label\na,0\n", "csv", [GOOD]);
  assert.match(text, /^text,label,predicted_label,predicted_score,predicted_score_POSITIVE,/);
});

test("rows that are too short or too long keep their fields, and columns stay aligned", async () => {
  const failure = new Error("Too few");
  const text = await scored("a.csv", "id,text\n1\n2,b,x,y\n", "csv", [failure, GOOD]);
  assert.equal(
    text,
    "id,text,label,score,score_POSITIVE,score_NEGATIVE,error\n" +
      "1,,,,,,Too few\n" +
      "2,b,POSITIVE,0.9986909,0.9986909,0.0013091193,,x,y\n",
  );
});

test("rows without an outcome are left out", async () => {
  const text = await scored("a.txt", "a\nb\nc\n", "csv", [GOOD, undefined, BAD]);
  assert.deepEqual(
    text.split("\n").map((line) => line.split(",")[0]),
    ["text", "a", "c", ""],
  );
});

test("JSON is copied byte for byte", async () => {
  const lines = '{"id": 12345678901234567890, "text": "a" }\n"b"\n';
  const prediction = '{"label":"POSITIVE","score":0.9986909,"scores":{"POSITIVE":0.9986909,"NEGATIVE":0.0013091193}}';
  assert.equal(
    await scored("a.jsonl", lines, "jsonl", [GOOD, GOOD]),
    `{"id": 12345678901234567890, "text": "a","prediction":${prediction}}\n` +
      `{"id":"b","prediction":${prediction}}\n`.replace('"id"', '"text"'),
  );
});

test("CSV can be written as JSON Lines, and JSON Lines as CSV", async () => {
  const json = await scored("a.csv", "id,text\n1,a\n", "jsonl", [GOOD]);
  const { prediction, ...rest } = JSON.parse(json);
  assert.deepEqual(rest, { id: "1", text: "a" });
  assert.equal(prediction.scores.NEGATIVE, 0.0013091193);
  const csv = await scored("a.jsonl", '{"text": "a", "n": [1, 2]}\n{"text": "b"}\n', "csv", [GOOD, BAD]);
  assert.match(csv, /^text,n,label,/);
  assert.match(csv, /\na,"\[1,2\]",POSITIVE,/);
  assert.match(csv, /\nb,,NEGATIVE,/);
});

test("the scores of many rows are stored, also of labels that appear late", () => {
  const scores = new Scores();
  for (let row = 0; row < 5000; row += 1) {
    scores.set(row, row < 3000 ? GOOD : [{ label: "OTHER", score: row }]);
  }
  assert.deepEqual(scores.get(10), GOOD);
  assert.deepEqual(scores.get(4999), [{ label: "OTHER", score: 4999 }]);
  assert.equal(scores.get(5000), undefined);
  assert.equal(scores.scored, 5000);
  assert.deepEqual([...scores.counts()], [["POSITIVE", 3000], ["NEGATIVE", 0], ["OTHER", 2000]]);
});
