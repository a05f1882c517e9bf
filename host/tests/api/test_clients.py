"""HTTP clients that people use, against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, Listener, Server

JSON = "application/json"
# What is refused before its body has arrived: path, type, size of the body, and status.
REFUSED = [
    ("/nothing", JSON, 200_000, 404),
    ("/health", JSON, 200_000, 405),
    ("/predict", "text/plain", 9_000_000, 415),
    ("/predict", JSON, 9_000_000, 413),
]
# More than the buffers of any client and proxy hold.
LARGE = ("/predict", JSON, 70_000_000, 413)


@pytest.mark.parametrize(("path", "kind", "size", "status"), [*REFUSED, LARGE])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_sees_an_early_refusal(
    listener: Listener,
    tmp_path: Path,
    version: str,
    path: str,
    kind: str,
    size: int,
    status: int,
) -> None:
    if listener.name == "admin" and path == "/predict":
        status = 404
    body = tmp_path / "body"
    body.write_bytes(b"x" * size)
    command = [
        *("curl", "-sS", version, "-o", tmp_path / "answer", "-w", "%{http_code}"),
        *("-H", f"Content-Type: {kind}", "-H", "Expect:"),
        *("--data-binary", f"@{body}", listener.url + path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, str(status)), done.stderr
    assert json.loads((tmp_path / "answer").read_text())["status"] == status


@pytest.mark.parametrize(("path", "kind", "size", "status"), REFUSED)
@pytest.mark.parametrize("is_http2", [False, True])
def test_httpx_sees_an_early_refusal(
    server: Server, is_http2: bool, path: str, kind: str, size: int, status: int
) -> None:
    with httpx.Client(http1=not is_http2, http2=is_http2, timeout=120) as client:
        for _ in range(2):
            answer = client.post(
                server.main.url + path,
                content=b"x" * size,
                headers={"content-type": kind},
            )
            assert answer.status_code == status
            assert answer.json()["status"] == status
        assert client.get(server.main.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("language", "command"),
    [("python", [sys.executable, "-"]), ("js", ["node", "--input-type=module", "-"])],
)
def test_the_documented_clients_read_while_they_send(
    server: Server, language: str, command: list[str]
) -> None:
    text = (ROOT / "host/docs/api.md").read_text()
    section = text.split("### Clients for bulk requests")[1].split("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    code = code.replace("http://127.0.0.1:8000", server.main.url)
    two = '["I love it", "I hate it"]'
    assert two in code
    # Far more than fits into the buffers of both sockets.
    many = {"python": f"{two} * 50_000", "js": f"Array(50_000).fill({two}).flat()"}
    for texts, count in [(two, 2), (many[language], 100_000)]:
        done = subprocess.run(
            command,
            input=code.replace(two, texts).encode(),
            stdout=subprocess.PIPE,
            check=True,
        )
        assert done.stdout.count(b"predictions") == count
