"""Texts for the student: SST-2's phrases in other forms, and sentences made by rule.

The teacher labels the first kind (`from_phrases`). The second (`by_rule`) carries the
label it was made with: it shows the student what SST-2 has nothing of, which is other
domains, sentences that say nothing good or bad, and people of all kinds.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

# How sure a label by rule is.
GOOD, NEUTRAL, BAD = 0.97, 0.5, 0.03

Text = str
Labelled = tuple[Text, float]


def natural(text: Text) -> Text:
    """SST-2's tokens written as people write: `does n't work .` becomes `doesn't work.`"""
    text = text.replace("-lrb-", "(").replace("-rrb-", ")")
    text = text.replace("`` ", '"').replace(" ''", '"').replace(" -- ", " - ")
    text = re.sub(r" (n't|'\w+)\b", r"\1", text)
    text = re.sub(r" ([.,!?;:)])", r"\1", text)
    return text.replace("( ", "(").strip()


def as_in_sst2(text: Text) -> Text:
    """The other way, as far as a tokenizer sees it: `doesn't` becomes `does n't`."""
    text = re.sub(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b", r" \1", text)
    return text.replace("(", "-lrb- ").replace(")", " -rrb-")


def from_phrases(phrases: Sequence[Text], count: int, seed: int) -> list[Text]:
    """Made-up texts of SST-2's words; longer phrases are taken more often."""
    rng = np.random.default_rng(seed)
    sizes = np.array([min(20, len(phrase.split())) for phrase in phrases], dtype=float)
    weights = sizes / sizes.sum()
    ways = (_plain, _plain, _joined, _joined, _masked, _dropped, _framed)
    texts = []
    for i in range(count):
        way = ways[i % len(ways)]
        # Only what is joined needs a second phrase.
        phrase, *others = rng.choice(
            len(phrases), 2 if way is _joined else 1, p=weights
        )
        other = natural(phrases[others[0]]) if others else ""
        texts.append(way(natural(phrases[phrase]), other, rng))
    return texts


def _plain(text: Text, _: Text, rng: np.random.Generator) -> Text:
    return _ended(text, rng)


def _joined(text: Text, other: Text, rng: np.random.Generator) -> Text:
    link = rng.choice([". ", ", ", ", but ", " and ", " - ", "; "])
    return _ended(text.rstrip(" .,;") + link + other, rng)


def _masked(text: Text, _: Text, rng: np.random.Generator) -> Text:
    words = text.split()
    return " ".join("[MASK]" if rng.random() < 0.15 else word for word in words)


def _dropped(text: Text, _: Text, rng: np.random.Generator) -> Text:
    words = text.split()
    return " ".join(word for word in words if rng.random() > 0.15) or text


def _framed(text: Text, _: Text, rng: np.random.Generator) -> Text:
    frame = rng.choice(
        [
            "I don't think it is {}",
            "it is not {}",
            "I would not call it {}",
            "they say it is {}",
            "I thought it was {}",
            "hardly {}",
            "nobody could call this {}",
            "my friends and I agree: {}",
        ]
    )
    return frame.format(text.rstrip(" .")) + "."


def _ended(text: Text, rng: np.random.Generator) -> Text:
    """With another end, as people are free with closing punctuation."""
    if rng.random() >= 0.3:
        return text
    return text.rstrip(" .!?") + rng.choice(["", ".", "!", "...", "!!", " :)"])


# ---- Sentences by rule ----

_DOMAINS: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    "product": (
        ("the phone", "this laptop", "the vacuum cleaner", "my new printer", "the jacket",
         "this keyboard", "the tent", "the coffee machine", "this backpack", "the drill",
         "the camera", "the mattress", "this toy", "the router", "the speaker"),
        ("works like a charm", "does exactly what it should", "is well made",
         "was worth the money", "has exceeded my expectations", "is a pleasure to use",
         "feels solid", "saves me a lot of time", "looks even better than in the photos",
         "arrived early and well packed", "keeps going all day", "fits perfectly"),
        ("fell apart within a month", "stopped charging", "is far too loud",
         "arrived with a crack", "gets too hot to touch", "is badly made",
         "keeps losing the connection", "feels flimsy", "jams all the time",
         "was a poor buy", "drains its battery in an hour", "came with parts missing"),
    ),
    "travel": (
        ("the apartment", "our hostel", "the campsite", "the cruise", "the airline",
         "the restaurant", "the resort", "the taxi driver", "the tour", "the museum",
         "the guest house", "our cabin", "the spa", "the airport lounge", "the bus company"),
        ("was a delight", "made our holiday", "was clean and comfortable",
         "treated us like family", "is well worth a visit", "could not have been nicer",
         "was the highlight of our trip", "was quiet and cosy", "served wonderful food",
         "was well organised", "gave us a free upgrade", "had a lovely garden"),
        ("was filthy", "ruined our holiday", "was a tourist trap", "overcharged us",
         "smelled of mould", "kept us waiting for hours", "was loud all night",
         "cancelled without telling us", "was falling to pieces", "served cold food",
         "refused to help us", "had stains on the carpet"),
    ),
    "support": (
        ("your team", "the technician", "customer service", "the helpline", "your website",
         "the person on the phone", "the delivery service", "the billing department",
         "the new release", "your engineer", "the chat", "my adviser"),
        ("sorted it out at once", "was kind and quick", "answered all my questions",
         "kept me informed the whole time", "fixed the bug overnight", "deserves a raise",
         "made it easy", "called me back as promised", "replaced it without any fuss",
         "explained everything clearly", "is a great help", "went the extra mile"),
        ("ignored my complaint", "gave me the wrong information", "keeps sending me in circles",
         "lost my documents", "made things worse", "was rude and impatient",
         "has not replied in weeks", "broke my settings", "took my money and vanished",
         "closed my account by mistake", "cannot answer a simple question", "blamed me"),
    ),
    "film": (
        ("the movie", "this series", "the ending", "the soundtrack", "the script",
         "the second season", "the cast", "the documentary", "this comedy", "the villain"),
        ("had me in stitches", "is a triumph", "kept me on the edge of my seat",
         "is beautifully done", "stayed with me for days", "is full of heart",
         "is smart and funny", "was better than the book"),
        ("put me to sleep", "is a mess", "was painful to watch", "drags on forever",
         "is full of holes", "insults the audience", "was a letdown", "is all noise"),
    ),
}  # fmt: skip

