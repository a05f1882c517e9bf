"""Made-up texts: their labels and spelling, and that none of them is measured later."""

import csv
import unittest
from collections import Counter
from pathlib import Path

from behaviour import GROUPS, SENTENCES, TEMPLATES
from train import pool

PHRASES = ("does n't work at all", "a gem", "-lrb- the film -rrb- is n't it 's best .")


def words(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum() or c == " ").strip()


class Pool(unittest.TestCase):
    def test_sst2_is_spelled_as_people_write_and_back(self) -> None:
        natural = [pool.natural(phrase) for phrase in PHRASES]
        self.assertEqual(natural[0], "doesn't work at all")
        self.assertEqual(natural[2], "(the film) isn't it's best.")
        again = [pool.as_in_sst2(text) for text in natural]
        self.assertEqual(again[0], PHRASES[0])
        self.assertEqual(again[2].replace(" ", ""), PHRASES[2].replace(" ", ""))

    def test_a_seed_gives_the_same_texts(self) -> None:
        self.assertEqual(*(pool.from_phrases(PHRASES, 50, seed=3) for _ in range(2)))
        self.assertEqual(*(pool.by_rule(50, seed=3) for _ in range(2)))

    def test_good_and_bad_are_as_frequent(self) -> None:
        labels = Counter(label for _, label in pool.by_rule(4000, seed=0))
        good = sum(n for label, n in labels.items() if label > 0.5)
        bad = sum(n for label, n in labels.items() if label < 0.5)
        self.assertAlmostEqual(good / bad, 1, delta=0.15)
        self.assertGreater(labels[pool.NEUTRAL], 500)

    def test_no_sentence_that_is_measured_is_learnt(self) -> None:
        learnt = {words(text) for text, _ in pool.by_rule(20_000, seed=0)}
        with Path(SENTENCES).open(encoding="utf-8", newline="") as lines:
            measured = [row["text"] for row in csv.DictReader(lines, delimiter="\t")]
        measured += [
            t.format(who) for t in TEMPLATES for who in sum(GROUPS.values(), ())
        ]
        self.assertEqual(learnt & {words(text) for text in measured}, set())


if __name__ == "__main__":
    unittest.main()
