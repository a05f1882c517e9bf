"""What Schemathesis sends as a guest: bytes, and now and then one that is a guest."""

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies

GUESTS = os.environ.get("FASTSENTIMENT_GUESTS", "").split(os.pathsep)
COMPONENTS = [Path(guest).read_bytes() for guest in GUESTS if guest]

schemathesis.openapi.media_type(
    "application/wasm",
    strategies.sampled_from([*COMPONENTS, b"", b"\0asm\x0d\0\x01\0"])
    | strategies.binary(max_size=1024),
    aliases=["application/octet-stream"],
)
