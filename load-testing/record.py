#!/usr/bin/env python3
"""Runs a bench and keeps what it measured: `record.py NAME COMMAND...`.

What the command prints is passed on. Lines `figure <name> <value>` and `fact <name>
<words>` go to target/bench/NAME.json, with the machine, the time and the commit; only
if the command succeeds, since a bench that met an error measured something else.
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

# What tells benches what to measure: host/benches/README.md.
VARIABLES = ("QUICK", "MODELS", "SCENARIOS", "ROUNDS", "DURATION", "SERVER_ARGUMENTS")


def field(path: str, name: str) -> str:
    """The value of the first line `name: value` of a file that Linux makes."""
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
        # What decides how fast int8 is.
        "vnni": any(flag.endswith("vnni") for flag in flags),
        "virtual": "hypervisor" in flags,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kibibytes / (1 << 20), 1),
        # Without what a distribution adds.
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def git(*arguments: str) -> str:
    command = ["git", "-C", ROOT, *arguments]
    return subprocess.check_output(command, text=True).strip()


# What is made of records.
MADE = ("RESULTS.md", "charts", "results")


def commit() -> str:
    """Of what is measured."""
    others = [f":!load-testing/{name}" for name in MADE]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *others)
    return git("rev-parse", "--short=12", "HEAD") + (" (changed)" if changed else "")


def main() -> None:
    name, command = sys.argv[1], sys.argv[2:]
    # Before anything is measured for nothing.
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
    print(f"# kept in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
