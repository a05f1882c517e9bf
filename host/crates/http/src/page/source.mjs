// Reads a file of texts: guesses its format and the column with the texts, and streams
// its rows any number of times. Only one piece of the file is in memory at a time.
//
// This module must not know the page or predictions.

import { CsvParser, LineParser, sniffDelimiter } from "./csv.mjs";

/** The largest file, in bytes. */
const LARGEST = 1 << 30;

/** The first rows, which stay in memory for guesses and to be shown. */
const HEAD = 100;

/** The start of the file from which the format is guessed, in bytes. */
const SNIFFED = 1 << 16;

/** Usual names of columns with texts, the likeliest first. */
const LIKELY = `text texts review sentence comment tweet message content body review_text
  reviewtext review_body description feedback post title`.split(/\s+/);

const FORMATS = {
  csv: "CSV",
  tsv: "TSV",
  jsonl: "JSON Lines",
  text: "Text, one per line",
};

const ENDINGS = {
  csv: "csv",
  tsv: "tsv",
  tab: "tsv",
  jsonl: "jsonl",
  ndjson: "jsonl",
  txt: "text",
  text: "text",
};

/** A file or a row that cannot be read; the message says why, and what to use instead. */
export class Unreadable extends Error {}

/** Reads a file once to count its rows. `onProgress` gets the share read so far, up to 1. */
export async function open(file, { onProgress = () => {}, signal } = {}) {
  if (file.size > LARGEST) {
    throw new Unreadable(
      "A file may have at most 1 GiB. Use `fastsentiment predict --file` for larger ones.",
    );
  }
  const first = new Uint8Array(await file.slice(0, SNIFFED).arrayBuffer());
  let encoding = encodingOf(first);
  if (encoding === "utf-8" && first.includes(0)) {
    throw new Unreadable("This is not a text file. Save it as CSV, TSV, JSON Lines or plain text first.");
  }
  let quotes = true;
  const notes = [];
  for (;;) {
    const source = new Source(file, first, { encoding, quotes, notes });
    const outcome = await source.look(onProgress, signal);
    if (outcome === "encoding") {
      encoding = "windows-1252";
      notes.push("The file is not UTF-8, so it is read as Windows-1252.");
    } else if (outcome?.unclosed && quotes) {
      quotes = false;
      notes.push(
        `A quote in row ${outcome.unclosed} is never closed, so quotes are read like other characters.`,
      );
    } else {
      return source;
    }
  }
}

/** A source of lines, as if they were a file. */
export const openLines = (name, lines) => open(new File([lines.join("\n")], `${name}.txt`));

function encodingOf([first, second]) {
  if (first === 0xff && second === 0xfe) {
    return "utf-16le";
  }
  return first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
}

class Source {
  /** The columns or fields that may hold the texts. */
  columns = [];
  /** The index of the one that does. */
  column = 0;
  /** Whether the first row of CSV holds the names of the columns. */
  hasHeader = false;
  #file;
  #options;
  #format;
  #delimiter;
  #hasSepLine = false;
  #head = [];
  #records = 0;

