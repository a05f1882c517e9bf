"""Reads the records that record.py writes, for tables and charts."""

import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "results"

# Models and scenarios: their names in figures, and for readers.
MODELS = {
    "default": "included, int8",
    "full_int8": "DistilBERT, int8",
    "full_fp32": "DistilBERT, fp32",
}
SCENARIOS = {
    "misses_c1": "new texts, 1 client",
    "misses_c10": "new texts, 10 clients",
    "misses_c64": "new texts, 64 clients",
    "misses8_c10": "8 new texts per request, 10 clients",
    "mixed_c64": "new texts of many lengths, 64 clients",
    "mix95_c1": "95 % known, 1 client",
    "mix95_c10": "95 % known, 10 clients",
    "mix95_c64": "95 % known, 64 clients",
    "hits_c1": "known texts, 1 client",
    "hits_c10": "known texts, 10 clients",
    "hits_c64": "known texts, 64 clients",
}
PEERS = {"onnxruntime": "FastAPI + onnxruntime", "torch": "FastAPI + PyTorch"}
DEPLOYMENTS = ("processes", "batching")


@dataclass(frozen=True)
class Record:
    """The results of one run of a bench."""

    bench: str
    settings: dict[str, str]
    date: str
    minutes: float
    commit: str
    machine: dict[str, object]
    facts: dict[str, str]
    figures: dict[str, float]

    def get(self, name: str) -> float | None:
        return self.figures.get(name)

    def quick(self) -> bool:
        return self.settings.get("QUICK", "0") != "0"

    def command(self) -> str:
        settings = [f"{key}={value}" for key, value in self.settings.items()]
        return " ".join([*settings, "make", f"bench-{self.bench}"])

    def where(self) -> str:
        """The machine, for readers."""
        machine = self.machine
        kind = "virtual machine" if machine["virtual"] else "machine"
        vnni = "with" if machine["vnni"] else "without"
        return (
            f"{kind} with {machine['cores']} cores of an {machine['cpu']} ({vnni} VNNI), "
            f"{machine['memory_gib']} GiB, {machine['system']}"
        )

    def peers(self) -> dict[str, str]:
        """All peers with their names for readers, those included that ran already."""
        return PEERS | {name: name for name in self.running()}

    def running(self) -> list[str]:
        """The peers that ran already; each has one deployment."""
        return self.facts.get("peers_running", "").split()

    def best(self, model: str, scenario: str, peer: str, what: str) -> float | None:
        """The better of a peer's deployments, in this figure."""
        running = peer in self.running()
        deployments = [peer] if running else [f"{peer}_{kind}" for kind in DEPLOYMENTS]
        names = (f"peers_{model}_{scenario}_{name}_{what}" for name in deployments)
        values = [value for name in names if (value := self.get(name)) is not None]
        better = max if what == "texts_per_s" else min
        return better(values) if values else None

    def ours(self, model: str, scenario: str, what: str) -> float | None:
        return self.get(f"peers_{model}_{scenario}_fastsentiment_{what}")


def load(directory: Path = RECORDS) -> dict[str, Record]:
    """All records, by bench."""
    found = {}
    for path in sorted(directory.glob("*.json")):
        found[path.stem] = Record(**json.loads(path.read_text()))
    return found
