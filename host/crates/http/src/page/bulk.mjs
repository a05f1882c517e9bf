// Scores the rows of a source in bulk requests, and retries rows that were not answered.
//
// This module must not know the page, or the format of requests and answers.

import { Failure, Kind, pause, predictEach, retryDelay } from "./api.mjs";

/** Concurrent requests: while one starts or ends, the other keeps the server busy. */
const IN_FLIGHT = 2;

/**
 * The most rows of a request, and the most characters unless a single row has more. A
 * browser reads no answer before it has sent the whole request, so a request must not be
 * larger than what the server reads before its answers are read: about 1,000 texts or
 * 128 KiB of text, and a little more in the buffers of the connection.
 */
const MOST_ROWS = 1000;
const MOST_CHARACTERS = 64 * 1024;

/** How long to retry without any answer before the run stops, in milliseconds. */
const PATIENCE = 60_000;

/** The consecutive rows on which the server may fail before the run stops. */
const MOST_FAILED = 20;

/** How a run ended. */
export const End = Object.freeze({ DONE: "done", CANCELLED: "cancelled", STOPPED: "stopped" });

/** The scoring of a source. A run that ended early can be run again to do the rest. */
export class Job {
  /** Why the job is waiting to retry; empty if it is not. */
  notice = "";
  /** Why the run stopped. */
  failure;
  #source;
  #scores;
  #predictEach;
  #pause;
  #now;
  #failed = 0;
  #lastAnswer = 0;
  #controller;

  /** The last argument replaces the server and the clock in tests. */
  constructor(source, scores, { predict = predictEach, wait = pause, now = () => performance.now() } = {}) {
    this.#source = source;
    this.#scores = scores;
    this.#predictEach = predict;
    this.#pause = wait;
    this.#now = now;
  }

  /** Ends the run and its requests. Rows that were answered keep their scores. */
  cancel() {
    this.#controller?.abort();
  }

  /** Scores all rows that have neither scores nor a failure. */
  async run() {
    const controller = new AbortController();
    const { signal } = controller;
    this.#controller = controller;
    this.failure = undefined;
    this.#failed = 0;
    this.#lastAnswer = this.#now();
    const requests = this.#requests(signal);
    const work = async () => {
      for await (const rows of requests) {
        await this.#send(rows, signal);
      }
    };
    const stop = (error) => {
      // Once one request has failed or the run is cancelled, all others are cancelled.
      if (!signal.aborted) {
        this.failure =
          error instanceof Failure
            ? error
            : new Failure(Kind.FAILED, "The file cannot be read", String(error));
        controller.abort();
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, () => work().catch(stop)));
    this.notice = "";
    if (this.failure) {
      return End.STOPPED;
    }
    return signal.aborted ? End.CANCELLED : End.DONE;
  }

  /** The remaining rows as `{row, text}`, grouped into requests. */
  async *#requests(signal) {
    let rows = [];
    let characters = 0;
    let row = -1;
    for await (const records of this.#source.batches(signal)) {
      for (const record of records) {
        row += 1;
        if (this.#scores.has(row)) {
          continue;
        }
        const text = this.#source.textOf(record);
        if (typeof text !== "string") {
          this.#scores.fail(row, text);
          continue;
        }
        const isFull = rows.length === MOST_ROWS || characters + text.length > MOST_CHARACTERS;
        if (rows.length > 0 && isFull) {
          yield rows;
          [rows, characters] = [[], 0];
        }
        rows.push({ row, text });
        characters += text.length;
      }
    }
    if (rows.length > 0) {
      yield rows;
    }
  }

  /** Sends rows until each of them has scores or a failure that a retry would repeat. */
  async #send(rows, signal, attempt = 0) {
    const { left, failure } = await this.#sendOnce(rows, signal);
    if (failure && !failure.isTransient) {
      throw failure;
    }
    if (left.length === 0) {
      return;
    }
    if (this.#now() - this.#lastAnswer > PATIENCE) {
      throw failure;
    }
    const tries = left.length < rows.length ? 0 : attempt;
    const seconds = retryDelay(failure, tries);
    this.notice = `${failure.title}. Retrying in ${seconds} s …`;
    await this.#pause(seconds * 1000, signal);
    await this.#send(left, signal, tries + 1);
  }

  /** Sends rows once. Resolves with the rows that are left, and why they are. */
  async #sendOnce(rows, signal) {
    const again = [];
    let answered = 0;
    let failure;
    const onOutcome = (outcome) => {
      const row = rows[answered];
      answered += 1;
      if (outcome instanceof Failure && outcome.isTransient) {
        again.push(row);
        failure = outcome;
      } else {
        this.#record(row, outcome);
      }
    };
    try {
      await this.#predictEach(rows.map(({ text }) => text), onOutcome, signal);
    } catch (error) {
      if (error.status === 413 && rows.length === 1) {
        // A proxy may have a lower limit than the server, which refuses only the line.
        onOutcome(error);
      } else {
        failure = error;
      }
    }
    return { left: [...again, ...rows.slice(answered)], failure };
  }

  /** Records the outcome of a row. */
  #record({ row }, outcome) {
    this.notice = "";
    this.#lastAnswer = this.#now();
    if (!(outcome instanceof Failure)) {
      this.#scores.set(row, outcome);
      this.#failed = 0;
      return;
    }
    this.#scores.fail(row, outcome);
    this.#failed = outcome.kind === Kind.FAILED ? this.#failed + 1 : 0;
    if (this.#failed >= MOST_FAILED) {
      throw outcome;
    }
  }
}
