"""What happens between the hub and this machine, and around the directory that is made.

None of it needs PyTorch, and it runs where there is none: that is a test, too.
"""

import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import unittest
from pathlib import Path

from export import hub, publish
from export.errors import ExportError
from export.terminal import printable
from export.tests.harness import DEFAULT_MODEL, FIXTURES, PATIENCE, ExportTest
from export.tests.stand_in import TOKEN, Fault

NAME = "someone/tiny"
GRAPH = "onnx/model.onnx"
# Longer than what the library holds back before it writes anything.
MIDWAY = 15 << 20


class DownloadTest(ExportTest):
    """With repositories that bring an ONNX file, as Optimum leaves them."""

    def repository(self, fixture: Path = FIXTURES / "tiny-bert") -> Path:
        """A copy of a model directory, laid out as on the hub."""
        directory = self.work / "repository"
        shutil.copytree(fixture, directory)
        (directory / "onnx").mkdir()
        (directory / "model.onnx").rename(directory / GRAPH)
        return directory

    def files(self) -> set[str]:
        return {file.name for file in self.out.iterdir()}


class DoesNotTrustTheHub(DownloadTest):
    def test_a_commit_is_no_path(self) -> None:
        self.hub.add(NAME, self.repository(), false_commit="../../elsewhere")
        self.fail_with(f"names no commit of {NAME}", NAME, "--onnx")
        self.assertFalse((self.work / "cache").exists())

    def test_text_reaches_no_terminal_as_it_is(self) -> None:
        hostile = "a\x1b]0;b\x07\x9b2J\nc\rd\u202ee\u200bf\U000e0041"
        self.assertEqual(
            printable(hostile),
            r"a\x1b]0;b\x07\x9b2J\nc\rd\u202ee\u200bf\U000e0041",
        )
        for harmless in ("very good, tr\u00e8s bien", "\u5f88\u597d"):
            self.assertEqual(printable(harmless), harmless)
        done = self.export(hostile)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.strip().splitlines()[1:], [])
        self.assertFalse(set(hostile) - set("abcdef]0;2J\n") & set(done.stderr))


class TakesReadyGraphs(DownloadTest):
    def test_without_pytorch(self) -> None:
        self.assertIsNone(importlib.util.find_spec("torch"))
        repository = self.hub.add(NAME, self.repository())
        said = self.succeed(NAME, "--onnx")
        self.assertRegex(said, "largest score difference")
        self.assertLessEqual(
            {"config.json", "tokenizer.json", "model.onnx", "golden.json", "README.md"},
            self.files(),
        )
        self.check_sums()
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(config["id2label"], {"0": "bad", "1": "good"})
        extension = config["fastsentiment"]
        self.assertIs(extension["batch_invariant"], True)
        self.assertEqual(extension["made_from"]["revision"], repository.commit)
        card = (self.out / "README.md").read_text()
        for fact in (NAME, repository.commit, "apache-2.0", "fp32"):
            self.assertIn(fact, card)

    def test_only_what_is_needed_is_downloaded(self) -> None:
        directory = self.repository()
        (directory / "flax_model.msgpack").write_bytes(b"of no use")
        (directory / "pytorch_model.bin").write_bytes(b"of no use here")
        self.hub.add(NAME, directory)
        self.succeed(NAME, "--onnx")
        asked = {request.path.rpartition("/")[2] for request in self.hub.requests}
        self.assertNotIn("flax_model.msgpack", asked)
        self.assertNotIn("pytorch_model.bin", asked)

    def test_weights_beside_the_graph_are_joined(self) -> None:
        import onnx

        directory = self.repository()
        graph = onnx.load(directory / GRAPH)
        onnx.save(
            graph,
            directory / GRAPH,
            save_as_external_data=True,
            location="model.onnx_data",
            size_threshold=0,
        )
        self.hub.add(NAME, directory)
        self.succeed(NAME, "--onnx")
        self.assertFalse((self.out / "model.onnx_data").exists())

    def test_int8_of_a_ready_graph(self) -> None:
        self.hub.add(NAME, self.repository())
        said = self.succeed(NAME, "--onnx", "--precision", "int8")
        self.assertRegex(said, r"int8: largest score difference \d")
        config = json.loads((self.out / "config.json").read_text())
        self.assertIs(config["fastsentiment"]["batch_invariant"], False)

    def test_fixed_padding_and_truncation_are_reset(self) -> None:
        fixture = FIXTURES / "tiny-distilbert-5"
        given = json.loads((fixture / "tokenizer.json").read_text())
        self.assertIsNotNone(given["padding"])
        self.hub.add(NAME, self.repository(fixture))
        self.succeed(NAME, "--onnx")
        written = json.loads((self.out / "tokenizer.json").read_text())
        self.assertIsNone(written["padding"])
        self.assertIsNone(written["truncation"])

    def test_the_end_that_is_cut_is_kept(self) -> None:
        self.hub.add(NAME, self.repository(FIXTURES / "tiny-int32"))
        self.succeed(NAME, "--onnx")
        settings = json.loads((self.out / "tokenizer_config.json").read_text())
        self.assertEqual(settings["truncation_side"], "left")

    def test_a_pinned_revision(self) -> None:
        repository = self.hub.add(NAME, self.repository(), names=("v1.0",))
        for revision in ("v1.0", repository.commit):
            self.succeed(NAME, "--onnx", "--revision", revision)
        self.fail_with("has no revision v2.0", NAME, "--onnx", "--revision", "v2.0")

    def test_a_second_run_downloads_nothing_again(self) -> None:
        self.hub.add(NAME, self.repository())
        self.succeed(NAME, "--onnx")
        first = {file.name: file.read_bytes() for file in self.out.iterdir()}
        self.succeed(NAME, "--onnx")
        self.assertEqual(len(self.hub.asked_of_store(GRAPH)), 1)
        # The same comes out, so that nothing that is made of it has to be made anew.
        self.assertEqual(
            first, {file.name: file.read_bytes() for file in self.out.iterdir()}
        )


