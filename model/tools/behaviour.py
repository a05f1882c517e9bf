"""Shows what a model of NEGATIVE and POSITIVE does beyond its own test set, as Markdown.

    behaviour.py [--model DIR] [--sst2 DIR] [--card]

Sentences of our own (sentences.tsv) by domain and kind, neutral ones, groups of people
swapped in templates, other languages, long texts and, with SST-2's folder, calibration
on its dev split. Needs the packages of `model/requirements-test.txt`.
"""

import argparse
import csv
import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from figures import calibration_error, reliability
from reference import Reference

HERE = Path(__file__).resolve().parent
DEFAULT_MODEL = HERE.parent / "default"
SENTENCES = HERE / "sentences.tsv"
MARKED = re.compile(r"(<!-- behaviour -->\n).*?(<!-- end -->)", re.DOTALL)
NEUTRAL = "NEUTRAL"
# Above this an answer looks sure to whoever reads it.
SURE = 0.9

# Nothing in them says anything good or bad.
TEMPLATES = (
    "I was served by {}.",
    "My neighbour is {}.",
    "The film is about {}.",
    "{} sat next to me on the train.",
    "We spoke to {} at the reception.",
    "The main character is {}.",
    "I got an email from {}.",
    "The book was written by {}.",
)
GROUPS = {
    "gender": ("a man", "a woman", "a non-binary person"),
    "age": ("a young person", "an old person", "a teenager", "a pensioner"),
    "religion": (
        "a Christian",
        "a Muslim",
        "a Jew",
        "a Hindu",
        "a Buddhist",
        "an atheist",
    ),
    "origin": (
        "an American",
        "a German",
        "a Mexican",
        "a Nigerian",
        "a Chinese person",
        "an Indian",
        "an Iraqi",
        "a Pole",
    ),
    "colour": ("a white person", "a black person", "an Asian person", "a brown person"),
    "orientation": (
        "a straight person",
        "a gay person",
        "a lesbian",
        "a bisexual person",
    ),
    "health": (
        "a healthy person",
        "a blind person",
        "a deaf person",
        "a disabled person",
    ),
}

LANGUAGES = {
    "German": {
        "POSITIVE": (
            "Der Film ist wunderbar.",
            "Ich bin sehr zufrieden mit dem Produkt.",
            "Das Personal war freundlich und hilfsbereit.",
        ),
        "NEGATIVE": (
            "Das war der schlechteste Film des Jahres.",
            "Das Ger\u00e4t ging nach zwei Tagen kaputt.",
            "Das Zimmer war schmutzig und laut.",
        ),
    },
    "French": {
        "POSITIVE": (
            "Le film est magnifique.",
            "Je suis tr\u00e8s content de ce produit.",
            "Le personnel \u00e9tait aimable et serviable.",
        ),
        "NEGATIVE": (
            "C'\u00e9tait le pire film de l'ann\u00e9e.",
            "L'appareil est tomb\u00e9 en panne apr\u00e8s deux jours.",
            "La chambre \u00e9tait sale et bruyante.",
        ),
    },
    "Spanish": {
        "POSITIVE": (
            "La pel\u00edcula es maravillosa.",
            "Estoy muy contento con el producto.",
            "El personal fue amable y servicial.",
        ),
        "NEGATIVE": (
            "Fue la peor pel\u00edcula del a\u00f1o.",
            "El aparato se rompi\u00f3 a los dos d\u00edas.",
            "La habitaci\u00f3n estaba sucia y era ruidosa.",
        ),
    },
    "Italian": {
        "POSITIVE": (
            "Il film \u00e8 meraviglioso.",
            "Sono molto contento del prodotto.",
            "Il personale era gentile e disponibile.",
        ),
        "NEGATIVE": (
            "\u00c8 stato il peggior film dell'anno.",
            "L'apparecchio si \u00e8 rotto dopo due giorni.",
            "La camera era sporca e rumorosa.",
        ),
    },
    "Dutch": {
        "POSITIVE": (
            "De film is prachtig.",
            "Ik ben erg tevreden met het product.",
            "Het personeel was vriendelijk en behulpzaam.",
        ),
        "NEGATIVE": (
            "Het was de slechtste film van het jaar.",
            "Het apparaat ging na twee dagen kapot.",
            "De kamer was vies en lawaaierig.",
        ),
    },
}

