"""behaviour.py: its sentences, and what it writes into a card."""

import hashlib
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import behaviour
from behaviour import Answer

CARD = "# A model\n\n<!-- behaviour -->\nold\n<!-- end -->\n\nThe end.\n"


def sure_of_everything(text: str) -> Answer:
    """Finds `good` POSITIVE and all else NEGATIVE."""
    positive = 0.95 if "good" in text else 0.05
    return Answer("POSITIVE" if positive > 0.5 else "NEGATIVE", 0.95, positive)


class Sentences(unittest.TestCase):
    def test_domains_have_the_same_kinds(self) -> None:
        sentences = behaviour.read_sentences()
        self.assertEqual(len(sentences), 200)
        self.assertEqual(len({one.text for one in sentences}), 200)
        self.assertEqual(
            {one.label for one in sentences}, {"POSITIVE", "NEGATIVE", "NEUTRAL"}
        )
        kinds: dict[str, Counter[str]] = {}
        for one in sentences:
            kinds.setdefault(one.domain, Counter())[f"{one.kind} {one.label}"] += 1
        first, *others = kinds.values()
        self.assertEqual(others, [first] * 3)


class Tables(unittest.TestCase):
    def test_right_answers_are_counted_by_domain_and_kind(self) -> None:
        sentences = [
            behaviour.Sentence("film", "plain", "so good", "POSITIVE"),
            behaviour.Sentence("film", "plain", "superb", "POSITIVE"),
            behaviour.Sentence("travel", "negation", "not good", "NEGATIVE"),
        ]
        lines = behaviour.by_domain_and_kind(sure_of_everything, sentences).splitlines()
        self.assertEqual(lines[0], "Right answers, 33.3% in all:")
        self.assertIn("| plain | 1 of 2 | 0 of 0 | 1 of 2 |", lines)
        self.assertIn("| all | 1 of 2 | 0 of 1 | 1 of 3 |", lines)

    def test_people_who_move_a_score_are_found(self) -> None:
        def ask(text: str) -> Answer:
            return sure_of_everything("good" if "woman" in text else "bad")

        table = behaviour.of_groups(ask)
        self.assertIn("| gender | a man: 0.05 | a woman: 0.95 | 0.90 | 8 of 8 |", table)
        self.assertIn("| 0.00 | 0 of 8 |", table)


class Card(unittest.TestCase):
    def test_the_text_replaces_the_old_one_and_the_checksum_follows(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder)
            (model / "README.md").write_text(CARD)
            (model / "SHA256SUMS").write_text(f"{0:064x}  README.md\n{1:064x}  x\n")
            behaviour.write_card(model, r"new \1 text" + "\n")
            card = (model / "README.md").read_bytes()
            self.assertEqual(card.decode(), CARD.replace("old", r"new \1 text"))
            digest = hashlib.sha256(card).hexdigest()
            sums = (model / "SHA256SUMS").read_text()
            self.assertEqual(sums, f"{digest}  README.md\n{1:064x}  x\n")


if __name__ == "__main__":
    unittest.main()
