"""From the hub to an answer: fetched, exported, quantised, served, and held against
PyTorch, which shares nothing with what is tested but the weights.

Needs PyTorch, and the binary that `make build` makes.
"""

import json
import unittest
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import texts
from export import check
from export.tests import models
from export.tests.harness import ExportTest, Server
from export.tests.stand_in import Fault
from reference import token_limit

NAME = "someone/model"
# The bound that the export promises.
LARGEST = 1e-4
# Longer than the blocks in which downloads are written.
MIDWAY = 100 << 20
# Enough for every kind of text, without those that take seconds in PyTorch.
LONGEST = 4000


def sentences() -> list[str]:
    samples = [*texts.samples(limit=32), *texts.around_limit(512)]
    return [sample.text for sample in samples if len(sample.text) <= LONGEST]


@torch.no_grad()
def truth(directory: Path) -> Callable[[str], dict[str, float]]:
    """What Transformers and PyTorch say, one text at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=torch.float32
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    limit = token_limit(model.config, tokenizer)
    several = model.config.problem_type == "multi_label_classification"

    @torch.no_grad()
    def answer(text: str) -> dict[str, float]:
        encoding = tokenizer(
            text, truncation=True, max_length=limit, return_tensors="pt"
        )
        logits = model(**encoding).logits[0].double()
        scores = logits.sigmoid() if several else logits.softmax(dim=0)
        labels = model.config.id2label
        return {labels[i]: score.item() for i, score in enumerate(scores)}

    return answer


class EndToEnd(ExportTest):
    def setUp(self) -> None:
        super().setUp()
        self.repository = self.work / "repository"
        self.repository.mkdir()

    def served(self) -> list[dict[str, float]]:
        with Server(self.out, self.work) as server:
            return server.predict(sentences())

    def check_parity(self) -> None:
        """Every score that the server answers is PyTorch's."""
        answer = truth(self.repository)
        largest = 0.0
        winners = set()
        for text, found in zip(sentences(), self.served(), strict=True):
            expected = answer(text)
            self.assertEqual(set(found), set(expected))
            differences = (abs(found[label] - expected[label]) for label in expected)
            largest = max(largest, *differences)
            winners.add(max(expected, key=expected.__getitem__))
        self.assertLessEqual(largest, LARGEST)
        # A model that says the same of every text would show nothing.
        self.assertGreater(len(winners), 1)

    def check_int8(self) -> None:
        """Labels are PyTorch's for most texts, and no text changes another's scores."""
        answer = truth(self.repository)
        same = 0
        with Server(self.out, self.work) as server:
            together = server.predict(sentences())
            for text, found in zip(sentences(), together, strict=True):
                self.assertEqual(server.predict([text]), [found])
                expected = answer(text)
                same += max(found, key=found.get) == max(expected, key=expected.get)
        self.assertGreaterEqual(same / len(sentences()), check.AGREEMENT_INT8)

    def operators(self) -> set[str]:
        import onnx

        return {node.op_type for node in onnx.load(self.out / "model.onnx").graph.node}

    def inputs(self) -> list[str]:
        import onnx

        graph = onnx.load(self.out / "model.onnx").graph
        for put in graph.input:
            shape = put.type.tensor_type.shape.dim
            self.assertEqual(put.type.tensor_type.elem_type, onnx.TensorProto.INT64)
            # Named axes are free.
            self.assertTrue(all(axis.dim_param for axis in shape), put)
        return [put.name for put in graph.input]


class FullSize(EndToEnd):
    """DistilBERT with 66 million random weights, through everything there is."""

    def test_distilbert(self) -> None:
        models.full_size(self.repository)
        repository = self.hub.add(NAME, self.repository)
        repository.faults["pytorch_model.bin"] = Fault(drop_after=MIDWAY)
        said = self.succeed(NAME)
        self.assertRegex(said, r"fused, fp32: largest score difference \d")
        parts = self.hub.asked_of_store("pytorch_model.bin")
        self.assertEqual([part.range is None for part in parts], [True, False])
        self.check_sums()
        self.assertEqual(self.inputs(), ["input_ids", "attention_mask"])
        self.assertLessEqual(
            {"MultiHeadAttention", "SkipLayerNormalization", "BiasGelu"},
            self.operators(),
        )
        self.check_parity()

        fp32 = (self.out / "model.onnx").stat().st_size
        said = self.succeed(NAME, "--precision", "int8")
        self.assertRegex(said, r"int8: largest score difference \d")
        # What was downloaded is used again, and so is the directory.
        self.assertEqual(len(self.hub.asked_of_store("pytorch_model.bin")), 2)
        self.assertLess((self.out / "model.onnx").stat().st_size, fp32 / 3)
        self.assertIn("MatMulInteger", self.operators())
        self.check_int8()


