"""What Schemathesis sends beside what it makes up: guests, digests of theirs, lines."""

import hashlib
import json
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

# Lines that are texts, and others: the schema of a string knows nothing of them.
TEXTS = strategies.text(max_size=100)
LINES = (
    TEXTS
    | strategies.builds(lambda text: {"text": text}, TEXTS)
    | strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | TEXTS,
        lambda inner: (
            strategies.lists(inner, max_size=3)
            | strategies.dictionaries(
                TEXTS | strategies.just("text"), inner, max_size=3
            )
        ),
        max_leaves=5,
    )
).map(json.dumps)
schemathesis.openapi.media_type(
    "application/x-ndjson",
    strategies.lists(LINES | TEXTS, max_size=10).map(
        lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
    ),
)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Beside a strategy of its own, a media type can have no example that is a string."""
    for item in raw_schema["paths"].values():
        content = item.get("post", {}).get("requestBody", {}).get("content", {})
        content.get("application/x-ndjson", {}).pop("example", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Has texts that must not be truncated be short: no schema knows how many tokens one has."""
    if not isinstance(case.body, dict):
        return
    parameters = case.body.get("parameters")
    options = [case.body, parameters if isinstance(parameters, dict) else {}]
    if any(
        of.get(name) is False for of in options for name in ("truncate", "truncation")
    ):
        for name in {"text", "inputs"} & case.body.keys():
            case.body[name] = short(case.body[name])


def short(texts):
    if isinstance(texts, list):
        return [short(text) for text in texts]
    # Even if each character is taken apart.
    return texts[:6] if isinstance(texts, str) else texts


@schemathesis.deserializer("application/x-ndjson")
def lines(context, response):
    """As the string that its schema says it is; each of its lines has to be JSON."""
    text = response.content.decode()
    for line in text.split("\n")[:-1]:
        assert set(json.loads(line)) in ({"predictions"}, {"error"}), line
    return text


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
