// Makes elements, also those that show scores. Text never becomes markup.
//
// This module must not know the server.

import { count, percent } from "./format.mjs";

/** The labels that are shown without unfolding the others. */
const LABELS = 6;

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** A new element. Attributes that are false or undefined are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Has screen readers announce some words. */
export function announce(words) {
  $("announcement").textContent = words;
}

/** The tone of a label, guessed from its name. */
function tone(label) {
  const known = [
    [/^pos/i, "good"],
    [/^neg/i, "bad"],
    [/^neu/i, "even"],
  ];
  return known.find(([name]) => name.test(label))?.[1] ?? "other";
}

/** A label with its bar, whose length is `share`, and its value in words. */
function bar(label, share, value, words, isBest) {
  const fill = h("span", { class: "fill" });
  fill.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
  return h(
    "li",
    { class: "label", "data-tone": tone(label), "data-best": isBest },
    h("span", { class: "name" }, label),
    h("data", { class: "score", value: String(value) }, words),
    h("span", { class: "bar", "aria-hidden": "true" }, fill),
  );
}

/** The scores of a text, in the server's order: highest first. */
export function scoreBars(scores) {
  const bars = scores.map(({ label, score }, at) =>
    bar(label, score, score, percent(score), at === 0),
  );
  return folded(bars);
}

/** The number of texts for each best label. */
export function countBars(counts, total) {
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const bars = sorted.map(([label, number]) =>
    bar(label, number / total, number, `${count(number)} · ${percent(number / total)}`, true),
  );
  return folded(bars);
}

/** A list. If it is long, its end is collapsed. */
function folded(bars) {
  const list = (items) => h("ul", { class: "labels" }, ...items);
  if (bars.length <= LABELS + 1) {
    return [list(bars)];
  }
  const rest = bars.slice(LABELS);
  return [
    list(bars.slice(0, LABELS)),
    h("details", {}, h("summary", {}, `${rest.length} more labels`), list(rest)),
  ];
}

/** A label, for a row of a table. */
export function chip({ label }) {
  return h("span", { class: "chip", "data-tone": tone(label) }, label);
}
