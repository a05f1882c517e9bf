"""Makes, builds, tests and swaps in a guest in each language, as its README says.

A hostile twin of each is then survived. Compilers are kept in target/languages.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FASTSENTIMENT = TARGET / "release/fastsentiment"
LEXICON = TARGET / "release/fastsentiment_lexicon.wasm"
TOOLS = TARGET / "languages"
MODEL = ROOT / "model/default"
# How long anything may take before it counts as hung, in seconds.
PATIENCE = 240
# The time limit of a call of a guest, in milliseconds: enough for any guest on a busy machine.
LIMIT = 3000


class Twin(NamedTuple):
    """Code that goes behind a line of the guest's source, and does what FAULTS says."""

    file: str
    line: str
    code: str


# The texts for which a twin fails: it traps, loops or fills its memory.
FAULTS = ["trap", "hang", "fill"]
RUST = """
    assert_ne!(text, "trap");
    while text == "hang" {}
    let mut kept = Vec::new();
    while text == "fill" {
        kept.push(vec![1_u8; 1 << 20]);
    }
"""

TWINS = {
    "rust": Twin("src/lib.rs", "    let text = text.to_ascii_lowercase();\n", RUST),
    "js": Twin(
        "guest.js",
        "function score(text) {\n",
        """
  if (text === "trap") throw new Error("trap");
  while (text === "hang");
  const kept = [];
  while (text === "fill") kept.push(new Uint8Array(1 << 20).fill(1));
""",
    ),
    "python": Twin(
        "app.py",
        '    """Every label of a text, highest score first."""\n',
        """
    assert text != "trap"
    while text == "hang":
        pass
    kept = []
    while text == "fill":
        kept.append(bytearray(2**20))
""",
    ),
    "c": Twin(
        "guest.c",
        "  size_t length = 0;\n",
        """
  if (text->len == 4 && memcmp(text->ptr, "trap", 4) == 0) __builtin_trap();
  if (text->len == 4 && memcmp(text->ptr, "hang", 4) == 0)
    for (volatile int forever = 1; forever;)
      ;
  while (text->len == 4 && memcmp(text->ptr, "fill", 4) == 0) {
    char *kept = malloc(1 << 20);
    if (!kept) __builtin_trap();
    memset(kept, 1, 1 << 20);
  }
""",
    ),
    "go": Twin(
        "export_fastsentiment_predict_predictor/guest.go",
        "func score(text string) []Score {\n",
        """
	if text == "trap" {
		panic("trap")
	}
	for text == "hang" {
	}
	var kept [][]byte
	for text == "fill" {
		kept = append(kept, make([]byte, 1<<20))
	}
""",
    ),
    # With `--kind model`.
    "rust-model": Twin(
        "src/lib.rs",
        "    fn scores(&self, context: &GraphExecutionContext, text: &str)"
        " -> Result<Vec<Score>, Error> {\n",
        RUST,
    ),
}
# The same source with another engine.
TWINS["js-spidermonkey"] = TWINS["js"]
# Their components take more than 10 s to compile, so only their twins are.
SLOW = ["python", "js-spidermonkey"]
LANGUAGES = os.environ.get("LANGUAGES", " ".join(TWINS)).split()


