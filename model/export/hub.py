"""Downloads files of a model from the Hugging Face hub, and verifies every byte.

`huggingface_hub` talks to the hub: it honours `HF_ENDPOINT` and `HF_TOKEN`, retries,
requests the rest of a file with `Range`, and shows progress. This module adds two things
that it does not do. It discards what an interrupted process had downloaded; here the
partial file is kept, and the next run resumes from it. And it only compares sizes; here
the SHA-256 that the hub publishes is compared too (git's digest for small files), also
for files that were downloaded earlier.

This module must not know which files a model needs.
"""

import errno
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from export.errors import ExportError, first_line
from export.terminal import say

# The hub identifies large files (LFS or Xet) by SHA-256, and others by git's SHA-1.
SHA256 = re.compile(r"[0-9a-f]{64}")
GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
# Disk space to leave free for the export.
SPARE_BYTES = 64 << 20
# How often a connection may be reset before the download fails.
RESETS = 5


@dataclass(frozen=True)
class Repository:
    """A model on the hub, at one commit."""

    id: str
    commit: str
    licence: str | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Promise:
    """What the hub says about a file before it is downloaded."""

    name: str
    url: str
    size: int
    digest: str

    def kept_by(self, file: Path) -> bool:
        """Whether the file is the one on the hub."""
        return file.stat().st_size == self.size and digest(file, self) == self.digest


def digest(file: Path, promise: Promise) -> str:
    """The file's digest, of the kind that the hub publishes."""
    if SHA256.fullmatch(promise.digest):
        state = hashlib.sha256()
    else:
        state = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as contents:
        return hashlib.file_digest(contents, lambda: state).hexdigest()


def find(model: str, revision: str | None) -> Repository:
    """Looks up a model on the hub; a branch or tag is resolved to its commit."""
    with plain_errors(model, revision):
        info = HfApi().model_info(model, revision=revision)
    if info.sha is None or info.siblings is None:
        raise ExportError(f"{ENDPOINT} does not list the files of {model}")
    # Both become parts of a path.
    if not GIT_SHA1.fullmatch(info.sha) or not ID.fullmatch(info.id):
        raise ExportError(f"{ENDPOINT} names no commit of {model}")
    card = info.card_data
    licence = card.get("license") if card is not None else None
    return Repository(
        # Not `model`: renamed models are also found by their old ids.
        id=info.id,
        commit=info.sha,
        licence=licence if isinstance(licence, str) else None,
        files=tuple(sibling.rfilename for sibling in info.siblings),
    )


def fetch(repository: Repository, names: Sequence[str], cache: Path) -> Path:
    """Downloads files to a directory of their own in `cache`, and returns it.

    Existing files are verified and kept; partial files are completed.
    """
    directory = cache / repository.id.replace("/", "--") / repository.commit
    directory.mkdir(parents=True, exist_ok=True)
    with plain_errors(repository.id, repository.commit):
        missing = []
        for promise in [ask(repository, name) for name in names]:
            file = directory / promise.name
            if not file.exists():
                missing.append(promise)
            elif not promise.kept_by(file):
                say(f"{file} is damaged: downloading it again")
                file.unlink()
                missing.append(promise)
        ensure_space(directory, missing)
        for promise in missing:
            download(promise, directory / promise.name)
    return directory


def ask(repository: Repository, name: str) -> Promise:
    """Asks the hub for the size and the digest of a file."""
    url = hf_hub_url(repository.id, name, revision=repository.commit)
    metadata = get_hf_file_metadata(url, retry_on_errors=True)
    named = metadata.etag or ""
    if not (SHA256.fullmatch(named) or GIT_SHA1.fullmatch(named)):
        raise ExportError(f"{ENDPOINT} has no checksum of {repository.id}/{name}")
    if metadata.size is None:
        raise ExportError(f"{ENDPOINT} does not give the size of {name}")
    return Promise(name, url, metadata.size, named)


def ensure_space(directory: Path, missing: Sequence[Promise]) -> None:
    """Refuses a download that does not fit on the disk."""
    partial = (part_of(directory / promise.name) for promise in missing)
    there = sum(file.stat().st_size for file in partial if file.exists())
    needed = sum(promise.size for promise in missing) - there + SPARE_BYTES
    free = shutil.disk_usage(directory).free
    if missing and free < needed:
        raise ExportError(
            f"the disk is too full: {directory} needs {needed >> 20} MiB, "
            f"and {free >> 20} MiB are free"
        )


def part_of(file: Path) -> Path:
    """Where a file is kept until it is complete."""
    return file.with_name(f"{file.name}.partial")


def download(promise: Promise, file: Path) -> None:
    """Downloads a file, or the rest of it, and renames it once it is verified."""
    partial = part_of(file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    for resets_left in reversed(range(RESETS)):
        try:
            receive(promise, partial)
            break
        except httpx2.ReadError:
            # After other connection errors, the library itself resumes.
            if not resets_left:
                raise
    if not promise.kept_by(partial):
        partial.unlink()
        raise ExportError(
            f"{promise.name} was damaged during the download: its checksum is not the "
            f"one on {ENDPOINT}. It was deleted: run again to download it again"
        )
    partial.rename(file)


def receive(promise: Promise, partial: Path) -> None:
    """Appends the missing bytes to `partial`."""
    with partial.open("ab") as contents:
        if contents.tell() > promise.size:
            contents.truncate(0)
        there = contents.tell() if contents.tell() <= promise.size else 0
        if there:
            say(f"{promise.name}: resuming after {there:,} bytes")
        try:
            http_get(
                promise.url,
                contents,
                resume_size=there,
                # A part of a compressed response could not be completed.
                headers=build_hf_headers() | {"Accept-Encoding": "identity"},
                expected_size=promise.size,
                displayed_filename=promise.name,
            )
        except HfHubHTTPError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            # The library reports in this way that there were more or fewer bytes than
            # announced; resuming would not help.
            contents.truncate(0)
            raise ExportError(
                f"{promise.name} does not have the {promise.size:,} bytes that "
                f"{ENDPOINT} announces. It was deleted: run again to download it again"
            ) from error


@contextmanager
def plain_errors(model: str, revision: str | None) -> Iterator[None]:
    """Turns the libraries' errors into one line."""
    try:
        yield
    except GatedRepoError as error:
        raise ExportError(
            f"{model} is gated: accept its terms at {ENDPOINT}/{model}, then set "
            "HF_TOKEN to a token of yours"
        ) from error
    except DisabledRepoError as error:
        raise ExportError(f"{ENDPOINT} has disabled {model}") from error
    except RevisionNotFoundError as error:
        raise ExportError(f"{model} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise ExportError(
            f"{ENDPOINT} has no model {model}, or it is private: check the id, or set "
            "HF_TOKEN to a token that may read it"
        ) from error
    except HFValidationError as error:
        raise ExportError(f"{model} is neither a directory nor a model's id") from error
    except OfflineModeIsEnabled as error:
        raise ExportError("HF_HUB_OFFLINE forbids access to the hub") from error
    except EntryNotFoundError as error:
        raise ExportError(f"a file of {model} is gone: {first_line(error)}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "nothing"
        hint = ": is HF_TOKEN right?" if status in (401, 403) else ""
        raise ExportError(
            f"{ENDPOINT} answered {status} when asked for {model}{hint}"
        ) from error
    except httpx2.TransportError as error:
        raise ExportError(
            f"no connection to {ENDPOINT}: {first_line(error)}. The partial download "
            "is kept: run again to resume"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ExportError(
            "the disk is full. The partial download is kept: run again to resume"
        ) from error
