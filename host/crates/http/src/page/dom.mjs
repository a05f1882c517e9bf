// Makes elements, and those that show scores. Text becomes text and never markup.
//
// This module must not know the server.

import { count, percent } from "./format.mjs";

/** So many labels are shown at once. */
const LABELS = 6;

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** A new element. Attributes that are false or missing are left out. */
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

/** Puts words where screen readers tell of them. */
export function announce(words) {
  $("announcement").textContent = words;
}

/** What a label says, as far as its name tells. */
function tone(label) {
  const known = [
    [/^pos/i, "good"],
    [/^neg/i, "bad"],
    [/^neu/i, "even"],
  ];
  return known.find(([name]) => name.test(label))?.[1] ?? "other";
}

/** A label, a bar of this length and what it says. */
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

/** The scores of a text, as the server gives them: highest first. */
export function scoreBars(scores) {
  const bars = scores.map(({ label, score }, at) =>
    bar(label, score, score, percent(score), at === 0),
  );
  return folded(bars);
}

/** How many texts have each label as their best. */
export function countBars(counts, total) {
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const bars = sorted.map(([label, number]) =>
    bar(label, number / total, number, `${count(number)} · ${percent(number / total)}`, true),
  );
  return folded(bars);
}

/** A list, of which the end is unfolded on demand if it is long. */
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

/** The best label of a text and its score, for a row of a table. */
export function chip({ label }) {
  return h("span", { class: "chip", "data-tone": tone(label) }, label);
}
