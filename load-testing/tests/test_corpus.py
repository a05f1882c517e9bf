"""The texts of the load tests, made by corpus.js and printed by write-corpus.js."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import unittest
from collections import Counter

from harness import HERE


def write(*options: str) -> list[str]:
    done = subprocess.run(
        ["node", HERE / "write-corpus.js", *options],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    # `splitlines` would also split at other characters than the newline.
    return done.stdout.split("\n")[:-1]


class Texts(unittest.TestCase):
    COUNT = 20_000

    @classmethod
    def setUpClass(cls) -> None:
        cls.texts = write("--count", str(cls.COUNT), "--seed", "some")
        cls.lengths = [len(text.split(" ")) for text in cls.texts]

    def test_they_follow_from_the_seed(self) -> None:
        again = write("--count", "500", "--seed", "some")
        self.assertEqual(again, self.texts[:500])
        other = write("--count", "500", "--seed", "other")
        self.assertLess(len(set(other) & set(again)), 50)

    def test_no_two_are_the_same(self) -> None:
        self.assertEqual(len(set(self.texts)), self.COUNT)

    def test_lengths_are_log_normal(self) -> None:
        wanted = statistics.NormalDist(math.log(20), 1)
        self.assertEqual(len(self.lengths), self.COUNT)
        # Only between the limits. A few of the shortest texts have a code appended,
        # which counts as a word.
        for part in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
            measured = sorted(self.lengths)[int(part * self.COUNT)]
            right = math.exp(wanted.inv_cdf(part))
            self.assertAlmostEqual(measured, right, delta=0.5 + 0.06 * right)
        self.assertGreaterEqual(min(self.lengths), 2)
        self.assertLessEqual(max(self.lengths), 400)
        self.assertGreater(max(self.lengths), 380)

    def test_half_of_them_are_longer_than_the_median(self) -> None:
        texts = write("--count", "2000", "--median-words", "60")
        median = statistics.median(len(text.split(" ")) for text in texts)
        self.assertAlmostEqual(median, 60, delta=6)

    def test_some_have_emoji_and_other_scripts(self) -> None:
        emoji = [
            text for text in self.texts if re.search("[\U0001f300-\U0001faff❤]", text)
        ]
        foreign = [
            text for text in self.texts if re.search("[éïü\u0400-\uabff…“]", text)
        ]
        self.assertAlmostEqual(len(emoji) / self.COUNT, 1 / 10, delta=0.01)
        self.assertAlmostEqual(len(foreign) / self.COUNT, 1 / 20, delta=0.03)
        self.assertTrue(any("👎🏽" in text for text in self.texts))

    def test_they_are_lines_of_unicode(self) -> None:
        for text in self.texts:
            self.assertTrue(text.strip() == text != "")
            self.assertNotIn("\ufffd", text)


class Requests(unittest.TestCase):
    def test_a_share_comes_again_and_the_popular_more_often(self) -> None:
        lines = write(
            *("--requests", "4", "--count", "2500"),
            *("--hit-share", "0.9", "--hot-texts", "100"),
        )
        bodies = [json.loads(line) for line in lines]
        self.assertEqual(len(bodies), 2500)
        self.assertTrue(all(len(body["text"]) == 4 for body in bodies))
        known = set(write("--count", "100"))
        texts = [text for body in bodies for text in body["text"]]
        hits = Counter(text for text in texts if text in known)
        self.assertAlmostEqual(hits.total() / len(texts), 0.9, delta=0.01)
        misses = [text for text in texts if text not in known]
        self.assertEqual(len(set(misses)), len(misses))
        # Zipf: the first text is twice as frequent as the second, and three times as
        # frequent as the third.
        [(_, first), (_, second), (_, third)] = hits.most_common(3)
        self.assertAlmostEqual(first / second, 2, delta=0.3)
        self.assertAlmostEqual(first / third, 3, delta=0.5)

    def test_all_can_be_new(self) -> None:
        lines = write("--requests", "1", "--hit-share", "0", "--count", "3000")
        self.assertEqual(len(set(lines)), 3000)

    def test_wrong_numbers_are_refused(self) -> None:
        for option, value in (("count", "many"), ("requests", "0"), ("hit-share", "2")):
            requests = [] if option == "requests" else ["--requests", "1"]
            done = subprocess.run(
                ["node", HERE / "write-corpus.js", f"--{option}", value, *requests],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"--{option}", done.stderr)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