# Words of neutral sentences around a verdict.
LENGTHS = (0, 50, 150, 300, 600)


@dataclass(frozen=True)
class Sentence:
    domain: str
    kind: str
    text: str
    label: str


@dataclass(frozen=True)
class Answer:
    """The label found, and the scores of it and of POSITIVE."""

    label: str
    confidence: float
    positive: float


Ask = Callable[[str], Answer]


def asking(model: Path) -> Ask:
    reference = Reference(model)
    if set(reference.labels) != {"NEGATIVE", "POSITIVE"}:
        sys.exit(f"{model}: the labels are {', '.join(reference.labels)}")

    def ask(text: str) -> Answer:
        scores = reference.answer(text).scores
        label = max(scores, key=scores.__getitem__)
        return Answer(label, scores[label], scores["POSITIVE"])

    return ask


def read_sentences() -> list[Sentence]:
    with SENTENCES.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Sentence(**row) for row in rows]


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def by_domain_and_kind(ask: Ask, sentences: list[Sentence]) -> str:
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for one in sentences:
        is_right = ask(one.text).label == one.label
        for key in ((one.domain, one.kind), (one.domain, "all"), ("all", one.kind)):
            right[key].append(is_right)
        right["all", "all"].append(is_right)
    domains = [*dict.fromkeys(one.domain for one in sentences), "all"]
    kinds = [*dict.fromkeys(one.kind for one in sentences), "all"]

    def cell(answers: list[bool]) -> str:
        return f"{sum(answers)} of {len(answers)}"

    rows = [[kind, *(cell(right[d, kind]) for d in domains)] for kind in kinds]
    share = sum(right["all", "all"]) / len(right["all", "all"])
    return f"Right answers, {share:.1%} in all:\n\n" + table(["", *domains], rows)


def of_neutral(ask: Ask, neutral: list[Sentence], others: list[Sentence]) -> str:
    answers = [ask(one.text) for one in neutral]
    clear = [ask(one.text) for one in others]
    positive = sum(a.label == "POSITIVE" for a in answers)

    def sure(found: list[Answer]) -> str:
        count = sum(a.confidence > SURE for a in found)
        return f"{count} of {len(found)} with a score above {SURE}"

    return (
        f"Neutral sentences: {positive} of {len(answers)} are called POSITIVE, "
        f"{sure(answers)}. Of the sentences above it is {sure(clear)}.\n"
    )


def of_groups(ask: Ask) -> str:
    rows = []
    for name, groups in GROUPS.items():
        # positive[template][group]
        positive = [
            [ask(_filled(template, group)).positive for group in groups]
            for template in TEMPLATES
        ]
        means = [sum(scores) / len(scores) for scores in zip(*positive, strict=True)]
        low, high = min(means), max(means)
        changed = sum(min(scores) < 0.5 < max(scores) for scores in positive)
        rows.append(
            (
                name,
                f"{groups[means.index(low)]}: {low:.2f}",
                f"{groups[means.index(high)]}: {high:.2f}",
                f"{max(max(scores) - min(scores) for scores in positive):.2f}",
                f"{changed} of {len(positive)}",
            )
        )
    heads = (
        "",
        "lowest mean",
        "highest mean",
        "largest difference in one sentence",
        "sentences whose label changes",
    )
    return (
        f"Score of POSITIVE in {len(TEMPLATES)} neutral sentences (`My neighbour is ...`) when "
        "nothing but the person is swapped:\n\n" + table(heads, rows)
    )


def _filled(template: str, group: str) -> str:
    text = template.format(group)
    return text[0].upper() + text[1:]


def of_languages(ask: Ask) -> str:
    rows = []
    for language, by_label in LANGUAGES.items():
        answers = [(ask(t), label) for label, texts in by_label.items() for t in texts]
        wrong = [a for a, label in answers if a.label != label]
        rows.append(
            (
                language,
                f"{len(answers) - len(wrong)} of {len(answers)}",
                sum(a.confidence > SURE for a in wrong),
            )
        )
    heads = ("", "right", f"wrong with a score above {SURE}")
    return "Other languages:\n\n" + table(heads, rows)


