"""Packed bodies, with the packers that clients in Python use, and pages of elsewhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import brotli
import pytest
import requests
import zstandard
from conftest import Server

TEXTS = ["A warm, funny film.", "The plot makes no sense."] * 100
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda packed: (
        zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    ),
}


@pytest.mark.parametrize("coding", PACK)
def test_bodies_are_unpacked_and_answers_packed(server: Server, coding: str) -> None:
    document = json.dumps({"text": TEXTS}).encode()
    plain = server.main.ask("POST", "/predict", document)
    headers = {"Content-Encoding": coding, "Accept-Encoding": f"{coding}, *;q=0"}
    packed = server.main.ask("POST", "/predict", PACK[coding](document), headers)
    assert (plain.status, packed.status) == (200, 200)
    assert packed.headers["content-encoding"] == coding
    assert len(packed.body) * 4 < len(plain.body)
    assert UNPACK[coding](packed.body) == plain.body


@pytest.mark.parametrize("coding", PACK)
def test_lines_may_come_packed(server: Server, coding: str) -> None:
    lines = "".join(json.dumps(text) + "\n" for text in TEXTS).encode()
    headers = {"Content-Encoding": coding, "Content-Type": "application/x-ndjson"}
    answer = server.main.ask("POST", "/predict", PACK[coding](lines), headers)
    assert answer.status == 200
    assert len(answer.body.splitlines()) == len(TEXTS)


def test_requests_takes_what_it_asks_for(server: Server) -> None:
    answer = requests.post(
        f"{server.main.url}/predict", json={"text": TEXTS}, timeout=60
    )
    assert answer.headers["content-encoding"] in PACK
    assert len(answer.json()["predictions"]) == len(TEXTS)
