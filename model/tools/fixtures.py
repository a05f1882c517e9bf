"""Makes the tiny models of `host/tests/fixtures/models/`, and their golden answers.

Every model is real and complete, as small as its architecture allows, and
randomly initialised from a fixed seed; vocabularies come from our own
sentences. Needs PyTorch, Transformers, onnx and onnxruntime; its output is
committed, so that tests need none of them. With the same versions of the packages,
the same files come out.
"""

import argparse
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertTokenizer,
    ElectraConfig,
    ElectraForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    MPNetTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaTokenizer,
    XLNetConfig,
    XLNetForSequenceClassification,
    XLNetTokenizer,
)

import float_inputs
import golden
import texts
from reference import Reference, open_session

OUTPUT = golden.ROOT / "host" / "tests" / "fixtures" / "models"
OPSET = 18
SEED = 20261122
VOCABULARY = 512
# Longest input in tokens; RoBERTa's table holds two unused positions more.
LIMIT = 32
# Longest piece of the WordPiece and Unigram vocabularies, in characters.
LONGEST_PIECE = 6
# Random weights of this size make attention and the layers around it matter.
WEIGHT_RANGE = 0.3
# Logits over our sentences get this spread, so that a wrong token shows in a score.
LOGIT_SPREAD = 2.0
# The models that are made of other ones.
QUANTISED = "tiny-int8"
FLOATS = "tiny-f32"
EXTERNAL = "tiny-external"
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": WEIGHT_RANGE,
    "attn_implementation": "eager",
}
DISTILBERT_SIZES = {
    "dim": 16,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dim": 32,
    "initializer_range": WEIGHT_RANGE,
    "attn_implementation": "eager",
}


@dataclass(frozen=True)
class Fixture:
    """A tiny model: how it is made and in what it differs from the others."""

    name: str
    model: type[PreTrainedModel]
    config: PreTrainedConfig
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    input_type: torch.dtype = torch.int64
    half: bool = False
    keep_tokenizer_config: bool = True
    fixed_padding_and_truncation: bool = False

    @property
    def tolerance(self) -> float:
        """What a score may differ by: one step of a float16 logit shows in it."""
        return 1e-3 if self.half else golden.TOLERANCE


def labels(*names: str) -> dict[str, dict]:
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }


def fixtures() -> Iterator[Fixture]:
    vocabulary = {"vocab_size": VOCABULARY}
    yield Fixture(
        "tiny-bert",
        BertForSequenceClassification,
        BertConfig(
            **vocabulary,
            **SIZES,
            **labels("bad", "good"),
            max_position_embeddings=LIMIT,
        ),
        uncased_tokenizer,
        inputs=("input_ids", "attention_mask", "token_type_ids"),
        keep_tokenizer_config=False,
    )
    yield Fixture(
        "tiny-roberta",
        RobertaForSequenceClassification,
        RobertaConfig(
            **vocabulary,
            **SIZES,
            **labels("negative", "neutral", "positive"),
            max_position_embeddings=LIMIT + 2,
            type_vocab_size=1,
            pad_token_id=1,
        ),
        byte_level_tokenizer,
    )
    yield Fixture(
        "tiny-distilbert-5",
        DistilBertForSequenceClassification,
        DistilBertConfig(
            **vocabulary,
            **DISTILBERT_SIZES,
            **labels("tr\u00e8s n\u00e9gatif", "2 \u2605", "so \"so\"", "4 \u2605", "\u5f88\u597d"),
            max_position_embeddings=LIMIT,
            pad_token_id=3,
        ),
        cased_tokenizer,
        fixed_padding_and_truncation=True,
    )  # fmt: skip
    yield Fixture(
        "tiny-multilabel",
        XLMRobertaForSequenceClassification,
        XLMRobertaConfig(
            **vocabulary,
            **SIZES,
            **labels("joy", "anger", "fear", "surprise"),
            max_position_embeddings=LIMIT + 2,
            type_vocab_size=1,
            pad_token_id=1,
            problem_type="multi_label_classification",
        ),
        unigram_tokenizer,
    )
    yield Fixture(
        "tiny-fp16",
        ElectraForSequenceClassification,
        ElectraConfig(
            **vocabulary,
            **SIZES,
            **labels("negative", "positive"),
            embedding_size=16,
            max_position_embeddings=LIMIT,
        ),
        uncased_tokenizer,
        inputs=("input_ids", "attention_mask", "token_type_ids"),
        half=True,
    )
    yield Fixture(
        "tiny-int32",
        BertForSequenceClassification,
        BertConfig(
            **vocabulary,
            **SIZES,
            **labels("toxic"),
            max_position_embeddings=LIMIT,
        ),
        left_truncating_tokenizer,
        input_type=torch.int32,
    )


