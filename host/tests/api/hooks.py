"""What Schemathesis sends beside what it makes up: guests, and digests of theirs."""

import hashlib
import os
import re
from pathlib import Path

import schemathesis
from hypothesis import strategies

GUESTS = os.environ.get("FASTSENTIMENT_GUESTS", "").split(os.pathsep)
COMPONENTS = [Path(guest).read_bytes() for guest in GUESTS if guest]
DIGESTS = [hashlib.sha256(component).hexdigest() for component in COMPONENTS]

schemathesis.openapi.media_type(
    "application/wasm",
    strategies.sampled_from([*COMPONENTS, b"", b"\0asm\x0d\0\x01\0"])
    | strategies.binary(max_size=1024),
    aliases=["application/octet-stream"],
)


def map_case(context, case):
    """Has most of what could name a version name one that there may be."""
    for parameters, name in ((case.path_parameters, "id"), (case.query, "from")):
        given = (parameters or {}).get(name)
        if isinstance(given, str) and re.fullmatch("[0-9a-fA-F]{4,64}", given):
            at = int(given[-1], 16) % (len(DIGESTS) + 1)
            if at < len(DIGESTS):
                parameters[name] = DIGESTS[at]
    return case


# Only where there are guests to name: with this, Schemathesis spends minutes on bodies
# as large as those of `/predict`, before it sends any.
if COMPONENTS:
    schemathesis.hook(map_case)