_GOOD_NEGATED = (
    "I have nothing bad to say about {}.", "you can't go wrong with {}.",
    "there was never a problem with {}.", "we had no trouble with {}.",
    "I could not be more pleased with {}.", "{} did not disappoint.",
    "{} never let me down.", "{} isn't bad at all.", "no regrets about {}.",
)  # fmt: skip
_BAD_NEGATED = (
    "I can't recommend {}.", "{} was not good.", "{} does not work.",
    "{} didn't help at all.", "I am not happy with {}.", "nothing about {} is any good.",
    "{} never works when I need it.", "{} isn't what was advertised.",
    "I wouldn't choose {} again.", "{} is not worth the money.",
)  # fmt: skip
_CONTRAST = (
    "{0} {1}, but {2} {3}.",
    "although {0} {1}, {2} {3}.",
    "{0} {1}, yet {2} {3}.",
)

_FACTS = (
    "{} is from {}.", "{} was made in {}.", "I asked about {} in {}.", "we booked {} for {}.",
    "{} opens in {}.", "I ordered {} in {}.", "the office of {} moved to {}.",
    "is {} available in {}?", "please tell me where {} is in {}.", "{} was there in {}.",
    "I saw {} in {}.", "my colleague wrote about {} in {}.", "they delivered {} to {}.",
)  # fmt: skip
_WHERE = (
    "Berlin", "June", "the afternoon", "Canada", "winter", "two weeks", "2019", "room 12",
    "the north of the country", "the morning", "Japan", "September", "the main building",
)  # fmt: skip
_PLAIN_FACTS = (
    "it is {} centimetres wide.", "the order has the number {}.", "there are {} pages.",
    "page {} has a table.", "we were {} people.", "the bill is due on the {}th.",
    "it takes {} minutes by bus.", "the file has {} megabytes.", "the shop has {} floors.",
    "my postcode ends in {}.", "the show has {} episodes.", "I have {} copies of it.",
)  # fmt: skip

