// The texts that a person has typed: a request for each, and a result for each.
//
// This module must not know files.

import { Failure, Kind, pause, predict, secondsUntilNext } from "./api.mjs";
import { $, announce, h, scoreBars } from "./dom.mjs";
import { counted, median, milliseconds } from "./format.mjs";

/** So many requests are under way. More would wait for each other, and look slow. */
const IN_FLIGHT = 2;

/** How often a text is asked for, while the server is busy or away. */
const TRIES = 4;

/** A longer text is folded, in characters. */
const LONG = 400;

/** The results of the texts that were typed last. */
export class Lines {
  #items = [];
  #stop = new AbortController();
  #onAnswer;

  /** `onAnswer` is told of every answer. */
  constructor(onAnswer) {
    this.#onAnswer = onAnswer;
    $("retry").addEventListener("click", () => this.#finish());
  }

  /** Scores texts, instead of those before. */
  async run(texts) {
    this.#stop.abort();
    this.#items = texts.map((text) => ({ text, element: placeholder(text) }));
    $("empty").hidden = true;
    $("results").replaceChildren(...this.#items.map(({ element }) => element));
    // On a phone they are below what was typed.
    const heading = $("results-heading").getBoundingClientRect();
    if (heading.bottom > window.innerHeight || heading.top < 0) {
      $("results-heading").scrollIntoView();
    }
    await this.#finish();
  }

  /** Asks for all texts that have no scores. */
  async #finish() {
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    const items = this.#items;
    const left = items.filter(({ answer }) => answer === undefined);
    // The button may be the one that is in use.
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
        if (!failure.isPassing || attempt + 1 === TRIES) {
          item.failure = failure;
          show(item, failed(failure));
          return;
        }
        const seconds = secondsUntilNext(failure, attempt);
        show(item, waiting(`${failure.title}. Trying again in ${seconds} s …`));
        await pause(seconds * 1000, signal).catch(() => {});
        if (signal.aborted) {
          return;
        }
      }
    }
  }

  /** Says in a line how it stands. */
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

const unknown = (error) => new Failure(Kind.FAILED, "The page has failed", String(error));

/** The best label of each text, for who can not see the bars; of a few texts. */
function spoken(items) {
  const said = items.slice(0, 5).map(({ answer, failure }, at) => {
    const best = answer?.predictions[0][0];
    return `${at + 1}: ${best ? best.label : (failure?.title ?? "no scores")}.`;
  });
  return said.join(" ");
}
