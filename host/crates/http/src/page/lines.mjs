// Scores typed texts, with one request and one result per text.
//
// This module must not know files.

import { Failure, Kind, pause, predict, retryDelay } from "./api.mjs";
import { $, announce, h, scoreBars } from "./dom.mjs";
import { counted, median, milliseconds } from "./format.mjs";

/** Concurrent requests. With more, the times shown would include waiting for each other. */
const IN_FLIGHT = 2;

/** The attempts per text while the server is busy or cannot be reached. */
const TRIES = 4;

/** Longer texts are collapsed, in characters. */
const LONG = 400;

/** The results of the last texts. */
export class Lines {
  #items = [];
  #stop = new AbortController();
  #onAnswer;

  /** `onAnswer` is called with every answer. */
  constructor(onAnswer) {
    this.#onAnswer = onAnswer;
    $("retry").addEventListener("click", () => this.#finish());
  }

  /** Replaces the results with those of new texts. */
  async run(texts) {
    this.#stop.abort();
    this.#items = texts.map((text) => ({ text, element: placeholder(text) }));
    $("empty").hidden = true;
    $("results").replaceChildren(...this.#items.map(({ element }) => element));
    // On a phone the results are below the form.
    const heading = $("results-heading").getBoundingClientRect();
    if (heading.bottom > window.innerHeight || heading.top < 0) {
      $("results-heading").scrollIntoView();
    }
    await this.#finish();
  }

  /** Scores all texts that have no scores yet. */
  async #finish() {
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    const items = this.#items;
    const left = items.filter(({ answer }) => answer === undefined);
    // Hiding the focused button would lose the focus.
    if (document.activeElement === $("retry")) {
      $("results-heading").tabIndex = -1;
      $("results-heading").focus();
    }
    $("retry").hidden = true;
    $("results").setAttribute("aria-busy", "true");
    this.#summarise();
    announce(`Scoring ${counted(left.length, "text")}.`);
    const queue = left.values();
    const work = async () => {
      for (const item of queue) {
        await this.#ask(item, signal);
        this.#summarise();
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, work));
    if (!signal.aborted) {
      $("results").removeAttribute("aria-busy");
      announce(`${this.#summarise()} ${spoken(items)}`);
    }
  }

  async #ask(item, signal) {
    for (let attempt = 0; ; attempt += 1) {
      item.failure = undefined;
      show(item, waiting("Scoring …"));
      try {
        item.answer = await predict([item.text], signal);
        show(item, answered(item.answer));
        this.#onAnswer(item.answer);
        return;
      } catch (error) {
        const failure = error instanceof Failure ? error : unknown(error);
        if (failure.kind === Kind.CANCELLED) {
          return;
        }
        if (!failure.isTransient || attempt + 1 === TRIES) {
          item.failure = failure;
          show(item, failed(failure));
          return;
        }
        const seconds = retryDelay(failure, attempt);
        show(item, waiting(`${failure.title}. Retrying in ${seconds} s …`));
        await pause(seconds * 1000, signal).catch(() => {});
        if (signal.aborted) {
          return;
        }
      }
    }
  }

  /** Shows the totals in one line, and returns them. */
  #summarise() {
    const answers = this.#items.map(({ answer }) => answer).filter((answer) => answer);
    const failures = this.#items.map(({ failure }) => failure).filter((failure) => failure);
    const failed = failures.length;
    const hits = answers.filter((answer) => answer.hits > 0).length;
    const parts = [counted(this.#items.length, "text")];
    if (answers.length > 0) {
      parts.push(`median ${milliseconds(median(answers.map(({ ms }) => ms)))}`);
      parts.push(`${hits} from the cache`);
    }
    parts.push(...(failed > 0 ? [`${failed} without scores`] : []));
    $("results-summary").textContent = parts.join(" · ");
    $("retry").hidden = failures.every(({ kind }) => kind === Kind.REFUSED);
    return `${parts.join(", ")}.`;
  }
}

function placeholder(text) {
  const element = h("li", { class: "result" });
  const words = h("p", { class: "text" }, text);
  element.append(words);
  if (text.length > LONG) {
    const toggle = h("button", { type: "button", class: "quiet", "aria-expanded": "false" });
    toggle.textContent = "Show the whole text";
    words.classList.add("long", "folded");
    toggle.addEventListener("click", () => {
      const isFolded = words.classList.toggle("folded");
      toggle.setAttribute("aria-expanded", String(!isFolded));
      toggle.textContent = isFolded ? "Show the whole text" : "Show less";
    });
    element.append(toggle);
  }
  element.append(h("div", { class: "body" }));
  return element;
}

function show({ element }, parts) {
  element.querySelector(".body").replaceChildren(...parts);
}

const waiting = (words) => [h("p", { class: "waiting" }, words)];

function answered({ predictions, ms, hits, guest, model }) {
  const isHit = hits > 0;
  const fact = (...children) => h("li", {}, ...children);
  return [
    h("div", { class: "scores" }, ...scoreBars(predictions[0])),
    h(
      "ul",
      { class: "facts" },
      fact(h("strong", {}, milliseconds(ms))),
      h("li", { class: "cache", "data-hit": isHit }, isHit ? "cache hit" : "cache miss"),
      fact("guest ", h("code", {}, guest)),
      fact("model ", h("code", {}, model)),
    ),
  ];
}

function failed({ title, detail }) {
  return [h("p", { class: "failure" }, h("strong", {}, `${title}.`), " ", detail)];
}

const unknown = (error) => new Failure(Kind.FAILED, "The page failed", String(error));

/** The best labels of the first texts, for screen readers. */
function spoken(items) {
  const said = items.slice(0, 5).map(({ answer, failure }, at) => {
    const best = answer?.predictions[0][0];
    return `${at + 1}: ${best ? best.label : (failure?.title ?? "no scores")}.`;
  });
  return said.join(" ");
}
