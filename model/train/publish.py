"""Writes the folder that ships: config, tokenizer, checksums."""

import hashlib
import json
import shutil
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from train import data, minilm


def write_config(out: Path, batch_invariant: bool) -> None:
    """config.json, as transformers writes it, plus what the guest needs to know."""
    config = minilm.distilbert_config().to_dict()
    config["model_type"] = "distilbert"
    # Whether padded batches give the scores of texts alone; if not, the guest runs one text at a time.
    config["fastsentiment"] = {"batch_invariant": batch_invariant}
    (out / "config.json").write_text(
        json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def write_tokenizer(out: Path) -> None:
    """tokenizer.json without padding and truncation, and the settings AutoTokenizer needs."""
    minilm.tokenizer().save(str(out / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "DistilBertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": data.MAX_TOKENS,
        "model_input_names": ["input_ids", "attention_mask"],
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    (out / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )


def verify_tokenizer(out: Path, texts: list[str]) -> None:
    """Asserts that transformers' AutoTokenizer and the file itself give the same ids."""
    file = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert file.padding is None and file.truncation is None
    auto = AutoTokenizer.from_pretrained(out)
    assert auto.model_max_length == data.MAX_TOKENS
    for text in texts:
        assert auto(text)["input_ids"] == file.encode(text).ids, (
            "AutoTokenizer differs from tokenizer.json"
        )


def write_checksums(out: Path) -> None:
    """SHA256SUMS over the files of the model, for `sha256sum -c`.

    Not over golden.json: it is made from these files, and holds their digests.
    """
    lines = []
    for path in sorted(
        p
        for p in out.iterdir()
        if p.is_file() and p.name not in ("SHA256SUMS", "golden.json")
    ):
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    (out / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def copy_licence(out: Path) -> None:
    """The licence text and the notice that Apache-2.0 asks for."""
    source = Path(__file__).parent / "licence"
    for name in ("LICENSE", "NOTICE"):
        shutil.copyfile(source / name, out / name)