def architectures() -> Iterator[Fixture]:
    """Models that differ from BERT in how they work inside."""
    sizes = {"vocab_size": VOCABULARY, **SIZES}
    yield Fixture(
        "tiny-albert",
        AlbertForSequenceClassification,
        AlbertConfig(
            **sizes,
            **labels("negative", "positive"),
            embedding_size=8,
            max_position_embeddings=LIMIT,
            pad_token_id=0,
        ),
        albert_tokenizer,
        inputs=("input_ids", "attention_mask", "token_type_ids"),
    )
    yield Fixture(
        "tiny-deberta-v2",
        DebertaV2ForSequenceClassification,
        DebertaV2Config(
            **sizes,
            **labels("negative", "positive"),
            max_position_embeddings=LIMIT,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
            position_biased_input=False,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            pooler_hidden_size=16,
            type_vocab_size=0,
        ),
        deberta_tokenizer,
    )
    yield Fixture(
        "tiny-modernbert",
        ModernBertForSequenceClassification,
        ModernBertConfig(
            **sizes | {"num_hidden_layers": 2},
            **labels("negative", "neutral", "positive"),
            max_position_embeddings=LIMIT,
            global_attn_every_n_layers=2,
            local_attention=8,
            classifier_pooling="mean",
            pad_token_id=1,
        ),
        modernbert_tokenizer,
    )
    yield Fixture(
        "tiny-mpnet",
        MPNetForSequenceClassification,
        MPNetConfig(
            **sizes,
            **labels("negative", "positive"),
            max_position_embeddings=LIMIT + 2,
        ),
        mpnet_tokenizer,
    )
    yield Fixture(
        "tiny-xlnet",
        XLNetForSequenceClassification,
        XLNetConfig(
            vocab_size=VOCABULARY,
            d_model=16,
            n_layer=1,
            n_head=2,
            d_inner=32,
            initializer_range=WEIGHT_RANGE,
            attn_implementation="eager",
            **labels("negative", "positive"),
        ),
        xlnet_tokenizer,
        inputs=("input_ids", "attention_mask", "token_type_ids"),
    )


def corpus() -> list[str]:
    """What vocabularies come from; some characters of the tests stay unknown."""
    groups = texts.PLAIN + texts.LONG[:1] + texts.EMOJI[:3] + texts.UNICODE[:1]
    chinese = [sample for sample in texts.UNICODE if sample.name == "chinese"]
    samples = [*groups, *texts.SYNTAX, *chinese]
    return [sample.unit for sample in samples] + [texts.LIMIT_UNIT * 50]


def count_pieces(words: Iterable[str], inner_prefix: str = "") -> Counter[str]:
    """Counts the parts of words; those that begin no word get `inner_prefix`.

    Unlike WordPieceTrainer and UnigramTrainer, this gives the same in every run.
    """
    return Counter(
        (inner_prefix if start else "") + word[start:end]
        for word in words
        for start in range(len(word))
        for end in range(start + 1, min(len(word), start + LONGEST_PIECE) + 1)
    )


