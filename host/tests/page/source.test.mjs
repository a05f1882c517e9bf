// Files: their format, their encoding, the column with the texts, and the rows.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";

import { Unreadable, open } from "../../crates/http/src/page/source.mjs";

async function opened(name, content) {
  const source = await open(new File([content], name));
  const texts = [];
  for await (const records of source.batches()) {
    texts.push(...records.map((record) => source.textOf(record)));
  }
  return { source, texts };
}

test("the column is guessed from its name, or else from the length of its texts", async () => {
  for (const [content, column, texts] of [
    ["id,Review\n1,good\n2,bad\n", 1, ["good", "bad"]],
    ["review,text\na,b\n", 1, ["b"]],
    ["id,words\n1,a long one\n", 1, ["a long one"]],
    ["1,a long one\n2,another\n", 1, ["a long one", "another"]],
    ["text\nwarm, funny\n", 0, ["warm, funny"]],
    ["", 0, []],
    ["\ufefftext,x\na,1\n", 0, ["a"]],
  ]) {
    const { source, texts: found } = await opened("a.csv", content);
    assert.equal(source.column, column, content);
    assert.deepEqual(found, texts, content);
    assert.equal(source.rows, texts.length, content);
  }
});

test("the format is guessed from the extension, or else from the content", async () => {
  for (const [name, content, format, texts] of [
    ["a.tsv", "id\ttext\n1\ta, b\n", "TSV", ["a, b"]],
    ["a.jsonl", '{"id": 1, "text": "a"}\n\n"b"\n', "JSON Lines", ["a", "b"]],
    ["a.json", '{"text": "a"}\n{"text": "b"}\n', "JSON Lines", ["a", "b"]],
    ["a", '{"text": "a"}\n', "JSON Lines", ["a"]],
    ["a.txt", "a\n\nb, c\r\n", "Text, one per line", ["a", "", "b, c"]],
    ["a.log", "a", "Text, one per line", ["a"]],
    ["a.csv", "", "CSV", []],
  ]) {
    const { source, texts: found } = await opened(name, content);
    assert.equal(source.format, format, name);
    assert.deepEqual(found, texts, name);
  }
});

test("rows without a text say so", async () => {
  const csv = await opened("a.csv", "id,text\n1\n2,b\n");
  assert.match(csv.texts[0].message, /no text in “text”/);
  assert.equal(csv.texts[1], "b");
  const lines = await opened("a.jsonl", '{"text": "a"}\n{"text": 1}\n{}\nnothing\n');
  assert.equal(lines.texts[0], "a");
  assert.match(lines.texts[1].message, /no text in “text”/);
  assert.match(lines.texts[2].message, /no text/);
  assert.match(lines.texts[3].message, /not JSON/);
});

test("the encoding is detected, also one other than UTF-8", async () => {
  const utf16 = Buffer.from("\ufefftext,x\né,1\n", "utf16le");
  assert.deepEqual((await opened("a.csv", utf16)).texts, ["é"]);
  const latin = Buffer.from("text,x\né,1\n", "latin1");
  const { source, texts } = await opened("a.csv", latin);
  assert.deepEqual(texts, ["é"]);
  assert.match(source.notes[0], /Windows-1252/);
  // A character of three bytes crosses the end of the part that is read for guesses.
  const long = `text\n${"x".repeat(65_530)}\n€€€\n`;
  assert.equal((await opened("a.csv", long)).texts[1], "€€€");
});

test("a quote that is never closed is an ordinary character", async () => {
  const { source, texts } = await opened("a.tsv", 'text\tid\n"a\t1\nb\t2\n');
  assert.deepEqual(texts, ['"a', "b"]);
  assert.match(source.notes[0], /row 2/);
});

test("a file that is not text is refused with a reason", async () => {
  for (const [name, content, words] of [
    ["a.xlsx", Buffer.from("PK\x03\x04\0\0"), /not a text file/],
    ["a.json", '[{"text": "a"}]', /JSON Lines/],
    ["a.json", '{\n  "text": "a"\n}', /JSON Lines/],
  ]) {
    await assert.rejects(open(new File([content], name)), (error) => {
      assert.ok(error instanceof Unreadable);
      assert.match(error.message, words);
      return true;
    });
  }
});

test("a large file is read in pieces", async () => {
  const rows = Array.from({ length: 100_000 }, (_, at) => `${at},"row ${at}, the ""quoted"""\n`);
  const source = await open(new File(["id,text\n", ...rows], "a.csv"));
  assert.equal(source.rows, 100_000);
  let seen = 0;
  let pieces = 0;
  for await (const records of source.batches()) {
    pieces += 1;
    for (const record of records) {
      assert.equal(source.textOf(record), `row ${seen}, the "quoted"`);
      seen += 1;
    }
  }
  assert.equal(seen, 100_000);
  assert.ok(pieces > 10, `${pieces} pieces`);
});