class SurvivesTheNetwork(DownloadTest):
    def test_a_lost_connection_is_taken_up_again(self) -> None:
        repository = self.hub.add(NAME, self.repository(DEFAULT_MODEL))
        repository.faults[GRAPH] = Fault(drop_after=MIDWAY)
        self.succeed(NAME, "--onnx")
        first, second = self.hub.asked_of_store(GRAPH)
        self.assertIsNone(first.range)
        self.assertRegex(second.range or "", r"^bytes=[1-9]\d*-$")

    def test_a_process_that_was_killed_goes_on(self) -> None:
        repository = self.hub.add(NAME, self.repository(DEFAULT_MODEL))
        repository.faults[GRAPH] = Fault(hang_after=MIDWAY)
        with subprocess.Popen(
            self.command(NAME, "--onnx"),
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            self.assertTrue(self.hub.hanging.wait(PATIENCE))
            partial = next((self.work / "cache").rglob("*.partial"))
            while partial.stat().st_size == 0:
                self.assertIsNone(process.poll())
            process.send_signal(signal.SIGKILL)
        self.assertFalse(self.out.exists())
        there = partial.stat().st_size
        said = self.succeed(NAME, "--onnx")
        self.assertIn(f"resuming after {there:,} bytes", said)
        self.assertEqual(self.hub.asked_of_store(GRAPH)[-1].range, f"bytes={there}-")
        self.check_sums()

    def test_a_store_that_knows_no_ranges(self) -> None:
        repository = self.hub.add(NAME, self.repository(DEFAULT_MODEL))
        repository.faults[GRAPH] = Fault(drop_after=MIDWAY, times=2, whole=True)
        self.succeed(NAME, "--onnx")
        self.check_sums()

    def test_a_wrong_bit_is_noticed(self) -> None:
        repository = self.hub.add(NAME, self.repository())
        repository.faults[GRAPH] = Fault(flip_at=1000)
        self.fail_with(f"{GRAPH} was damaged during the download", NAME, "--onnx")
        # Nothing of it is left, so the next run is as the first.
        self.succeed(NAME, "--onnx")
        self.assertIsNone(self.hub.asked_of_store(GRAPH)[-1].range)

    def test_a_wrong_bit_in_a_small_file_is_noticed(self) -> None:
        repository = self.hub.add(NAME, self.repository())
        repository.faults["tokenizer.json"] = Fault(flip_at=100)
        self.fail_with("tokenizer.json was damaged during the download", NAME, "--onnx")

    def test_a_file_that_is_too_short_is_noticed(self) -> None:
        repository = self.hub.add(NAME, self.repository())
        repository.faults[GRAPH] = Fault(cut_to=1000)
        self.fail_with(f"{GRAPH} does not have the .* bytes", NAME, "--onnx")
        self.succeed(NAME, "--onnx")

    def test_a_file_that_was_damaged_later_is_downloaded_again(self) -> None:
        self.hub.add(NAME, self.repository())
        self.succeed(NAME, "--onnx")
        (kept,) = (self.work / "cache").rglob("model.onnx")
        contents = bytearray(kept.read_bytes())
        contents[1000] ^= 1
        kept.write_bytes(contents)
        self.assertIn("is damaged", self.succeed(NAME, "--onnx"))
        self.assertEqual(len(self.hub.asked_of_store(GRAPH)), 2)

    def test_no_hub_at_all(self) -> None:
        nowhere = "http://127.0.0.1:9"
        self.fail_with(
            f"no connection to {nowhere}", NAME, "--onnx", HF_ENDPOINT=nowhere
        )

    def test_a_full_disk(self) -> None:
        repository = self.hub.add(NAME, self.repository())
        promise = hub.Promise(GRAPH, self.hub.url, 1 << 60, "0" * 64)
        with self.assertRaisesRegex(ExportError, "the disk is too full"):
            hub.ensure_space(repository.directory, [promise])
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with (
            self.assertRaisesRegex(ExportError, "the disk is full"),
            hub.plain_errors(NAME, None),
        ):
            raise full


class AsksForPermission(DownloadTest):
    def test_an_unknown_model(self) -> None:
        self.fail_with("has no model no/such, or it is private", "no/such", "--onnx")
        self.fail_with("has no model no/such", "no/such", "--onnx", HF_TOKEN=TOKEN)

    def test_a_private_model(self) -> None:
        self.hub.add(NAME, self.repository(), private=True)
        self.fail_with("it is private: .*HF_TOKEN", NAME, "--onnx")
        # The store refuses requests that bring the token along.
        self.succeed(NAME, "--onnx", HF_TOKEN=TOKEN)
        of_store = self.hub.asked_of_store(GRAPH)
        self.assertEqual([request.authorization for request in of_store], [None])

    def test_a_gated_model(self) -> None:
        self.hub.add(NAME, self.repository(), gated=True)
        self.fail_with(f"{NAME} is gated: .*HF_TOKEN", NAME, "--onnx")
        self.succeed(NAME, "--onnx", HF_TOKEN=TOKEN)

    def test_a_wrong_token(self) -> None:
        self.hub.add(NAME, self.repository())
        self.fail_with("HF_TOKEN", NAME, "--onnx", HF_TOKEN="hf_wrong")


class RefusesWhatItCanNotUse(DownloadTest):
    def config(self, **changes: object) -> None:
        """Serves a model whose config.json says something else."""
        directory = self.repository()
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        self.hub.add(NAME, directory)

    def test_what_is_no_model(self) -> None:
        self.fail_with("there is no directory ./nowhere", "./nowhere", "--onnx")
        self.fail_with("neither a directory nor a model's id", "a b", "--onnx")
        empty = self.work / "empty"
        empty.mkdir()
        self.fail_with("has no config.json", empty, "--onnx")

    def test_a_model_for_something_else(self) -> None:
        self.config(architectures=["BertForMaskedLM"])
        self.fail_with("BertForMaskedLM, not a sequence-classification", NAME, "--onnx")

    def test_an_unknown_architecture(self) -> None:
        self.config(model_type="made_up")
        self.fail_with("not of a model that can be exported: .*made_up", NAME, "--onnx")

    def test_labels_that_do_not_fit(self) -> None:
        self.config(id2label={"0": "a", "1": "b", "2": "c"})
        self.fail_with("names 3 labels, but the model gives 2", NAME, "--onnx")

    def test_a_regression_model(self) -> None:
        self.config(problem_type="regression")
        self.fail_with("regression", NAME, "--onnx")

    def test_a_model_without_a_graph(self) -> None:
        directory = self.repository()
        (directory / GRAPH).rename(directory / "pytorch_model.bin")
        self.hub.add(NAME, directory)
        self.fail_with("has no ONNX file .*: try without ONNX=1", NAME, "--onnx")

    def test_a_damaged_graph(self) -> None:
        directory = self.repository()
        (directory / GRAPH).write_bytes(b"no graph")
        self.hub.add(NAME, directory)
        self.fail_with("cannot be read as an ONNX graph", NAME, "--onnx")


class ReplacesOnlyItsOwn(DownloadTest):
    def test_a_directory_of_someone_else(self) -> None:
        self.out.mkdir()
        (self.out / "precious").write_text("kept")
        self.hub.add(NAME, self.repository())
        self.fail_with("FORCE=1 replaces it", NAME, "--onnx")
        self.assertEqual((self.out / "precious").read_text(), "kept")
        # It was not even asked for.
        self.assertEqual(self.hub.requests, [])
        self.succeed(NAME, "--onnx", "--force")
        self.assertNotIn("precious", self.files())

    def test_a_directory_that_was_changed_since(self) -> None:
        self.hub.add(NAME, self.repository())
        self.succeed(NAME, "--onnx")
        self.assertTrue(publish.made_here(self.out))
        with (self.out / "config.json").open("a") as config:
            config.write("\n")
        self.assertFalse(publish.made_here(self.out))

    def test_a_failure_leaves_the_old_one(self) -> None:
        directory = self.repository()
        self.hub.add(NAME, directory)
        self.succeed(NAME, "--onnx")
        before = {file.name: file.read_bytes() for file in self.out.iterdir()}
        (directory / GRAPH).write_bytes(b"no graph")
        self.fail_with("cannot be read", NAME, "--onnx")
        after = {file.name: file.read_bytes() for file in self.out.iterdir()}
        self.assertEqual(before, after)
        left = {file.name for file in self.work.iterdir() if file.name.startswith(".")}
        self.assertEqual(left, set())

    def test_what_a_killed_run_left_is_no_obstacle(self) -> None:
        left = self.work / ".out.new"
        left.mkdir()
        (left / "half").write_text("half")
        self.hub.add(NAME, self.repository())
        self.succeed(NAME, "--onnx")
        self.assertNotIn("half", self.files())

    def test_two_at_once(self) -> None:
        with (
            publish.alone(self.out),
            self.assertRaisesRegex(ExportError, "by another process"),
            publish.staging(self.out),
        ):
            self.fail("it was let in")


if __name__ == "__main__":
    unittest.main()