def weightiest(pieces: Counter[str], count: int, inner_prefix: str = "") -> list[str]:
    """All single characters, then what covers most of the text."""

    def rank(piece: str) -> tuple[bool, int, str]:
        length = len(piece.removeprefix(inner_prefix))
        return (length > 1, -pieces[piece] * length, piece)

    return sorted(pieces, key=rank)[:count]


def wordpiece_vocabulary(lower_case: bool, special_tokens: list[str]) -> dict[str, int]:
    normalizer = normalizers.BertNormalizer(
        lowercase=lower_case, strip_accents=lower_case
    )
    splitter = pre_tokenizers.BertPreTokenizer()
    words = (
        word
        for text in corpus()
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    pieces = count_pieces(words, "##")
    tokens = weightiest(pieces, VOCABULARY - len(special_tokens), "##")
    return {token: i for i, token in enumerate([*special_tokens, *tokens])}


def uncased_tokenizer(**options: str) -> PreTrainedTokenizerBase:
    special_tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = wordpiece_vocabulary(True, special_tokens)
    return BertTokenizer(vocabulary, model_max_length=LIMIT, **options)


def left_truncating_tokenizer() -> PreTrainedTokenizerBase:
    return uncased_tokenizer(truncation_side="left")


def cased_tokenizer() -> PreTrainedTokenizerBase:
    """Its padding id is 3, and it reads less than the model could."""
    special_tokens = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocabulary = wordpiece_vocabulary(False, special_tokens)
    return DistilBertTokenizer(
        vocabulary, do_lower_case=False, strip_accents=False, model_max_length=LIMIT - 8
    )


def byte_level_tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    vocabulary = tokenizer.get_vocab()
    vocabulary["<mask>"] = len(vocabulary)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return RobertaTokenizer(
        vocabulary,
        [tuple(merge) for merge in merges],
        mask_token=AddedToken("<mask>", lstrip=True, special=True, normalized=False),
        model_max_length=LIMIT,
    )


def unigram_tokenizer() -> PreTrainedTokenizerBase:
    special_tokens = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = unigram_pieces(VOCABULARY - len(special_tokens) - 1)
    return XLMRobertaTokenizer(
        vocab=[*((token, 0.0) for token in special_tokens), *pieces, ("<mask>", 0.0)],
        mask_token=AddedToken("<mask>", lstrip=True, special=True, normalized=False),
        model_max_length=LIMIT,
    )


def albert_tokenizer() -> PreTrainedTokenizerBase:
    special_tokens = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    pieces = unigram_pieces(VOCABULARY - len(special_tokens))
    return AlbertTokenizer(
        vocab=[*((token, 0.0) for token in special_tokens), *pieces],
        model_max_length=LIMIT,
    )


def deberta_tokenizer() -> PreTrainedTokenizerBase:
    special_tokens = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = unigram_pieces(VOCABULARY - len(special_tokens) - 1)
    return DebertaV2Tokenizer(
        vocab=[*((token, 0.0) for token in special_tokens), *pieces, ("[MASK]", 0.0)],
        unk_id=3,
        model_max_length=LIMIT,
    )


def xlnet_tokenizer() -> PreTrainedTokenizerBase:
    special_tokens = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"]
    special_tokens += ["<eod>", "<eop>"]
    pieces = unigram_pieces(VOCABULARY - len(special_tokens))
    return XLNetTokenizer(
        vocab=[*((token, 0.0) for token in special_tokens), *pieces],
        model_max_length=LIMIT,
    )


def mpnet_tokenizer() -> PreTrainedTokenizerBase:
    special_tokens = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    vocabulary = wordpiece_vocabulary(True, special_tokens)
    return MPNetTokenizer(vocabulary, model_max_length=LIMIT)


def modernbert_tokenizer() -> PreTrainedTokenizerBase:
    special_tokens = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special_tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=LIMIT,
    )