  constructor(file, first, options) {
    this.#file = file;
    this.#options = options;
    const text = new TextDecoder(options.encoding).decode(first, { stream: true });
    this.#format = formatOf(file, text);
    if (this.#format === "json") {
      throw new Unreadable("This is a single JSON document. Use JSON Lines, with one document per line.");
    }
    // Some spreadsheets name the delimiter in a line of its own.
    const sep = this.isTable ? /^"?sep=([^\w\s"]|\t)"?(?:\r|\n|$)/i.exec(text) : null;
    this.#hasSepLine = sep !== null;
    this.#delimiter = sep?.[1] ?? (this.#format === "tsv" ? "\t" : sniffDelimiter(text));
  }

  get name() {
    return this.#file.name;
  }

  get size() {
    return this.#file.size;
  }

  get format() {
    return FORMATS[this.#format];
  }

  /** Notes for people on how the file is read. */
  get notes() {
    return this.#options.notes;
  }

  get isTable() {
    return this.#format === "csv" || this.#format === "tsv";
  }

  /** The number of rows. */
  get rows() {
    return this.#records - (this.isTable && this.hasHeader ? 1 : 0);
  }

  /** The names of all columns. */
  get names() {
    if (this.isTable) {
      const [first = []] = this.#head;
      return this.hasHeader
        ? first.map((name, at) => name || `column_${at + 1}`)
        : first.map((_, at) => (first.length === 1 ? "text" : `column_${at + 1}`));
    }
    return this.#format === "text" ? ["text"] : this.columns;
  }

  /** The first rows. */
  get head() {
    return this.isTable && this.hasHeader ? this.#head.slice(1) : this.#head;
  }

  /** The text in a row, or an `Unreadable` that is returned and not thrown. */
  textOf(record) {
    let value = record;
    if (this.isTable) {
      value = record[this.column];
    } else if (this.#format === "jsonl") {
      try {
        value = JSON.parse(record);
      } catch {
        return new Unreadable("The line is not JSON.");
      }
      value = isObject(value) ? value[this.columns[this.column]] : value;
    }
    const name = this.names[this.column];
    return typeof value === "string" ? value : new Unreadable(`The row has no text in “${name}”.`);
  }

  /** The fields of a row, in the order of `names`. */
  cells(record) {
    if (this.#format !== "jsonl") {
      return this.isTable ? record : [record];
    }
    const value = parsed(record) ?? record;
    const object = isObject(value) ? value : { [this.columns[this.column]]: value };
    const plain = (cell) => (typeof cell === "string" ? cell : JSON.stringify(cell));
    return this.columns.map((name) => (name in object ? plain(object[name]) : ""));
  }

  /** A row as the members of a JSON object, without the braces. */
  members(record) {
    const pair = (name, value) => `${JSON.stringify(name)}:${JSON.stringify(value)}`;
    if (this.#format !== "jsonl") {
      const cells = this.cells(record);
      return this.names.map((name, at) => pair(name, cells[at] ?? "")).join(",");
    }
    const line = record.trim().replace(/^\ufeff/, "");
    if (isObject(parsed(line))) {
      // Copied as it is, since its numbers may exceed JavaScript's precision.
      return line.slice(1, -1).trim();
    }
    return pair(this.columns[this.column], parsed(line) ?? line);
  }

  /** All rows, in batches. */
  async *batches(signal) {
    let skips = this.isTable && this.hasHeader ? 1 : 0;
    for await (const { records } of this.#read(signal)) {
      yield skips > 0 ? records.slice(skips) : records;
      skips = records.length > 0 ? 0 : skips;
    }
  }

  /** Counts the rows and keeps the first. Resolves with why it must be read differently, if so. */
  async look(onProgress, signal) {
    let parser;
    try {
      for await (const piece of this.#read(signal)) {
        this.#records += piece.records.length;
        this.#head.push(...piece.records.slice(0, Math.max(0, HEAD + 1 - this.#head.length)));
        parser = piece.parser;
        onProgress(piece.bytes / Math.max(1, this.size));
      }
    } catch (error) {
      if (error instanceof TypeError && this.#options.encoding === "utf-8") {
        return "encoding";
      }
      throw error;
    }
    if (parser?.unclosed) {
      return { unclosed: parser.unclosed };
    }
    this.#guess();
    return undefined;
  }

  #guess() {
    if (this.isTable) {
      const [first = []] = this.#head;
      this.hasHeader = looksLikeNames(first);
      this.columns = first;
    } else if (this.#format === "jsonl") {
      const objects = this.#head.map(parsed).filter(isObject);
      this.columns = [...new Set(objects.flatMap(Object.keys))];
      if (this.columns.length === 0) {
        this.columns = ["text"];
      }
    } else {
      this.columns = ["text"];
    }
    const names = this.names.map((name) => name.trim().toLowerCase());
    const likely = LIKELY.map((name) => names.indexOf(name)).filter((at) => at >= 0);
    this.column = likely[0] ?? this.#wordiest();
  }

  /** The column with the longest texts. */
  #wordiest() {
    const lengths = this.columns.map((_, at) => {
      this.column = at;
      const texts = this.head.map((record) => this.textOf(record));
      return texts.reduce((sum, text) => sum + (typeof text === "string" ? text.length : 0), 0);
    });
    return Math.max(0, lengths.indexOf(Math.max(...lengths)));
  }

  async *#read(signal) {
    const { encoding, quotes } = this.#options;
    const decoder = new TextDecoder(encoding, { fatal: encoding === "utf-8" });
    const parser = this.isTable
      ? new CsvParser(this.#delimiter, { quotes })
      : new LineParser({ keepsBlank: this.#format === "text" });
    const reader = this.#file.stream().getReader();
    let bytes = 0;
    let skips = this.#hasSepLine ? 1 : 0;
    const kept = (records) => {
      const rest = records.slice(skips);
      skips -= records.length - rest.length;
      return rest;
    };
    try {
      for (;;) {
        signal?.throwIfAborted();
        const { done, value } = await reader.read();
        if (done) {
          break;
        }
        bytes += value.length;
        const records = parser.push(decoder.decode(value, { stream: true }));
        yield { records: kept(records), bytes, parser };
      }
    } finally {
      reader.cancel().catch(() => {});
    }
    const last = [...parser.push(decoder.decode())];
    const unclosed = parser.unclosed;
    last.push(...parser.end());
    yield { records: kept(last), bytes, parser: { unclosed } };
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function formatOf(file, text) {
  const ending = /\.([a-z]+)$/i.exec(file.name)?.[1].toLowerCase() ?? "";
  const [line = ""] = text.split("\n").filter((each) => each.trim() !== "");
  const isJson = parsed(line) !== undefined;
  if (ending === "json") {
    return isObject(parsed(line)) ? "jsonl" : "json";
  }
  if (ENDINGS[ending]) {
    return ENDINGS[ending];
  }
  if (isJson && /^\s*[{"]/.test(line)) {
    return "jsonl";
  }
  return /csv|excel/.test(file.type) ? "csv" : "text";
}

/** Whether the first row looks like column names: short, all different, no numbers. */
function looksLikeNames(fields) {
  const names = fields.map((field) => field.trim().toLowerCase());
  const differ = new Set(names).size === names.length;
  const could = names.every((name) => name !== "" && name.length <= 40 && Number.isNaN(Number(name)));
  if (names.length === 1) {
    return could && /^[\p{L}\d_-]+$/u.test(names[0]);
  }
  return could && differ && names.length > 0;
}
