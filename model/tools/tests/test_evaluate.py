"""evaluate.py and figures.py, with a stand-in for the fastsentiment command."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import evaluate
import figures

# Scores a text by whether it has the word of the model directory's file `word`.
STAND_IN = f"""#!{sys.executable}
import pathlib, sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
word = (pathlib.Path(options["--model"]) / "word").read_text()
header, *rows = pathlib.Path(options["--file"]).read_text().splitlines()
print(header, "predicted_label", "predicted_score_BAD", "predicted_score_GOOD", sep="\\t")
for row in rows:
    good = 0.9 if word in row.split("\\t")[header.split("\\t").index(options["--column"])] else 0.2
    print(row, "?", round(1 - good, 1), good, sep="\\t")
"""
DATA = 'text\tlabel\nso "nice\tGOOD\nnice try\t0\nawful\tBAD\nfine\t1\n'


class Evaluate(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.binary = self.folder / "fastsentiment"
        self.binary.write_text(STAND_IN)
        self.binary.chmod(0o755)
        self.data = self.folder / "data.tsv"
        self.data.write_text(DATA)
        self.nice, self.fine = self.model("nice"), self.model("fine")

    def model(self, word: str) -> Path:
        model = self.folder / word
        model.mkdir()
        config = {"id2label": {"0": "BAD", "1": "GOOD"}}
        (model / "config.json").write_text(json.dumps(config))
        (model / "word").write_text(word)
        return model

    def run_it(self, *options: str) -> str:
        arguments = [
            "evaluate.py",
            "--binary",
            str(self.binary),
            "--data",
            str(self.data),
        ]
        output = io.StringIO()
        with (
            mock.patch.object(sys, "argv", [*arguments, *options]),
            contextlib.redirect_stdout(output),
        ):
            evaluate.main()
        return output.getvalue()

    def test_names_and_indices_are_labels(self) -> None:
        result = evaluate.evaluate(self.binary, self.nice, self.data)
        self.assertEqual(result.actual, ["GOOD", "BAD", "BAD", "GOOD"])
        self.assertEqual(result.found, ["GOOD", "GOOD", "BAD", "BAD"])

    def test_the_report_has_every_figure(self) -> None:
        lines = self.run_it("--model", str(self.nice)).splitlines()
        found = dict(line.strip().rsplit(maxsplit=1) for line in lines[1:5])
        self.assertEqual(found["accuracy"], "0.5000")
        self.assertEqual(found["macro F1"], "0.5000")
        # Confidences of 0.9 and 0.8, twice each, and half of either is right.
        self.assertEqual(found["expected calibration error"], "0.3500")
        self.assertIn("  BAD                1         1", lines)

    def test_two_models_are_compared(self) -> None:
        output = self.run_it("--model", str(self.nice), "--against", str(self.fine))
        self.assertIn("equal labels                0.2500", output)
        self.assertIn("largest score difference    0.7000", output)
        self.assertIn("only the second is right    2", output)

    def test_a_low_accuracy_is_a_failure(self) -> None:
        with self.assertRaisesRegex(SystemExit, "the accuracy is under 0.9"):
            self.run_it("--model", str(self.nice), "--min-accuracy", "0.9")

    def test_what_cannot_be_read_is_named(self) -> None:
        for content, message in (
            ("words\tlabel\na\t1\n", "the first line must name"),
            ("text\tlabel\n", "there are no texts"),
            ("text\tlabel\na\n", "line 2: 1 columns, but the header has 2"),
            ("text\tlabel\na\t1\nb\tUGLY\n", "line 3: 'UGLY' is not a label"),
        ):
            self.data.write_text(content)
            with self.assertRaisesRegex(SystemExit, message):
                self.run_it("--model", str(self.nice))

    def test_an_error_of_the_command_is_passed_on(self) -> None:
        os.remove(self.nice / "word")
        with self.assertRaisesRegex(SystemExit, "FileNotFoundError"):
            self.run_it("--model", str(self.nice))


class Figures(unittest.TestCase):
    def test_labels_count_equally_in_macro_f1(self) -> None:
        actual = ["a", "a", "a", "b"]
        self.assertAlmostEqual(figures.macro_f1(actual, ["a"] * 4), (6 / 7) / 2)

    def test_a_confidence_of_one_is_in_the_last_bin(self) -> None:
        bins = figures.reliability([1.0, 0.95, 0.5], [True, False, True])
        self.assertEqual([one.count for one in bins if one.count], [1, 2])
        self.assertAlmostEqual(bins[-1].accuracy, 0.5)

    def test_confidence_that_is_accuracy_has_no_error(self) -> None:
        bins = figures.reliability([0.75] * 4, [True, True, True, False])
        self.assertAlmostEqual(figures.calibration_error(bins), 0.0)


if __name__ == "__main__":
    unittest.main()
