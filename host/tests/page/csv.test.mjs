// CSV: parsed the same however the text is chunked, and written so that it can be read back.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CsvParser, LineParser, csvLine, sniffDelimiter } from "../../crates/http/src/page/csv.mjs";

/** Parses a text in pieces of `size` characters. */
function parse(parser, text, size = text.length || 1) {
  const records = [];
  for (let at = 0; at < text.length; at += size) {
    records.push(...parser.push(text.slice(at, at + size)));
  }
  const { unclosed } = parser;
  records.push(...parser.end());
  return { records, unclosed };
}

const CASES = [
  ["a,b\n1,2\n", [["a", "b"], ["1", "2"]]],
  ["a,b\r\n1,2", [["a", "b"], ["1", "2"]]],
  ["a\rb", [["a"], ["b"]]],
  ["\n\r\n  \n,\n", [["  "], ["", ""]]],
  ['"a ""b"", c",d', [['a "b", c', "d"]]],
  ['"one\r\ntwo\n\nthree",x\ny,z', [["one\r\ntwo\n\nthree", "x"], ["y", "z"]]],
  ['""\n"",""\n', [[""], ["", ""]]],
  ['a "b" c,d"\n', [['a "b" c', 'd"']]],
  ['"a"b,c', [["ab", "c"]]],
  ['"""",""""""', [['"', '""']]],
  ["é,😀\n", [["é", "😀"]]],
  ["a,\n", [["a", ""]]],
  ["", []],
];

test("records do not depend on how the text is chunked", () => {
  for (const [text, expected] of CASES) {
    for (const size of [1, 2, 3, 5, 1000]) {
      const { records, unclosed } = parse(new CsvParser(","), text, size);
      assert.deepEqual(records, expected, JSON.stringify({ text, size }));
      assert.equal(unclosed, undefined);
    }
  }
});

test("a quote that is never closed is reported", () => {
  const { records, unclosed } = parse(new CsvParser(","), 'a,b\n1,"2\n3,4\n', 2);
  assert.equal(unclosed, 2);
  assert.deepEqual(records[1], ["1", "2\n3,4\n"]);
  const plain = parse(new CsvParser(",", { quotes: false }), 'a,b\n1,"2\n3,4\n', 2);
  assert.deepEqual(plain.records, [["a", "b"], ["1", '"2'], ["3", "4"]]);
});

test("without a delimiter a record is one field", () => {
  const { records } = parse(new CsvParser(undefined), 'text\nwarm, funny\n"a\nb"\n', 3);
  assert.deepEqual(records, [["text"], ["warm, funny"], ["a\nb"]]);
});

test("written records can be read back", () => {
  const records = [
    ["a,b", 'say "no"', "one\ntwo", "\r", "", " x ", "=1+1", "-2", "é"],
    [""],
    ["", ""],
    ["plain"],
  ];
  const text = records.map(csvLine).join("");
  assert.deepEqual(parse(new CsvParser(","), text, 4).records, records);
  assert.equal(csvLine(["plain", "=1+1", 0.5]), "plain,=1+1,0.5\n");
});

test("lines end in LF or CR LF", () => {
  for (const size of [1, 2, 7, 100]) {
    const text = "one\r\n\n  \ntwo\nthree\r";
    assert.deepEqual(parse(new LineParser({ keepsBlank: true }), text, size).records, [
      ...["one", "", "  ", "two", "three"],
    ]);
    assert.deepEqual(parse(new LineParser({ keepsBlank: false }), text, size).records, [
      ...["one", "two", "three"],
    ]);
  }
});

test("the guessed delimiter gives most rows as many fields as the first", () => {
  for (const [text, expected] of [
    ["id,text\n1,a\n2,b\n", ","],
    ["id;text\n1;a, b\n2;c, d, e\n", ";"],
    ["id\ttext\n1\ta, b\n", "\t"],
    ["id|text\n1|a\n", "|"],
    ['text,id\n"a;b;c",1\n', ","],
    ["text\na, b\nc\n", undefined],
    ["text", undefined],
    ["", undefined],
    ["a,b", ","],
  ]) {
    assert.equal(sniffDelimiter(text), expected, JSON.stringify(text));
  }
});
