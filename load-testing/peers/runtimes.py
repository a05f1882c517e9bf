"""What runs the model: Transformers with PyTorch, or ONNX Runtime.

Each is called with texts and gives, for each of them, all labels with their scores,
the highest first. The texts of a call are padded to the longest of them.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

# What a text is cut to, special tokens included.
LONGEST = 512

# Whose versions belong to what was measured.
PACKAGES = {
    "onnxruntime": ("onnxruntime", "tokenizers"),
    "torch": ("torch", "transformers", "tokenizers"),
}


def load(runtime: str, directory: Path, threads: int) -> Callable:
    kind = {"onnxruntime": OnnxRuntime, "torch": Torch}[runtime]
    model = kind(directory, threads)
    # Whatever is set up at the first call is no part of the first request.
    model(["Warm up."])
    return model


def ranked(labels: list[str], scores: list[list[float]]) -> list[list[dict]]:
    return [
        sorted(
            ({"label": label, "score": score} for label, score in zip(labels, row)),
            key=lambda answer: -answer["score"],
        )
        for row in scores
    ]


class Torch:
    def __init__(self, directory: Path, threads: int) -> None:
        # Imported here: it takes seconds, and the other runtime does without.
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self.inference_mode = torch.inference_mode
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = AutoModelForSequenceClassification.from_pretrained(directory)
        self.model.eval()
        names = self.model.config.id2label
        self.labels = [names[i] for i in range(len(names))]

    def __call__(self, texts: list[str]) -> list[list[dict]]:
        encoding = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=LONGEST,
            return_tensors="pt",
        )
        with self.inference_mode():
            logits = self.model(**encoding).logits
            return ranked(self.labels, logits.softmax(dim=-1).tolist())


class OnnxRuntime:
    def __init__(self, directory: Path, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin wait for work at the cost of the event loop: without, a
        # text took half the CPU time, and answers came sooner.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            directory / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.enable_padding()
        names = json.loads((directory / "config.json").read_text())["id2label"]
        self.labels = [names[str(i)] for i in range(len(names))]

    def __call__(self, texts: list[str]) -> list[list[dict]]:
        encodings = self.tokenizer.encode_batch_fast(texts)
        ids = [encoding.ids for encoding in encodings]
        mask = [encoding.attention_mask for encoding in encodings]
        inputs = {
            "input_ids": np.array(ids, dtype=np.int64),
            "attention_mask": np.array(mask, dtype=np.int64),
        }
        [logits] = self.session.run(["logits"], inputs)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores = powers / powers.sum(axis=-1, keepdims=True)
        return ranked(self.labels, scores.tolist())
