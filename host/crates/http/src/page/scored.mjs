// Stores the scores of a file's rows, and writes the file with them, in the columns and
// fields of `fastsentiment predict --file`.
//
// This module must not know the page or the server.

import { csvLine } from "./csv.mjs";

/** The approximate size of a piece of output, in characters. */
const PIECE = 1 << 20;

/** The prefix of new columns whose names are taken. */
const PREFIX = "predicted_";

/** The scores of rows, by row number from 0. Takes 8 bytes per row and label. */
export class Scores {
  /** All labels, in the order of their first appearance. */
  labels = [];
  /** The number of rows with scores. */
  scored = 0;
  /** Why other rows have none, by row number. */
  failures = new Map();
  #columns = new Map();
  /** For each row the number of its best label, from 1; 0 if it has no scores. */
  #best = new Uint16Array(1024);

  has(row) {
    return this.failures.has(row) || this.#best[row] > 0;
  }

  /** Stores the scores of a row, highest first. */
  set(row, scores) {
    if (row >= this.#best.length) {
      const grown = new Uint16Array(Math.max(row + 1, this.#best.length * 2));
      grown.set(this.#best);
      this.#best = grown;
    }
    for (const { label, score } of scores) {
      this.#column(label, row)[row] = score;
    }
    this.scored += this.#best[row] > 0 ? 0 : 1;
    this.failures.delete(row);
    this.#best[row] = scores.length > 0 ? this.labels.indexOf(scores[0].label) + 1 : 0;
  }

  fail(row, failure) {
    this.failures.set(row, failure);
  }

  /** The scores of a row, highest first, if it has any. */
  get(row) {
    const best = this.#best[row];
    if (!(best > 0)) {
      return undefined;
    }
    const scores = this.labels
      .map((label) => ({ label, score: this.#columns.get(label)[row] ?? NaN }))
      .filter(({ score }) => !Number.isNaN(score));
    const first = this.labels[best - 1];
    return scores.sort((a, b) => b.score - a.score || (b.label === first) - (a.label === first));
  }

  /** The number of rows for each best label. */
  counts() {
    const counts = new Map(this.labels.map((label) => [label, 0]));
    for (const best of this.#best) {
      if (best > 0) {
        counts.set(this.labels[best - 1], counts.get(this.labels[best - 1]) + 1);
      }
    }
    return counts;
  }

  #column(label, row) {
    let column = this.#columns.get(label);
    if (column === undefined) {
      this.labels.push(label);
      column = new Float64Array(this.#best.length).fill(NaN);
    } else if (row >= column.length) {
      const grown = new Float64Array(this.#best.length).fill(NaN);
      grown.set(column);
      column = grown;
    } else {
      return column;
    }
    this.#columns.set(label, column);
    return column;
  }
}

/**
 * The rows that have scores or a failure, in pieces of `csv` or `jsonl` text. What was in
 * a row is not changed.
 */
export async function* written(source, scores, kind) {
  const write = kind === "csv" ? csvWriter(source, scores) : jsonlWriter(source, scores);
  let piece = write.head;
  let row = 0;
  for await (const records of source.batches()) {
    for (const record of records) {
      if (scores.has(row)) {
        piece += write.row(record, scores.get(row), scores.failures.get(row));
      }
      row += 1;
      if (piece.length >= PIECE) {
        yield piece;
        piece = "";
      }
    }
  }
  yield piece;
}

function csvWriter(source, { labels, failures }) {
  const names = source.names;
  const hasErrors = failures.size > 0;
  let added = ["label", "score", ...labels.map((label) => `score_${label}`)];
  added.push(...(hasErrors ? ["error"] : []));
  while (added.some((name) => names.includes(name))) {
    added = added.map((name) => PREFIX + name);
  }
  return {
    head: csvLine([...names, ...added]),
    row(record, scores, failure) {
      const cells = source.cells(record);
      const own = names.map((_, at) => cells[at] ?? "");
      const byLabel = new Map((scores ?? []).map(({ label, score }) => [label, score]));
      const best = scores?.[0];
      const mine = [best?.label ?? "", best?.score ?? ""];
      mine.push(...labels.map((label) => byLabel.get(label) ?? ""));
      mine.push(...(hasErrors ? [failure?.message ?? ""] : []));
      // Fields beyond the columns come last, so that the new columns stay aligned.
      return csvLine([...own, ...mine, ...cells.slice(names.length)]);
    },
  };
}

function jsonlWriter(source, { labels }) {
  let name = "prediction";
  while (source.names.includes(name)) {
    name = PREFIX + name;
  }
  return {
    head: "",
    row(record, scores, failure) {
      const byLabel = new Map((scores ?? []).map(({ label, score }) => [label, score]));
      const all = labels.map((label) => [label, byLabel.get(label) ?? null]);
      const prediction = scores
        ? { label: scores[0].label, score: scores[0].score, scores: Object.fromEntries(all) }
        : { error: failure.message };
      const field = `${JSON.stringify(name)}:${JSON.stringify(prediction)}`;
      const members = source.members(record);
      return `{${members}${members && ","}${field}}\n`;
    },
  };
}
