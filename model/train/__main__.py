"""Makes the default model: `python -m train --data DIR --out DIR [--work DIR]`.

Steps: map MiniLM onto DistilBERT and verify it; fine-tune on SST-2 in fp32;
calibrate; build and measure every way of quantising; write the one that ships,
with its card and checksums. Fails if the shipped file misses a bar.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from train import card, data, evaluate, finetune, graph, minilm, modeling, publish, ways

SEED = 0
# The hand-built fp32 graph and torch differ by the order of sums alone.
SAME_LOGITS = 1e-4


def fine_tuned(
    work: Path, train_set: data.Dataset, dev_set: data.Dataset
) -> modeling.Classifier:
    """The fp32 classifier: from the work folder if it is there, else trained."""
    torch.manual_seed(SEED)
    model = minilm.load()
    print(
        f"MiniLM as DistilBERT: largest difference {minilm.verify(model):.1e}",
        flush=True,
    )
    checkpoint = work / "float.pt"
    if checkpoint.exists():
        print(f"using {checkpoint}; delete it to train again", flush=True)
        model.load_state_dict(torch.load(checkpoint), strict=False)
        return model.eval()
    finetune.train(model, train_set, dev_set, finetune.RECIPE, checkpoint)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with SST-2's train.tsv and dev.tsv",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write the model to"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "fastsentiment-train",
        help="folder for checkpoint and fp32 model (default: %(default)s)",
    )
    arguments = parser.parse_args()
    out, work = arguments.out, arguments.work
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)

    train_set, dev_set = data.load(arguments.data, minilm.tokenizer())
    model = fine_tuned(work, train_set, dev_set)
    torch_logits = finetune.predict(model, dev_set)

    float_file = work / "float.onnx"
    float_file.write_bytes(
        graph.build(ways.float_weights(model), ways.FLOAT).SerializeToString()
    )
    logits = evaluate.alone(evaluate.session(float_file), dev_set)
    difference = float(np.abs(logits - torch_logits).max())
    assert difference < SAME_LOGITS, (
        f"the fp32 graph differs from torch by {difference}"
    )
    scores = evaluate.positive_score(logits)

    print(evaluate.Report.HEADER, flush=True)
    reports = [evaluate.measure("fp32", float_file, dev_set)]
    print(reports[0].row(), flush=True)
    contents = b""
    for way in ways.all_ways(model, train_set):
        contents = graph.build(way.weights, way.scheme).SerializeToString()
        reports.append(evaluate.measure(way.name, contents, dev_set, scores))
        print(reports[-1].row(), flush=True)

    shipped = reports[-1]
    (out / "model.onnx").write_bytes(contents)
    publish.write_config(out, shipped.batch_invariant)
    publish.write_tokenizer(out)
    publish.verify_tokenizer(out, data.read_split(arguments.data, "dev")[0])
    publish.copy_licence(out)
    card.write(out, reports, len(train_set.ids))
    publish.write_checksums(out)
    if shipped.missed():
        raise SystemExit(f"the shipped model misses: {', '.join(shipped.missed())}")
    print(f"{out}: batch_invariant {shipped.batch_invariant}, all bars met")


if __name__ == "__main__":
    main()
