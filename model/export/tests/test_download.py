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
import unittest.mock
from pathlib import Path

import numpy as np

from export import __main__ as command
from export import graph, hub, publish, source
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

    def test_weights_in_a_folder_beside_the_graph(self) -> None:
        self.hub.add(NAME, FIXTURES / "tiny-external")
        self.succeed(NAME, "--onnx")
        self.assertEqual(len(self.hub.asked_of_store("onnx/weights/tiny.bin")), 1)

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


class FindsWeights(DownloadTest):
    """Weights in files of their own, wherever these are."""

    def setUp(self) -> None:
        super().setUp()
        self.given = FIXTURES / "tiny-external" / GRAPH
        self.merged = self.work / "model.onnx"

    def logits(self, file: Path) -> np.ndarray:
        ids = np.array([[2, 16, 3]])
        feed = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        return graph.Graph(file).logits(feed)

    def check_merged(self) -> None:
        expected = self.logits(FIXTURES / "tiny-bert" / "model.onnx")
        np.testing.assert_array_equal(self.logits(self.merged), expected)

    def test_links_as_in_the_cache_of_the_hub(self) -> None:
        blobs, snapshot = self.work / "blobs", self.work / "snapshots" / "abc"
        blobs.mkdir()
        for number, name in enumerate(("model.onnx", "weights/tiny.bin")):
            shutil.copyfile(self.given.parent / name, blobs / str(number))
            link = snapshot / name
            link.parent.mkdir(parents=True)
            link.symlink_to(blobs / str(number))
        graph.merge(snapshot / "model.onnx", self.merged)
        self.assertEqual(graph.external_files(self.merged), [])
        self.check_merged()

    def test_more_than_one_file_can_hold(self) -> None:
        # As for more than 2 GiB, which would take minutes.
        with unittest.mock.patch.object(graph, "LARGEST_FILE", 1000):
            graph.merge(self.given, self.merged)
        self.assertEqual(graph.external_files(self.merged), [graph.DATA_FILE])
        self.check_merged()

    def test_missing_ones_are_named(self) -> None:
        directory = self.work / "repository"
        (directory / "onnx").mkdir(parents=True)
        shutil.copyfile(self.given, directory / GRAPH)
        found = source.Source("someone/model", directory)
        with self.assertRaisesRegex(ExportError, "has no onnx/weights/tiny.bin"):
            source.graph_data(found, {GRAPH})
        with self.assertRaisesRegex(ExportError, "weights/tiny.bin does not exist"):
            graph.merge(found.graph, self.merged)

    def test_ones_outside_of_the_directory_are_refused(self) -> None:
        import onnx

        model = onnx.load(self.given, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = "../weights"
        file = self.work / "outside.onnx"
        file.write_bytes(model.SerializeToString())
        with self.assertRaisesRegex(ExportError, r"\.\./weights, which is not in its"):
            graph.merge(file, self.merged)


class ReadsFilesAsTransformersDoes(DownloadTest):
    """A directory that can be made can be served: both read the same files alike."""

    def edit(self, directory: Path, name: str, **values: object) -> None:
        file = directory / name
        given = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(given | values))

    def config(self) -> dict:
        return json.loads((self.out / "config.json").read_text())

    def test_numbers_of_python_and_settings_of_the_tokenizer(self) -> None:
        directory = self.repository(FIXTURES / "tiny-int32")
        self.edit(
            directory,
            "config.json",
            id2label={"0": True},
            pad_token_id=-1,
            initializer_range=float("nan"),
        )
        self.edit(directory, "tokenizer_config.json", do_lower_case=False)
        self.succeed(directory, "--onnx")
        self.assertEqual(self.config()["id2label"], {"0": "true"})
        written = json.loads((self.out / "tokenizer.json").read_text())
        self.assertIs(written["normalizer"]["lowercase"], False)

    def test_a_graph_without_a_mask_is_run_text_by_text(self) -> None:
        import onnx

        directory = self.repository(FIXTURES / "tiny-roberta")
        model = onnx.load(directory / GRAPH)
        kept = [put for put in model.graph.input if put.name != "attention_mask"]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        one = onnx.numpy_helper.from_array(np.array(1), "mask.one")
        model.graph.initializer.append(one)
        make = onnx.helper.make_node
        expand = make("Expand", ["mask.one", "mask.shape"], ["attention_mask"])
        model.graph.node.insert(0, expand)
        model.graph.node.insert(0, make("Shape", ["input_ids"], ["mask.shape"]))
        onnx.save(model, directory / GRAPH)
        self.succeed(directory, "--onnx")
        self.assertIs(self.config()["fastsentiment"]["batch_invariant"], False)

    def test_labels_and_problems_that_cannot_be_served(self) -> None:
        directory = self.repository()
        for values, words in (
            ({"id2label": {"0": "x", "1": "x"}}, "two labels of id2label are the same"),
            ({"id2label": {"0": "x", "2": "y"}}, r"the ids of id2label are \[0, 2\]"),
            ({"problem_type": "regression"}, "no probabilities"),
        ):
            self.edit(directory, "config.json", label2id={}, **values)
            with self.assertRaisesRegex(ExportError, words):
                command.read_config(directory)

    def test_the_server_has_the_last_word(self) -> None:
        import onnx

        server = self.work / "server"
        server.write_text(
            '#!/bin/sh\ntest "$1 $2" = "check --model" && test -e "$3/model.onnx" && '
            'test -e "$3/golden.json" || exit 2\n'
            "test -e refuse || exit 0\n"
            'echo "a warning" >&2; echo "error: $3/model.onnx is too blue" >&2; exit 1\n'
        )
        server.chmod(0o755)
        directory = self.repository()
        # A graph for one text at a time.
        model = onnx.load(directory / GRAPH)
        for put in model.graph.input:
            axis = put.type.tensor_type.shape.dim[0]
            axis.ClearField("dim_param")
            axis.dim_value = 1
        onnx.save(model, directory / GRAPH)
        self.succeed(directory, "--onnx", "--server", str(server))
        self.assertIs(self.config()["fastsentiment"]["batch_invariant"], False)
        (self.work / "refuse").touch()
        words = "would not serve the model: model.onnx is too blue$"
        self.fail_with(words, directory, "--onnx", "--server", str(server))


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