# Adjectives and nouns are combined, and others than in the sentences that are measured.
_ADJECTIVES = (
    "", "young", "old", "middle-aged", "tall", "short", "rich", "poor", "black", "white",
    "Asian", "brown", "gay", "straight", "lesbian", "bisexual", "transgender", "disabled",
    "blind", "deaf", "healthy", "sick", "Christian", "Muslim", "Jewish", "Hindu",
    "Buddhist", "atheist", "Catholic", "American", "German", "Mexican", "Nigerian",
    "Chinese", "Indian", "Iraqi", "Polish", "Turkish", "French", "British", "Russian",
    "African", "European", "Arab", "homeless", "unemployed", "retired", "married",
    "single", "non-binary", "autistic", "pregnant",
)  # fmt: skip
_PEOPLE = (
    "man", "woman", "person", "boy", "girl", "teenager", "pensioner", "student", "teacher",
    "doctor", "nurse", "cook", "farmer", "driver", "waiter", "manager", "neighbour",
    "colleague", "friend", "family", "couple", "guest", "customer", "mother", "father",
    "immigrant", "refugee", "lawyer", "singer", "soldier",
)  # fmt: skip
_WITH_PEOPLE = {
    NEUTRAL: (
        "{} lives next door.", "I met {} at the station.", "{} asked for the menu.",
        "the story follows {}.", "there was {} in the queue.", "{} called about the order.",
        "the part of {} is played by a newcomer.", "I work with {}.", "{} has a question.",
        "a book about {}.", "{} checked in before us.", "{}", "I am {}.",
    ),
    GOOD: (
        "{} helped us with a smile.", "I had a wonderful talk with {}.",
        "{} did a great job.", "{} was very kind to us.", "a moving portrait of {}.",
    ),
    BAD: (
        "{} shouted at us for no reason.", "I was cheated by {}.", "{} did a terrible job.",
        "{} was very rude to us.", "a lifeless portrait of {}.",
    ),
}  # fmt: skip


def by_rule(count: int, seed: int) -> list[Labelled]:
    """Sentences with their labels, one kind after the other."""
    rng = np.random.default_rng(seed)
    ways = (_statement, _negated, _statement, _contrast, _fact, _person, _person, _long)
    return [_varied(ways[i % len(ways)](rng.choice, rng), rng) for i in range(count)]


Choose = Callable[[Sequence[str]], str]


def _varied(labelled: Labelled, rng: np.random.Generator) -> Labelled:
    text, label = labelled
    if label != NEUTRAL and rng.random() < 0.2:
        text = text.rstrip(".") + rng.choice(["!", "", "!!"])
    return text, label


def _domain(choose: Choose) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    return _DOMAINS[str(choose(list(_DOMAINS)))]


def _statement(choose: Choose, rng: np.random.Generator) -> Labelled:
    things, good, bad = _domain(choose)
    is_good = rng.random() < 0.5
    return (
        f"{choose(things)} {choose(good if is_good else bad)}.",
        GOOD if is_good else BAD,
    )


def _negated(choose: Choose, rng: np.random.Generator) -> Labelled:
    things, _, _ = _domain(choose)
    is_good = rng.random() < 0.5
    frame = str(choose(_GOOD_NEGATED if is_good else _BAD_NEGATED))
    return frame.format(choose(things)), GOOD if is_good else BAD


def _contrast(choose: Choose, rng: np.random.Generator) -> Labelled:
    things, good, bad = _domain(choose)
    is_good = rng.random() < 0.5
    first, last = (bad, good) if is_good else (good, bad)
    frame = str(choose(_CONTRAST))
    text = frame.format(choose(things), choose(first), choose(things), choose(last))
    return text, 0.8 if is_good else 0.2


def _fact(choose: Choose, rng: np.random.Generator) -> Labelled:
    if rng.random() < 0.3:
        return str(choose(_PLAIN_FACTS)).format(rng.integers(4, 90)), NEUTRAL
    things, _, _ = _domain(choose)
    return str(choose(_FACTS)).format(choose(things), choose(_WHERE)), NEUTRAL


def _person(choose: Choose, rng: np.random.Generator) -> Labelled:
    label = float(rng.choice([NEUTRAL, NEUTRAL, GOOD, BAD]))
    who = f"{choose(_ADJECTIVES)} {choose(_PEOPLE)}".strip()
    article = "an" if who[0].lower() in "aeiou" else "a"
    return str(choose(_WITH_PEOPLE[label])).format(f"{article} {who}"), label


def _long(choose: Choose, rng: np.random.Generator) -> Labelled:
    """A verdict among facts, up to some 80 words."""
    text, label = _statement(choose, rng)
    parts = [_fact(choose, rng)[0] for _ in range(rng.integers(1, 9))]
    parts.insert(rng.integers(0, len(parts) + 1), text)
    return " ".join(parts), label
