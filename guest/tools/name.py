"""Gives a component its name, and the version in Cargo.toml, as `wasm-tools metadata add` does.

name.py NAME FROM TO
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sized(content: bytes) -> bytes:
    """The content after its length; one byte is enough for the length here."""
    assert len(content) < 128
    return bytes([len(content)]) + content


def custom(name: str, content: bytes) -> bytes:
    """A custom section, which may stand at the end of a component."""
    return b"\0" + sized(sized(name.encode()) + content)


def main() -> None:
    name, origin, target = sys.argv[1:]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    version = workspace["package"]["version"]
    Path(target).write_bytes(
        Path(origin).read_bytes()
        + custom("component-name", b"\0" + sized(sized(name.encode())))
        + custom("version", version.encode())
    )


if __name__ == "__main__":
    main()