class SmallOnes(EndToEnd):
    """Every kind of model, as small as it can be."""

    def test_bert_with_token_types(self) -> None:
        self.hub.add(NAME, models.tiny("tiny-bert", self.repository))
        self.succeed(NAME)
        inputs = ["input_ids", "attention_mask", "token_type_ids"]
        self.assertEqual(self.inputs(), inputs)
        self.assertIn("MultiHeadAttention", self.operators())
        self.check_parity()
        self.succeed(NAME, "--precision", "int8")
        self.check_int8()

    def test_roberta_with_bpe(self) -> None:
        models.tiny("tiny-roberta", self.repository)
        models.as_vocabulary_and_merges(self.repository)
        self.hub.add(NAME, self.repository)
        self.succeed(NAME)
        self.assertTrue((self.out / "tokenizer.json").exists())
        self.check_parity()

    def test_five_labels(self) -> None:
        self.hub.add(NAME, models.tiny("tiny-distilbert-5", self.repository))
        self.succeed(NAME)
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(len(config["id2label"]), 5)
        self.check_parity()

    def test_several_labels_at_once_with_sentencepiece(self) -> None:
        models.tiny("tiny-multilabel", self.repository)
        models.as_sentencepiece(self.repository)
        self.hub.add(NAME, self.repository)
        self.succeed(NAME)
        self.assertTrue((self.out / "tokenizer.json").exists())
        self.check_parity()

    def test_weights_in_half_precision(self) -> None:
        self.hub.add(NAME, models.tiny("tiny-fp16", self.repository))
        self.succeed(NAME)
        self.check_parity()

    def test_a_local_directory(self) -> None:
        models.tiny("tiny-bert", self.repository)
        said = self.succeed(self.repository)
        self.assertEqual(self.hub.requests, [])
        self.assertRegex(said, r"fused, fp32: largest score difference \d")
        self.check_sums()


class RefusesWhatItCanNotExport(EndToEnd):
    def test_weights_without_a_classifier(self) -> None:
        from safetensors.torch import load_file, save_file

        models.tiny("tiny-bert", self.repository)
        file = self.repository / "model.safetensors"
        kept = {k: v for k, v in load_file(file).items() if "classifier" not in k}
        save_file(kept, file, {"format": "pt"})
        self.hub.add(NAME, self.repository)
        self.fail_with(r"the weights lack classifier\.", NAME)

    def test_a_pickle_that_would_run_code(self) -> None:
        models.tiny("tiny-bert", self.repository)
        (self.repository / "model.safetensors").unlink()
        victim = self.work / "it ran"
        torch.save(Hostile(victim), self.repository / "pytorch_model.bin")
        self.hub.add(NAME, self.repository)
        self.fail_with("Transformers cannot load the model", NAME)
        self.assertFalse(victim.exists())

    def test_a_model_with_a_decoder(self) -> None:
        models.tiny("tiny-bert", self.repository)
        file = self.repository / "config.json"
        config = json.loads(file.read_text()) | {"is_encoder_decoder": True}
        file.write_text(json.dumps(config))
        self.hub.add(NAME, self.repository)
        self.fail_with("have a decoder", NAME)


class Hostile:
    """Unpickled, it writes a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.victim,))


class FindsWrongExports(EndToEnd):
    """The check can fail: it is given a graph of another model."""

    def test_a_graph_that_is_not_the_model(self) -> None:
        from export import __main__ as command
        from export import graph, tokenizer
        from export.errors import ExportError
        from export.pytorch import Reference

        directory = models.tiny("tiny-bert", self.repository)
        config = command.read_config(directory)
        reference = Reference(directory, config)
        exported = self.work / "exported.onnx"
        reference.export(exported)
        reader = tokenizer.load(directory)
        checks = check.Check(config, reader, reference.names, reference.logits)
        check.require_fp32(checks.compare(graph.Graph(exported).logits))
        with torch.no_grad():
            next(iter(reference.model.classifier.parameters())).mul_(1.01)
        reference.export(exported)
        with self.assertRaisesRegex(ExportError, "cannot be trusted"):
            check.require_fp32(checks.compare(graph.Graph(exported).logits))


if __name__ == "__main__":
    unittest.main()
