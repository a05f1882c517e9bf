"""The runtimes of the model: Transformers with PyTorch, and ONNX Runtime.

Each is called with a list of texts, and returns all labels and scores of each text, the
highest score first. It pads the texts of a call to the length of the longest.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

# The maximum number of tokens of a text, special tokens included.
LONGEST = 512

# The packages whose versions are recorded with the results.
PACKAGES = {
    "onnxruntime": ("onnxruntime", "tokenizers"),
    "torch": ("torch", "transformers", "tokenizers"),
}


def load(runtime: str, directory: Path, threads: int) -> Callable:
    kind = {"onnxruntime": OnnxRuntime, "torch": Torch}[runtime]
    model = kind(directory, threads)
    # The first call also initialises the runtime, which no request should wait for.
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
        # Imported here, since it takes seconds and the other runtime does not need it.
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
        # Spinning threads take CPU time from the event loop. Without spinning, a text
        # took half the CPU time, and latency was lower.
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
