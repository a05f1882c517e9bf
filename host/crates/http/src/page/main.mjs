// The page at `/`: connects its controls with the panels of typed texts and of a file.

import { onKeyNeeded, setKey, version } from "./api.mjs";
import { $, h } from "./dom.mjs";
import { FilePanel } from "./file.mjs";
import { counted } from "./format.mjs";
import { Lines } from "./lines.mjs";
import { openLines } from "./source.mjs";

/** More lines than this are scored like a file, without a result for each. */
const MOST_LINES = 100;

const EXAMPLES = [
  "A warm, funny film.",
  "The plot makes no sense.",
  "It is not as bad as they say.",
  "Late again, but lovely people.",
];

const texts = $("texts");
/** The guest and the model under "Live now", and those that last made the page ask for them. */
let shown = "";
let checked = "";

/** Asks what is live if something else has answered. A canary answers without being live. */
const follow = ({ guest, model }) => {
  const answered = `${guest} ${model}`;
  if (answered !== shown && answered !== checked) {
    checked = answered;
    showVersion();
  }
};
const lines = new Lines(follow);
const panel = new FilePanel(showVersion);

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
  $("texts-count").textContent = number === 0 ? "one per line" : counted(number, "text") + rest;
}

function setTexts(value) {
  texts.value = value;
  countTexts();
}

/** Shows what is live, and resolves with its short digests; with nothing on a failure. */
async function showVersion() {
  try {
    const { version: program, guest, model } = await version();
    const short = { guest: guest.slice(0, 12), model: model.slice(0, 12) };
    shown = `${short.guest} ${short.model}`;
    $("version").textContent = program;
    $("live-program").textContent = program;
    $("live-guest").textContent = short.guest;
    $("live-model").textContent = short.model;
    $("live-guest-full").textContent = guest;
    $("live-model-full").textContent = model;
    for (const id of ["version", "live", "live-full"]) {
      $(id).hidden = false;
    }
    $("live-status").hidden = true;
    return short;
  } catch (failure) {
    $("live-status").textContent = `${failure.title ?? failure}. ${failure.detail ?? ""}`;
    $("live-status").hidden = false;
    return undefined;
  }
}

onKeyNeeded(({ detail }) => {
  $("key-why").textContent = detail;
  if ($("key-form").hidden) {
    $("key-form").hidden = false;
    $("key").focus();
  }
});

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value.trim());
  $("key-form").hidden = true;
  if (!$("retry").hidden) {
    $("retry").click();
  }
});

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
  // Otherwise choosing the same file again would be no change.
  target.value = "";
  if (file) {
    panel.choose(file);
  }
});

// The browser leaves the page for a file that is dropped where no handler takes it.
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