def unigram_pieces(count: int) -> list[tuple[str, float]]:
    """Pieces and the logarithms of their probabilities."""
    counts = count_pieces(f"\u2581{word}" for text in corpus() for word in text.split())
    pieces = weightiest(counts, count)
    total = sum(counts[piece] for piece in pieces)
    return [(piece, round(math.log(counts[piece] / total), 4)) for piece in pieces]


class Logits(nn.Module):
    """The model as a graph: named inputs in order, logits out."""

    def __init__(self, model: PreTrainedModel, fixture: Fixture) -> None:
        super().__init__()
        self.model = model
        self.names = fixture.inputs
        self.half_output = fixture.half

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits.half() if self.half_output else logits


def encode(fixture: Fixture, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple:
    encoding = tokenizer(
        text,
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_token_type_ids=True,
    )
    return tuple(
        torch.tensor([encoding[name]], dtype=fixture.input_type)
        for name in fixture.inputs
    )


def sample_inputs(fixture: Fixture, tokenizer: PreTrainedTokenizerBase) -> list[tuple]:
    return [
        encode(fixture, tokenizer, sample.text) for sample in texts.PLAIN + texts.LONG
    ]


@torch.no_grad()
def random_model(fixture: Fixture, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    torch.manual_seed(SEED)
    model = fixture.model(fixture.config).eval()
    spread_logits(model, Logits(model, fixture), sample_inputs(fixture, tokenizer))
    if fixture.half:
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return Logits(model, fixture).eval()


def spread_logits(
    model: PreTrainedModel, graph: nn.Module, inputs: list[tuple]
) -> None:
    """Scales the last layer so that every logit has mean 0 and LOGIT_SPREAD."""
    # XLNet has another name for it.
    classifier = getattr(model, "classifier", None) or model.logits_proj
    classifier = getattr(classifier, "out_proj", classifier)
    logits = torch.cat([graph(*one).float() for one in inputs])
    scale = LOGIT_SPREAD / logits.std(dim=0)
    classifier.weight.mul_(scale[:, None])
    classifier.bias.sub_(logits.mean(dim=0)).mul_(scale)


def export(fixture: Fixture, graph: nn.Module, inputs: tuple, file: Path) -> None:
    """Writes `file` with the names and dynamic axes that Optimum gives them."""
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in fixture.inputs}
    torch.onnx.export(
        graph,
        inputs,
        file,
        input_names=list(fixture.inputs),
        output_names=["logits"],
        dynamic_axes={**axes, "logits": {0: "batch_size"}},
        opset_version=OPSET,
        # The TorchScript exporter makes half the bytes, and is Optimum's choice too.
        dynamo=False,
    )
    model = onnx.load(file)
    if fixture.half:
        store_weights_as_float16(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def store_weights_as_float16(model: onnx.ModelProto) -> None:
    """Stores matrices as float16, each cast to float32 where the graph begins."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = onnx.numpy_helper.to_array(weight).astype(np.float16)
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}.float16"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@torch.no_grad()
def verify(
    fixture: Fixture, graph: nn.Module, inputs: list[tuple], file: Path
) -> float:
    """The largest difference to PyTorch; stops if it is more than rounding."""
    session = open_session(file)
    largest = 0.0
    for one in inputs:
        feed = {
            name: tensor.numpy()
            for name, tensor in zip(fixture.inputs, one, strict=True)
        }
        (logits,) = session.run(["logits"], feed)
        expected = graph(*one).numpy()
        assert logits.dtype == expected.dtype, f"{logits.dtype} logits"
        difference = np.abs(logits.astype(np.float32) - expected.astype(np.float32))
        largest = max(largest, float(difference.max()))
    # Logits stay below 16: there, neighbouring float16 numbers are 2**-7 apart.
    allowed = 2**-7 if fixture.half else 1e-5
    assert largest <= allowed, f"{fixture.name}: differs from PyTorch by {largest}"
    return largest


def save_tokenizer(
    fixture: Fixture, tokenizer: PreTrainedTokenizerBase, directory: Path
) -> None:
    tokenizer.save_pretrained(directory)
    if not fixture.keep_tokenizer_config:
        (directory / "tokenizer_config.json").unlink()
    if fixture.fixed_padding_and_truncation:
        file = str(directory / "tokenizer.json")
        raw = Tokenizer.from_file(file)
        raw.enable_padding(
            length=16, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token
        )
        raw.enable_truncation(8)
        raw.save(file)


def make(fixture: Fixture) -> None:
    directory = OUTPUT / fixture.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tokenizer = fixture.tokenizer()
    assert len(tokenizer) <= VOCABULARY, f"{fixture.name}: {len(tokenizer)} tokens"
    save_tokenizer(fixture, tokenizer, directory)
    fixture.config.architectures = [fixture.model.__name__]
    fixture.config.save_pretrained(directory)
    graph = random_model(fixture, tokenizer)
    inputs = sample_inputs(fixture, tokenizer)
    export(fixture, graph, inputs[0], directory / "model.onnx")
    difference = verify(fixture, graph, inputs, directory / "model.onnx")
    check_limit(directory)
    golden.write(directory, fixture.tolerance)
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"  {size // 1000} kB, differs from PyTorch by {difference:.1e}")


def make_quantised() -> None:
    """Writes `tiny-bert` once more, with dynamically quantised matrices.

    A text's scores then depend on the texts beside it, since all texts of a run share
    the scale of their integers. Nothing but that is tested with it, and a CPU may
    round in its own way, so it has no golden answers.
    """
    source, directory = OUTPUT / "tiny-bert", OUTPUT / QUANTISED
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(source / name, directory)
    quantize_dynamic(
        source / "model.onnx",
        directory / "model.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def make_floats() -> None:
    """Writes `tiny-fp16` once more, for runtimes that know no tensors but float32."""
    source, directory = OUTPUT / "tiny-fp16", OUTPUT / FLOATS
    float_inputs.copy(source, directory)
    tolerance = json.loads((source / "golden.json").read_text())["tolerance"]
    golden.write(directory, tolerance)


def make_external() -> None:
    """Writes `tiny-bert` once more as the hub lays models out, with the weights in a folder
    beside the graph. Its answers are those of `tiny-bert`.
    """
    source, directory = OUTPUT / "tiny-bert", OUTPUT / EXTERNAL
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "onnx" / "weights").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(source / name, directory)
    onnx.save(
        onnx.load(source / "model.onnx"),
        directory / "onnx" / "model.onnx",
        save_as_external_data=True,
        location="weights/tiny.bin",
        size_threshold=0,
    )


def check_limit(directory: Path) -> None:
    """Stops if the texts around the limit are not as long as their names say."""
    reference = Reference(directory)
    for sample in texts.around_limit(reference.limit):
        expected = min(sample.count + 2, reference.limit)
        found = len(reference.answer(sample.text).ids)
        assert found == expected, f"{directory.name}, {sample.name}: {found} tokens"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make the tiny models of host/tests/fixtures/models again.",
        epilog="Existing ones are replaced; commit what comes out.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which ones to make; all by default"
    )
    names = parser.parse_args().names
    known = {fixture.name: fixture for fixture in [*fixtures(), *architectures()]}
    derived = {
        QUANTISED: make_quantised,
        FLOATS: make_floats,
        EXTERNAL: make_external,
    }
    unknown = set(names) - {*known, *derived}
    if unknown:
        parser.error(
            f"unknown: {', '.join(sorted(unknown))}; "
            f"known: {', '.join([*known, *derived])}"
        )
    # Those that others are made of come first.
    for name in names or [*known, *derived]:
        if name in derived:
            derived[name]()
        else:
            make(known[name])


if __name__ == "__main__":
    main()
