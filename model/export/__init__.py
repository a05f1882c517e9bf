"""Makes a model directory for FastSentiment of a model from the Hugging Face hub.

`make model MODEL=<id or directory>` runs it; `python -m export --help` says more.

A run goes through these modules, one after the other:

- `source`: which files of a model are needed; `hub`: downloads and verifies them;
- `tokenizer`: writes `tokenizer.json`, whatever form the model's tokenizer has;
- `pytorch`: exports the weights to ONNX; `graph`: fuses and quantises that;
- `check`: holds the outcome against PyTorch on real sentences;
- `publish`: config, card and checksums, moved into place when all is well.

Only `pytorch` imports PyTorch, so that ready ONNX files need none. The sentences, the
reference and the golden answers are those of `model/tools`.
"""

import os

# Transformers' advice is for those who call it; to be heard before it is imported.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
