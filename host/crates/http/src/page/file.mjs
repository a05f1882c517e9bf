// The panel of a file: its setup, the progress of its scoring, the results and the
// downloads.
//
// This module must not know typed texts.

import { Kind } from "./api.mjs";
import { End, Job } from "./bulk.mjs";
import { $, announce, chip, countBars, h } from "./dom.mjs";
import { count, counted, percent, remaining, size } from "./format.mjs";
import { Scores, written } from "./scored.mjs";
import { open } from "./source.mjs";

/** The rows in the table of results. */
const SHOWN = 50;

/** The texts that are shown before a run. */
const SAMPLE = 3;

/** The time between updates of the progress, in milliseconds. */
const TICK = 250;

/** The rate is the mean of the last seconds. */
const RATE_WINDOW = 5;

/** The panel of the file that was chosen last. */
export class FilePanel {
  #source;
  #scores;
  #job;
  #isRunning = false;
  #liveVersion;
  /** What was live when a run began or ended, by short digest. */
  #guests = new Set();
  #models = new Set();
  #reading = new AbortController();
  /** Recent times in seconds, each with the rows that were done by then. */
  #marks = [];
  /** The last quarter that screen readers have announced. */
  #quarter = 0;

  /** `liveVersion` resolves with the short digests `{guest, model}` that are live. */
  constructor(liveVersion) {
    this.#liveVersion = liveVersion;
    $("file-setup").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    $("column").addEventListener("change", ({ target }) => {
      this.#source.column = Number(target.value);
      this.#showSetup();
    });
    $("has-header").addEventListener("change", ({ target }) => {
      this.#source.hasHeader = target.checked;
      this.#showSetup();
    });
    $("file-cancel").addEventListener("click", () => this.#job.cancel());
    $("file-resume").addEventListener("click", () => this.#resume());
    $("file-close").addEventListener("click", () => this.#close());
    for (const kind of ["csv", "jsonl"]) {
      $(`download-${kind}`).addEventListener("click", () => this.#download(kind));
    }
  }

  /** Opens and shows a file. */
  choose(file) {
    const signal = this.#begin(file.name);
    const onProgress = (share) => {
      $("file-about").textContent = `Reading … ${percent(share)}`;
    };
    return this.show(open(file, { onProgress, signal }), { signal });
  }

  /** Shows a source once it is open, and scores it at once if `starts`. */
  async show(opening, { starts = false, signal = this.#begin("Your texts") } = {}) {
    try {
      const source = await opening;
      if (signal.aborted) {
        return;
      }
      this.#source = source;
      this.#scores = new Scores();
      this.#guests.clear();
      this.#models.clear();
      const { name, format, rows } = source;
      $("file-name").textContent = name;
      $("file-notes").hidden = source.notes.length === 0;
      $("file-notes").replaceChildren(...source.notes.map((note) => h("li", {}, note)));
      this.#showSetup();
      if (rows === 0) {
        this.#problem("There is nothing to score", "The file has no rows.");
      } else if (starts) {
        await this.#start();
      } else {
        announce(`${name}: ${format}, ${counted(rows, "row")}.`);
      }
    } catch (error) {
      if (!signal.aborted) {
        $("file-about").textContent = "";
        this.#problem("The file cannot be read", error.message);
      }
    }
  }

  #begin(name) {
    this.#stop();
    this.#reading = new AbortController();
    for (const id of ["file-setup", "file-run", "file-results", "file-problem", "file-notes"]) {
      $(id).hidden = true;
    }
    $("file-name").textContent = name;
    $("file-about").textContent = "Reading …";
    $("file").hidden = false;
    $("file-name").focus();
    return this.#reading.signal;
  }

  #stop() {
    this.#reading.abort();
    this.#job?.cancel();
    this.#job = undefined;
    this.#isRunning = false;
  }

  #close() {
    this.#stop();
    $("file").hidden = true;
    $("file-input").focus();
  }

  #problem(title, detail) {
    $("file-problem").hidden = false;
    $("file-problem").replaceChildren(h("strong", {}, `${title}.`), " ", detail);
    announce(`${title}. ${detail}`);
  }

  #showSetup() {
    const source = this.#source;
    const { names, rows } = source;
    const parts = [source.format, size(source.size), counted(rows, "row")];
    $("file-about").textContent = parts.join(" · ");
    $("column-field").hidden = names.length < 2;
    $("header-field").hidden = !source.isTable;
    $("has-header").checked = source.hasHeader;
    $("column").replaceChildren(
      ...names.map((name, at) => h("option", { value: String(at), selected: at === source.column }, name)),
    );
    const texts = source.head.slice(0, SAMPLE).map((record) => source.textOf(record));
    $("sample").replaceChildren(
      ...texts.map((text) =>
        typeof text === "string" ? h("li", {}, text) : h("li", { class: "muted" }, text.message),
      ),
    );
    $("file-start").textContent = `Score ${counted(rows, "row")}`;
    $("file-setup").hidden = rows === 0;
  }

