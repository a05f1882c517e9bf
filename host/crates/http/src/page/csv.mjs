// Parses chunked text into records of CSV (RFC 4180) or lines, and writes CSV.
//
// This module must not know files, columns or predictions.

const QUOTE = 0x22;
const LF = 0x0a;
const CR = 0x0d;

// The state of the parser: before a field, in an unquoted field, in quotes, or after a
// quote that either ends the field or is the first of an escaped pair.
const START = 0;
const PLAIN = 1;
const QUOTED = 2;
const CLOSED = 3;

/** Parses records of CSV: arrays of fields. Empty lines are skipped. */
export class CsvParser {
  #delimiter;
  #quotes;
  #state = START;
  #record = [];
  #field = "";
  #wasQuoted = false;
  #count = 0;

  /**
   * Fields end at `delimiter`; without one, each record has one field. With
   * `quotes: false`, quotes are ordinary characters.
   */
  constructor(delimiter, { quotes = true } = {}) {
    this.#delimiter = delimiter ? delimiter.charCodeAt(0) : -1;
    this.#quotes = quotes;
  }

  /** The records that end in the next piece of text. */
  push(text) {
    const records = [];
    let begin = 0;
    const endField = (at) => {
      this.#field += text.slice(begin, at);
      this.#record.push(this.#field);
      this.#field = "";
      this.#state = START;
      begin = at + 1;
    };
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (this.#state === QUOTED) {
        if (code === QUOTE) {
          this.#field += text.slice(begin, at);
          begin = at + 1;
          this.#state = CLOSED;
        }
      } else if (code === QUOTE && this.#state === CLOSED) {
        begin = at;
        this.#state = QUOTED;
      } else if (code === QUOTE && this.#state === START && this.#quotes) {
        begin = at + 1;
        this.#state = QUOTED;
        this.#wasQuoted = true;
      } else if (code === this.#delimiter) {
        endField(at);
      } else if (code === LF || code === CR) {
        endField(at);
        this.#endRecord(records);
      } else {
        this.#state = PLAIN;
      }
    }
    this.#field += text.slice(begin);
    return records;
  }

  /** The last record, if the text does not end with a line end. */
  end() {
    const records = [];
    this.#record.push(this.#field);
    this.#field = "";
    this.#endRecord(records);
    return records;
  }

  /** The number, from 1, of a record whose quote is still open; otherwise undefined. */
  get unclosed() {
    return this.#state === QUOTED ? this.#count + 1 : undefined;
  }

  /** A line end right after another one, such as the LF of CR LF, ends no record. */
  #endRecord(records) {
    const isEmpty = this.#record.length === 1 && this.#record[0] === "" && !this.#wasQuoted;
    if (!isEmpty) {
      records.push(this.#record);
      this.#count += 1;
    }
    this.#record = [];
    this.#wasQuoted = false;
  }
}

/** Parses lines, which end in LF or CR LF. */
export class LineParser {
  #rest = "";
  #keepsBlank;

  constructor({ keepsBlank }) {
    this.#keepsBlank = keepsBlank;
  }

  push(text) {
    const lines = text.split("\n");
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    return lines.map((line) => line.replace(/\r$/, "")).filter(this.#isKept, this);
  }

  end() {
    const last = this.#rest.replace(/\r$/, "");
    this.#rest = "";
    return last === "" ? [] : [last].filter(this.#isKept, this);
  }

  #isKept(line) {
    return this.#keepsBlank || line.trim() !== "";
  }
}

/** A record as a line of CSV. Fields are quoted where needed, and never changed. */
export function csvLine(fields) {
  // Without quotes this would be an empty line, which parsers skip.
  return fields.length === 1 && fields[0] === "" ? '""\n' : `${fields.map(csvField).join(",")}\n`;
}

function csvField(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Guesses the delimiter from the first part of a text: the one with which most records
 * have as many fields as the first. Undefined if the first record has only one field.
 */
export function sniffDelimiter(text) {
  let best = { delimiter: undefined, share: 0, width: 1 };
  for (const delimiter of [",", ";", "\t", "|"]) {
    const parser = new CsvParser(delimiter);
    const records = parser.push(text);
    // The record in which the text is cut off does not count.
    const all = records.length > 0 ? records : parser.end();
    const width = all[0]?.length ?? 1;
    const share = all.filter((record) => record.length === width).length / all.length;
    const isBetter = share > best.share || (share === best.share && width > best.width);
    if (width > 1 && isBetter) {
      best = { delimiter, share, width };
    }
  }
  return best.delimiter;
}