def of_lengths(ask: Ask, sentences: list[Sentence]) -> str:
    verdicts = [one for one in sentences if one.kind == "plain"]
    filler: dict[str, list[str]] = defaultdict(list)
    for one in sentences:
        if one.label == NEUTRAL:
            filler[one.domain].append(one.text)
    rows = []
    for words in LENGTHS:
        counts = []
        for place in ("first", "last"):
            right = 0
            for one in verdicts:
                around = _words(filler[one.domain], words)
                parts = [one.text, *around] if place == "first" else [*around, one.text]
                right += ask(" ".join(parts)).label == one.label
            counts.append(f"{right} of {len(verdicts)}")
        rows.append((words, *counts))
    heads = ("words of neutral sentences", "verdict first", "verdict last")
    return (
        "The plain sentences with neutral ones of their domain behind or before them (what "
        "is beyond 512 tokens is cut off):\n\n" + table(heads, rows)
    )


def _words(sentences: list[str], words: int) -> list[str]:
    """Sentences, again and again, until there are so many words."""
    result: list[str] = []
    count = 0
    while count < words:
        result.append(sentences[len(result) % len(sentences)])
        count += len(result[-1].split())
    return result


def of_calibration(ask: Ask, sst2: Path) -> str:
    lines = (sst2 / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.rsplit("\t", 1) for line in lines]
    answers = [
        (ask(text), ("NEGATIVE", "POSITIVE")[int(label)]) for text, label in pairs
    ]
    bins = reliability(
        [a.confidence for a, _ in answers], [a.label == label for a, label in answers]
    )
    rows = [
        (
            f"{one.low:.1f} to {one.high:.1f}",
            one.count,
            f"{one.confidence:.3f}",
            f"{one.accuracy:.3f}",
        )
        for one in bins
        if one.count
    ]
    heads = ("confidence", "sentences", "mean confidence", "accuracy")
    return (
        f"Calibration on SST-2 dev: expected calibration error {calibration_error(bins):.3f}, "
        "over ten bins.\n\n" + table(heads, rows)
    )


def behaviour(model: Path, sst2: Path | None) -> str:
    ask = asking(model)
    sentences = read_sentences()
    neutral = [one for one in sentences if one.label == NEUTRAL]
    others = [one for one in sentences if one.label != NEUTRAL]
    parts = [
        by_domain_and_kind(ask, others),
        of_neutral(ask, neutral, others),
        of_groups(ask),
        of_languages(ask),
        of_lengths(ask, sentences),
    ]
    if sst2:
        parts.append(of_calibration(ask, sst2))
    return "\n".join(parts)


def write_card(model: Path, text: str) -> None:
    """Puts `text` between the marks of the model's card, and mends the card's checksum."""
    card = model / "README.md"
    old = card.read_text(encoding="utf-8")
    new, count = MARKED.subn(lambda found: f"{found[1]}{text}{found[2]}", old)
    if count != 1:
        sys.exit(f"{card}: no place for it, from <!-- behaviour --> to <!-- end -->")
    card.write_text(new, encoding="utf-8")
    sums = model / "SHA256SUMS"
    digest = hashlib.sha256(card.read_bytes()).hexdigest()
    mended = re.sub(
        r"^\w+  README\.md$",
        f"{digest}  README.md",
        sums.read_text(),
        flags=re.MULTILINE,
    )
    sums.write_text(mended)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Show what a model does beyond its own test set, as Markdown."
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        metavar="DIR",
        help="a model of NEGATIVE and POSITIVE (default: %(default)s)",
    )
    parser.add_argument(
        "--sst2", type=Path, metavar="DIR", help="folder with dev.tsv: adds calibration"
    )
    parser.add_argument(
        "--card", action="store_true", help="write it into the model's README.md"
    )
    arguments = parser.parse_args()
    text = behaviour(arguments.model, arguments.sst2)
    if arguments.card:
        write_card(arguments.model, text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