class Server(NamedTuple):
    port: int
    admin: int

    def ask(
        self, port: int, path: str, body: bytes, media_type: str
    ) -> tuple[int, http.client.HTTPMessage, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body, {"Content-Type": media_type})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        finally:
            connection.close()

    def add(self, guest: Path, how: str) -> str:
        """Adds a version with a use for it; returns its revision."""
        path = f"/versions?{how}"
        status, _, answer = self.ask(
            self.admin, path, guest.read_bytes(), "application/wasm"
        )
        assert status in (200, 201), answer
        return answer["version"]["revision_short"]

    def predict(self, text: str) -> tuple[int, str | None, Any]:
        """The status, the revision that answered, and the scores or the problem."""
        body = json.dumps({"text": [text]}).encode()
        status, headers, answer = self.ask(
            self.port, "/predict", body, "application/json"
        )
        revision = headers["x-fastsentiment-revision"]
        return status, revision, answer["predictions"][0] if revision else answer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `test` has compiled is there for the server."""
    return tmp_path_factory.mktemp("artifacts") / "compiled"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, artifacts: Path
) -> Iterator[Server]:
    server = Server(free_port(), free_port())
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        *(FASTSENTIMENT, "serve", "--model", MODEL, "--artifacts", artifacts),
        *("--guest", LEXICON),
        *("--listen", f"127.0.0.1:{server.port}"),
        *("--admin-listen", f"127.0.0.1:{server.admin}"),
        *("--admin-token-file", "none"),
        *("--guest-timeout-ms", str(LIMIT)),
        # Otherwise the last trusted guest answers where a new one fails.
        *("--probation-s", "0"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until = time.monotonic() + PATIENCE
        while b" is ready" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield server
        assert process.poll() is None, f"the server has ended:\n{log.read_text()}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def run(*command: str | Path, cwd: Path) -> str:
    environment = os.environ | {
        "TOOLS": str(TOOLS),
        "CARGO_TARGET_DIR": str(TOOLS / "cargo"),
        "GOCACHE": str(TOOLS / "go-cache"),
    }
    ran = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout}"
    return ran.stdout


def require_tools(language: str) -> None:
    missing = {
        "rust": [],
        "js": ["node", "npm"],
        "python": ["python3"],
        "c": ["clang", "wasm-ld"],
        "go": ["python3"],
        "rust-model": [],
        "js-spidermonkey": ["node", "npm"],
    }
    for tool in missing[language]:
        if shutil.which(tool) is None and os.environ.get("CI") != "true":
            pytest.skip(f"{language} needs {tool}")


def build(project: Path, artifacts: Path) -> Path:
    """Builds and tests a project."""
    run("./build.sh", cwd=project)
    options = ["--model", MODEL, "--artifacts", artifacts]
    tested = run(
        FASTSENTIMENT, "test", "guest.wasm", "cases.jsonl", *options, cwd=project
    )
    cases = len((project / "cases.jsonl").read_text().splitlines())
    assert cases >= 3
    assert tested.endswith(f"\n{cases} passed, 0 failed\n"), tested
    return project / "guest.wasm"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_guest_from_nothing_to_swapped_in(
    language: str,
    tmp_path: Path,
    server: Server,
    artifacts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_tools(language)
    lang, _, kind = language.partition("-")
    is_model = kind == "model"
    options = ["--lang", lang, "--kind", "model" if is_model else "words"]
    if kind == "spidermonkey":
        monkeypatch.setenv("ENGINE", kind)
    run(FASTSENTIMENT, "new", "mine", *options, cwd=tmp_path)
    project = tmp_path / "mine"
    twin = TWINS[language]
    source = project / twin.file
    good = source.read_text()
    evil = good.replace(twin.line, twin.line + twin.code)
    assert evil != good
    if language not in SLOW:
        mine = server.add(build(project, artifacts), "activate=true")
        status, revision, answer = server.predict(f"Good in {language}: great, lovely.")
        assert (status, revision) == (200, mine), answer
        assert answer[0]["label"] == "POSITIVE"
        if not is_model:
            assert answer[0]["score"] == pytest.approx(0.8)
    source.write_text(evil)
    # The twin of another language may be live.
    server.add(LEXICON, "activate=true")
    # As a canary for all texts it answers them, and the live version what it fails on.
    guest = build(project, artifacts)
    twin = server.add(guest, "canary=1")
    # (If it failed on more, it would be taken out of use.)
    for text, by_twin in [("hang", False), (f"Awful in {language}.", True)]:
        status, revision, answer = server.predict(text)
        assert status == 200, answer
        assert (revision == twin) is by_twin
    server.add(guest, "activate=true")
    for text in FAULTS:
        status, _, answer = server.predict(text)
        assert status in (500, 503, 504), answer
    status, revision, answer = server.predict(f"Dull in {language}.")
    assert (status, revision) == (200, twin), answer
    assert [score["label"] for score in answer] == ["NEGATIVE", "POSITIVE"]
