#!/usr/bin/env python3
"""Runs a bench and records its results: `record.py NAME COMMAND...`.

Passes on what the command prints. Writes its lines `figure <name> <value>` and `fact
<name> <words>` to target/bench/NAME.json, together with the machine, the date and the
commit. Writes nothing if the command fails: a bench that met an error measured something
else.
"""

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "target" / "bench"

# The settings of the benches: host/benches/README.md.
VARIABLES = (
    "QUICK",
    "MODELS",
    "SCENARIOS",
    "ROUNDS",
    "DURATION",
    "PEERS",
    "SERVER_ARGUMENTS",
)


def field(path: str, name: str) -> str:
    """The value of the first line `name: value` of a file in /proc."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def machine() -> dict[str, object]:
    flags = field("/proc/cpuinfo", "flags").split()
    kibibytes = int(field("/proc/meminfo", "MemTotal").split()[0])
    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        # Decides how fast int8 models are.
        "vnni": any(flag.endswith("vnni") for flag in flags),
        "virtual": "hypervisor" in flags,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kibibytes / (1 << 20), 1),
        # Without the distribution's suffix.
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def git(*arguments: str) -> str:
    command = ["git", "-C", ROOT, *arguments]
    return subprocess.check_output(command, text=True).strip()


# Generated from records.
GENERATED = ("RESULTS.md", "charts", "results")


def commit() -> str:
    """The commit of the code that is measured, and whether that code has changes."""
    others = [f":!load-testing/{name}" for name in GENERATED]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *others)
    return git("rev-parse", "--short=12", "HEAD") + (" (changed)" if changed else "")


def main() -> None:
    name, command = sys.argv[1], sys.argv[2:]
    # Collected first: if this fails, no time was spent on measuring.
    record = {
        "bench": name,
        "settings": {key: os.environ[key] for key in VARIABLES if os.environ.get(key)},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
    }
    start = time.monotonic()
    figures: dict[str, float] = {}
    facts: dict[str, str] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            kind, _, rest = line.strip().partition(" ")
            key, _, value = rest.partition(" ")
            if kind == "figure":
                figures[key] = float(value)
            elif kind == "fact":
                facts[key] = value
    if process.returncode != 0:
        sys.exit(process.returncode)
    record["minutes"] = round((time.monotonic() - start) / 60, 1)
    record |= {"facts": facts, "figures": figures}
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"# recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
