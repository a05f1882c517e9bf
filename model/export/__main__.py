"""`python -m export MODEL --out DIR`: see `--help`."""

import argparse
import contextlib
import errno
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import logging as transformers_logging

import golden
from export import check, graph, publish, source, tokenizer
from export.errors import ExportError, first_line
from export.terminal import printable, say
from reference import labels

KIND = "ForSequenceClassification"
# Tolerances in golden.json, for rounding on other CPUs. In int8 that can move a value by a
# whole quantisation step.
GOLDEN_TOLERANCE = {"fp32": check.LARGEST_FP32, "int8": check.MEAN_INT8}

DESCRIPTION = """\
Makes a model directory for FastSentiment from a sequence-classification model: downloads
it from the Hugging Face hub, exports it to ONNX, fuses and optionally quantises it, and
checks the result against PyTorch.
"""
EPILOG = """\
HF_ENDPOINT names another hub, HF_TOKEN a token for private and gated models. An
interrupted download is resumed.
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "model", help="a model's id on the hub, such as org/name, or a local directory"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the directory to make"
    )
    parser.add_argument(
        "--revision", help="a branch, tag or commit (default: the main branch)"
    )
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="use the model's own ONNX file; needs no PyTorch",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        required=True,
        metavar="DIR",
        help="where downloads are kept",
    )
    parser.add_argument(
        "--server",
        type=Path,
        metavar="FILE",
        help="the server's program; the directory is made only if it can serve it",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace DIR even if it was not made by this command",
    )
    return parser


def read_config(directory: Path) -> PreTrainedConfig:
    """The model's configuration; refused if the model does not classify texts."""
    try:
        config = AutoConfig.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ExportError(
            f"config.json is not of a model that can be exported: {first_line(error)}"
        ) from error
    architectures = config.architectures or []
    if architectures and not any(name.endswith(KIND) for name in architectures):
        raise ExportError(
            f"this is a {architectures[0]}, not a sequence-classification model"
        )
    if config.is_encoder_decoder:
        raise ExportError(
            f"models of type {config.model_type} have a decoder: not supported"
        )
    if config.problem_type == "regression":
        raise ExportError(
            "the outputs of a regression model are no probabilities, which scores have "
            "to be"
        )
    ensure_labels(config)
    return config


def ensure_labels(config: PreTrainedConfig) -> None:
    """Refuses labels that do not name every output once."""
    ids = sorted(config.id2label)
    if not ids or ids != list(range(len(ids))):
        raise ExportError(f"config.json: the ids of id2label are {ids}")
    if len(set(labels(config))) < len(ids):
        raise ExportError(
            "config.json: two labels of id2label are the same; rename one, since an "
            "answer has every label once"
        )


def original(
    found: source.Source, config: PreTrainedConfig, onnx: bool, work: str
) -> tuple[graph.Logits, tuple[str, ...], Path]:
    """The reference to compare with, the names of its inputs, and the unfused graph."""
    exported = stage(work, "exported")
    if onnx:
        graph.merge(found.graph, exported)
        given = graph.Graph(exported)
        return given.logits, graph.KNOWN_INPUTS, exported
    # Imported here, so that `--onnx` does not need PyTorch.
    from export import pytorch

    reference = pytorch.Reference(found.directory, config)
    say("exporting to ONNX")
    reference.export(exported)
    return reference.logits, reference.names, exported


def stage(work: str, name: str) -> Path:
    """Where a graph is written, in a directory of its own: it may have a second file."""
    directory = Path(work) / name
    directory.mkdir()
    return directory / graph.MODEL_FILE


def build(found: source.Source, arguments: argparse.Namespace, out: Path) -> None:
    """Writes all files of the model directory."""
    config = read_config(found.directory)
    reader = tokenizer.load(found.directory)
    tokenizer.write(reader, out)
    lines = []

    def report(title: str, figures: check.Figures) -> None:
        lines.append(f"{title}: {figures.describe()}")
        say(lines[-1])

    with tempfile.TemporaryDirectory(dir=out) as work:
        logits, names, exported = original(found, config, arguments.onnx, work)
        say("computing the reference scores")
        checks = check.Check(config, reader, names, logits)
        checks.check_tokenizer(out)
        made = stage(work, "fused")
        graph.fuse(exported, made)
        figures = checks.compare(graph.Graph(made).logits)
        report("fused, fp32", figures)
        check.require_fp32(figures)
        if arguments.precision == "int8":
            say("quantising")
            fused, made = made, stage(work, "int8")
            graph.quantise(fused, made)
            figures = checks.compare(graph.Graph(made).logits)
            report("int8", figures)
            check.require_int8(figures)
        beside = checks.beside_others(graph.Graph(made).logits)
        for file in made.parent.iterdir():
            shutil.move(file, out / file.name)

    name = "the model's own ONNX file" if arguments.onnx else "PyTorch"
    facts = publish.Facts(
        source=found,
        precision=arguments.precision,
        graph=name,
        original=name,
        checks=tuple(lines),
        beside=beside,
        batch_invariant=beside <= check.LARGEST_BESIDE_OTHERS,
    )
    publish.write_config(facts, config, reader, out)
    with contextlib.redirect_stdout(io.StringIO()):
        # Its output names the temporary directory.
        golden.write(out, GOLDEN_TOLERANCE[arguments.precision])
    publish.write_card(facts, config, out)
    publish.write_checksums(out)


def ask(server: Path, out: Path) -> None:
    """Refuses a directory that the server would not serve, in the server's words."""
    say("asking the server")
    done = subprocess.run(
        [server, "check", "--model", out], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()
        reason = said[-1].removeprefix("error: ").replace(f"{out}/", "")
        raise ExportError(f"the server would not serve the model: {reason}")


def run(arguments: argparse.Namespace) -> None:
    # Check this before anything is downloaded.
    publish.ensure_replaceable(arguments.out, arguments.force)
    found = source.obtain(
        arguments.model, arguments.revision, arguments.onnx, arguments.cache
    )
    with publish.staging(arguments.out) as out:
        try:
            build(found, arguments, out)
        except (ExportError, OSError):
            raise
        except Exception as error:
            # Libraries fail in their own ways for files that nobody has thought of.
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ExportError(f"the model cannot be used: {reason}") from error
        if arguments.server is not None:
            ask(arguments.server, out)
    say(f"{arguments.out} was made from {found.describe()}")


def main() -> None:
    arguments = parser().parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        run(arguments)
    except ExportError as error:
        sys.exit(f"error: {printable(error)}")
    except OSError as error:
        full = error.errno == errno.ENOSPC
        sys.exit(f"error: {'the disk is full' if full else printable(error)}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run again to resume the download")


if __name__ == "__main__":
    main()
