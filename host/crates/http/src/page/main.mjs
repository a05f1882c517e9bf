// The page at `/`: what is typed, dropped and clicked goes where it belongs.

import { version } from "./api.mjs";
import { $, h } from "./dom.mjs";
import { FilePanel } from "./file.mjs";
import { counted } from "./format.mjs";
import { Lines } from "./lines.mjs";
import { openLines } from "./source.mjs";

/** Of more lines the results are not shown one by one. */
const MOST_LINES = 100;

const EXAMPLES = [
  "A warm, funny film.",
  "The plot makes no sense.",
  "It is not as bad as they say.",
  "Late again, but lovely people.",
];

const texts = $("texts");
/** The guest and the model that the page says are live, and those that last made it ask. */
let shown = "";
let asked = "";

/** Looks again at what is live if something else has answered: that may be on trial. */
const follow = ({ guest, model }) => {
  const answered = `${guest} ${model}`;
  if (answered !== shown && answered !== asked) {
    asked = answered;
    showVersion();
  }
};
const lines = new Lines(follow);
const panel = new FilePanel(follow);

const typed = () => texts.value.split(/\r?\n/).filter((line) => line.trim() !== "");

async function submit() {
  const all = typed();
  if (all.length === 0) {
    texts.focus();
  } else if (all.length > MOST_LINES) {
    await panel.show(openLines("pasted lines", all), { starts: true });
  } else {
    await lines.run(all);
  }
}

function countTexts() {
  const number = typed().length;
  const rest = number > MOST_LINES ? ", scored like a file" : "";
  $("texts-count").textContent = number === 0 ? "one a line" : counted(number, "text") + rest;
}

function setTexts(value) {
  texts.value = value;
  countTexts();
}

async function showVersion() {
  try {
    const { version: program, guest, model } = await version();
    shown = `${guest.slice(0, 12)} ${model.slice(0, 12)}`;
    $("version").textContent = program;
    $("live-program").textContent = program;
    $("live-guest").textContent = guest.slice(0, 12);
    $("live-model").textContent = model.slice(0, 12);
    $("live-guest-full").textContent = guest;
    $("live-model-full").textContent = model;
    for (const id of ["version", "live", "live-full"]) {
      $(id).hidden = false;
    }
    $("live-status").hidden = true;
  } catch (failure) {
    $("live-status").textContent = `${failure.title ?? failure}. ${failure.detail ?? ""}`;
    $("live-status").hidden = false;
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

texts.addEventListener("input", countTexts);
texts.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    submit();
  }
});

$("clear").addEventListener("click", () => {
  setTexts("");
  texts.focus();
});

$("try-examples").addEventListener("click", () => {
  setTexts(EXAMPLES.join("\n"));
  texts.focus();
  submit();
});

for (const example of EXAMPLES) {
  const button = h("button", { type: "button", class: "example" }, example);
  button.addEventListener("click", () => {
    setTexts([texts.value.trimEnd(), example].filter((part) => part !== "").join("\n"));
  });
  $("examples").append(h("li", {}, button));
}

$("file-input").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  // So that the same file can be chosen again.
  target.value = "";
  if (file) {
    panel.choose(file);
  }
});

// A file may be dropped anywhere: elsewhere the browser would leave the page for it.
let depth = 0;
const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const dragged = (change) => (event) => {
  if (hasFile(event)) {
    event.preventDefault();
    depth = Math.max(0, depth + change);
    $("dragging").hidden = depth === 0;
  }
};
document.addEventListener("dragenter", dragged(1));
document.addEventListener("dragleave", dragged(-1));
document.addEventListener("dragover", dragged(0));
document.addEventListener("drop", (event) => {
  if (hasFile(event)) {
    event.preventDefault();
    depth = 0;
    $("dragging").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) {
      panel.choose(file);
    }
  }
});

$("modifier").textContent = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
countTexts();
showVersion();
