// Scores the rows of a source: some requests at a time, each as large as the server
// answers in about a second. What fails is tried again, cut into halves, or named, so
// that no row costs another, and what has been scored is never asked for again.
//
// This module must not know the page or how the server is asked.

import { Failure, Kind, pause, secondsUntilNext } from "./api.mjs";

/** So many requests are under way: enough to keep the server busy, and fair to others. */
const IN_FLIGHT = 3;

/** A request has at most so many texts. */
const MOST_TEXTS = 256;

/** How much a request asks for, in characters, with some for each text. */
const WEIGHT = { least: 64, first: 2048, most: 65_536, text: 32 };

/** How long a request should take, in milliseconds. */
const TARGET = { least: 400, most: 1500 };

/** How long what may pass is waited for, in milliseconds, until a person is asked. */
const PATIENCE = 60_000;

/** The server itself has failed on so many rows in a row: it is not the rows. */
const FAILED_AT_ONCE = 20;

/** How a run has ended. */
export const End = Object.freeze({ DONE: "done", CANCELLED: "cancelled", STOPPED: "stopped" });

/** The work on a source. It can be run again, and then does what is left. */
export class Job {
  /** Texts of this run that were answered from what the server keeps. */
  hits = 0;
  /** What has answered, by the first digits of their digests. */
  guests = new Set();
  models = new Set();
  /** What is waited for, in words; none if nothing is. */
  notice = "";
  /** Why it was stopped. */
  failure;
  #source;
  #scores;
  #ask;
  #pause;
  #now;
  #weight = WEIGHT.first;
  #mostTexts = MOST_TEXTS;
  #failedAtOnce = 0;
  #lastAnswer = 0;
  #stop;

  /** `ask` takes texts and a signal, as `predict` does. */
  constructor(source, scores, ask, { wait = pause, now = () => performance.now() } = {}) {
    this.#source = source;
    this.#scores = scores;
    this.#ask = ask;
    this.#pause = wait;
    this.#now = now;
  }

  /** Ends the run; requests under way are given up. */
  cancel() {
    this.#stop?.abort();
  }

  /** Scores all rows that have no scores and have not failed. */
  async run() {
    const stop = new AbortController();
    this.#stop = stop;
    this.failure = undefined;
    this.#failedAtOnce = 0;
    this.#lastAnswer = this.#now();
    const underWay = new Set();
    const send = async (chunk) => {
      const sent = this.#send(chunk, stop.signal).catch((failure) => {
        if (failure.kind !== Kind.CANCELLED) {
          this.failure ??= failure;
        }
        stop.abort();
      });
      const tracked = sent.finally(() => underWay.delete(tracked));
      underWay.add(tracked);
      if (underWay.size >= IN_FLIGHT) {
        await Promise.race(underWay);
      }
    };
    try {
      for await (const chunk of this.#chunks(stop.signal)) {
        await send(chunk);
      }
    } catch (error) {
      if (!stop.signal.aborted) {
        this.failure ??= new Failure(Kind.FAILED, "The file can not be read", String(error));
      }
    }
    await Promise.all(underWay);
    this.notice = "";
    if (this.failure) {
      return End.STOPPED;
    }
    return stop.signal.aborted ? End.CANCELLED : End.DONE;
  }

  /** The rows that are left, in chunks of `{row, text}`. */
  async *#chunks(signal) {
    let chunk = [];
    let weight = 0;
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
        const more = text.length + WEIGHT.text;
        const isFull = weight + more > this.#weight || chunk.length >= this.#mostTexts;
        if (chunk.length > 0 && isFull) {
          yield chunk;
          if (signal.aborted) {
            return;
          }
          [chunk, weight] = [[], 0];
        }
        chunk.push({ row, text });
        weight += more;
      }
    }
    if (chunk.length > 0) {
      yield chunk;
    }
  }

  /** Scores the rows of a chunk, or notes why they have no scores. */
  async #send(chunk, signal) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        this.#note(chunk, await this.#ask(chunk.map(({ text }) => text), signal));
        return;
      } catch (failure) {
        if (!(failure instanceof Failure) || failure.kind === Kind.CANCELLED) {
          throw failure;
        }
        if (!failure.isPassing) {
          await this.#part(chunk, failure, signal);
          return;
        }
        if (this.#now() - this.#lastAnswer > PATIENCE) {
          throw failure;
        }
        const seconds = secondsUntilNext(failure, attempt);
        this.notice = `${failure.title}. Trying again in ${seconds} s …`;
        await this.#pause(seconds * 1000, signal);
      }
    }
  }

  #note(chunk, answer) {
    chunk.forEach(({ row }, at) => this.#scores.set(row, answer.predictions[at]));
    this.hits += answer.hits;
    this.guests.add(answer.guest);
    this.models.add(answer.model);
    this.notice = "";
    this.#failedAtOnce = 0;
    this.#lastAnswer = this.#now();
    if (answer.ms > TARGET.most) {
      this.#shrink();
    } else if (answer.ms < TARGET.least) {
      this.#weight = Math.min(WEIGHT.most, this.#weight * 2);
    }
  }

  #shrink() {
    this.#weight = Math.max(WEIGHT.least, this.#weight / 2);
  }

  /** A chunk that is refused as a whole: without the texts to blame, or in halves. */
  async #part(chunk, failure, signal) {
    const isAboutTexts = [400, 413, 422, 500, 504].includes(failure.status);
    if (!isAboutTexts) {
      throw failure;
    }
    this.#lastAnswer = this.#now();
    const blamed = new Set(failure.pointers.filter((at) => at < chunk.length));
    if (blamed.size > 0) {
      this.#failedAtOnce = 0;
      chunk.filter((_, at) => blamed.has(at)).forEach(({ row }) => this.#scores.fail(row, failure));
      const rest = chunk.filter((_, at) => !blamed.has(at));
      await (rest.length > 0 && this.#send(rest, signal));
      return;
    }
    if (chunk.length === 1) {
      this.#failedAtOnce += 1;
      if (failure.kind === Kind.FAILED && this.#failedAtOnce >= FAILED_AT_ONCE) {
        throw failure;
      }
      this.#scores.fail(chunk[0].row, failure);
      return;
    }
    if (failure.type === "too-many-texts") {
      this.#mostTexts = Math.ceil(chunk.length / 2);
    }
    this.#shrink();
    const middle = Math.ceil(chunk.length / 2);
    await this.#send(chunk.slice(0, middle), signal);
    await this.#send(chunk.slice(middle), signal);
  }
}