  async #start() {
    this.#job = new Job(this.#source, this.#scores);
    $("file-setup").hidden = true;
    await this.#run();
  }

  /** Scores the remaining rows, and again those on which the server failed. */
  async #resume() {
    for (const [row, { kind }] of [...this.#scores.failures]) {
      if (kind === Kind.FAILED) {
        this.#scores.failures.delete(row);
      }
    }
    await this.#run();
  }

  async #run() {
    const job = this.#job;
    for (const id of ["file-problem", "file-resume", "file-results"]) {
      $(id).hidden = true;
    }
    $("file-run").hidden = false;
    $("progress-label").textContent = "Scoring";
    $("file-cancel").hidden = false;
    $("file-cancel").focus();
    $("progress").max = this.#source.rows;
    this.#marks = [];
    this.#quarter = 0;
    announce(`Scoring ${counted(this.#source.rows, "row")}.`);
    // Another file may be chosen during the run.
    const timer = setInterval(() => job === this.#job && this.#showProgress(), TICK);
    const stay = (event) => event.preventDefault();
    window.addEventListener("beforeunload", stay);
    this.#isRunning = true;
    this.#showProgress();
    this.#noteVersion(job);
    const end = await job.run();
    clearInterval(timer);
    window.removeEventListener("beforeunload", stay);
    if (job === this.#job) {
      this.#isRunning = false;
      this.#showProgress();
      this.#finish(end);
      this.#noteVersion(job);
    }
  }

  /** Bulk answers do not name versions, so a run asks for them before and after. */
  async #noteVersion(job) {
    const live = await this.#liveVersion();
    if (live && job === this.#job) {
      this.#guests.add(live.guest);
      this.#models.add(live.model);
      if (!this.#isRunning) {
        this.#showTotals();
      }
    }
  }

  get #done() {
    return this.#scores.scored + this.#scores.failures.size;
  }

  #showProgress() {
    const total = this.#source.rows;
    const done = this.#done;
    const now = performance.now() / 1000;
    this.#marks.push([now, done]);
    while (this.#marks.length > 2 && now - this.#marks[0][0] > RATE_WINDOW) {
      this.#marks.shift();
    }
    const [[since, before]] = this.#marks;
    const rate = now > since ? (done - before) / (now - since) : 0;
    const { failures } = this.#scores;
    $("progress").value = done;
    $("progress-share").textContent = `${count(done)} of ${count(total)} · ${percent(done / total)}`;
    this.#numbers([
      ["Rate", rate > 0 ? `${count(rate)} rows/s` : "–"],
      ["Remaining", remaining(rate > 0 ? (total - done) / rate : NaN)],
      ...(failures.size > 0 ? [["Without scores", count(failures.size)]] : []),
    ]);
    $("file-notice").textContent = this.#job.notice;
    $("file-notice").hidden = this.#job.notice === "";
    const quarter = Math.floor((4 * done) / total);
    if (quarter > this.#quarter && quarter < 4) {
      this.#quarter = quarter;
      announce(`${quarter * 25} percent done.`);
    }
  }

  #numbers(pairs) {
    const items = pairs.map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, ...[value].flat())),
    );
    $("numbers").replaceChildren(...items);
  }

  #showTotals() {
    this.#numbers([
      ["Without scores", count(this.#scores.failures.size)],
      ["Guest", codes(this.#guests)],
      ["Model", codes(this.#models)],
    ]);
  }

  #finish(end) {
    const { failures, scored } = this.#scores;
    const total = this.#source.rows;
    const isDone = end === End.DONE;
    $("progress-label").textContent = { done: "Scored", cancelled: "Cancelled" }[end] ?? "Stopped";
    $("file-notice").hidden = true;
    this.#showTotals();
    const hasRetryable = [...failures.values()].some(({ kind }) => kind === Kind.FAILED);
    $("file-cancel").hidden = true;
    $("file-resume").hidden = isDone && !hasRetryable;
    $("file-resume").textContent = isDone ? "Try failed rows again" : "Go on";
    if (end === End.STOPPED) {
      const { title, detail } = this.#job.failure;
      this.#problem(title, `${detail} The rows scored so far are kept.`);
    } else {
      const rest = failures.size > 0 ? `, ${count(failures.size)} without scores` : "";
      announce(`${count(scored)} of ${counted(total, "row")} scored${rest}.`);
    }
    this.#showResults(isDone);
    ($("file-resume").hidden || isDone ? $("download-csv") : $("file-resume")).focus();
  }

  #showResults(isDone) {
    const { scored, failures } = this.#scores;
    $("file-results").hidden = this.#done === 0;
    $("download-csv").classList.toggle("primary", isDone);
    const rows = isDone ? "" : `only the ${counted(this.#done, "row")} done so far`;
    $("download-note").textContent = rows;
    $("counts").replaceChildren(...countBars(this.#scores.counts(), Math.max(1, scored)));
    const shown = this.#source.head.slice(0, SHOWN).map((record, row) => {
      const text = this.#source.textOf(record);
      const best = this.#scores.get(row)?.[0];
      const failure = failures.get(row);
      const words = typeof text === "string" ? text : "";
      const outcome = best
        ? [h("td", {}, chip(best)), h("td", { class: "number" }, h("data", { value: String(best.score) }, percent(best.score)))]
        : [h("td", { colspan: "2", class: "muted" }, failure ? failure.message : "not scored")];
      return h("tr", {}, h("td", { class: "number" }, count(row + 1)), h("td", { class: "cut" }, h("div", {}, words)), ...outcome);
    });
    $("rows").replaceChildren(...shown);
    $("rows-caption").textContent =
      this.#source.rows > shown.length ? `The first ${shown.length} rows` : "All rows";
  }

  async #download(kind) {
    const button = $(`download-${kind}`);
    if (button.getAttribute("aria-disabled") === "true") {
      return;
    }
    button.setAttribute("aria-disabled", "true");
    try {
      const type = kind === "csv" ? "text/csv" : "application/x-ndjson";
      let file = new Blob([], { type });
      for await (const piece of written(this.#source, this.#scores, kind)) {
        file = new Blob([file, piece], { type });
      }
      const url = URL.createObjectURL(file);
      const name = `${this.#source.name.replace(/\.[^.]*$/, "")}.scored.${kind}`;
      h("a", { href: url, download: name }).click();
      // By then the browser has started to read it.
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      announce(`${name} is ready.`);
    } catch (error) {
      this.#problem("The file cannot be written", String(error.message ?? error));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

const codes = (names) => [...names].flatMap((name, at) => [at > 0 ? " " : "", h("code", {}, name)]);
