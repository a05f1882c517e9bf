"""Makes a model directory for FastSentiment from a model on the Hugging Face hub.

`make model MODEL=<id or directory>` runs it; see also `python -m export --help`.

A run uses these modules, in this order:

- `source`: which files of a model are needed; `hub`: downloads and verifies them;
- `tokenizer`: writes `tokenizer.json` from any format of tokenizer;
- `pytorch`: exports the weights to ONNX; `graph`: fuses and quantises the graph;
- `check`: compares the result with PyTorch on real sentences;
- `publish`: writes config, card and checksums, and moves the directory into place.

Only `pytorch` imports PyTorch, so existing ONNX files do not need it. The sentences, the
reference and the golden answers come from `model/tools`.
"""

import os

# Hides advice for developers. Transformers reads this when it is imported.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
