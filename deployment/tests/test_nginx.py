"""Runs a real nginx in front of the real server, configured by nginx.conf and by the
annotations of the Ingress."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import containers
import pytest
from manifests import of_kind
from product import PATIENCE, ROOT, Server, need, options

CONF = ROOT / "deployment/nginx.conf"
# The directive of each annotation of ingress-nginx, and how it writes the value.
DIRECTIVES = {
    "backend-protocol": "{}_pass {}://fastsentiment",
    "proxy-body-size": "client_max_body_size {}",
    "proxy-read-timeout": "grpc_read_timeout {}s",
    "proxy-send-timeout": "grpc_send_timeout {}s",
}
PREFIX = "nginx.ingress.kubernetes.io/"
NDJSON = "Content-Type: application/x-ndjson"


class Proxy(NamedTuple):
    port: int
    # With HTTP/2 only.
    http2_port: int


def location(lines: list[str]) -> str:
    """A configuration in the form of nginx.conf with these directives."""
    inner = "".join(f"{line};\n" for line in lines)
    return f"""
        upstream fastsentiment {{ server 127.0.0.1:8000; }}
        server {{ listen 80; location / {{ {inner} }} }}
    """


def annotated(manifests: dict[str, list[dict]]) -> list[str]:
    [ingress] = of_kind(manifests["exposed"], "Ingress").values()
    return [
        DIRECTIVES[name.removeprefix(PREFIX)].format(*2 * [value.lower()])
        for name, value in ingress["metadata"]["annotations"].items()
    ]


@contextlib.contextmanager
def nginx(configuration: str, server: Server, folder: Path) -> Iterator[Proxy]:
    # Together, so that they differ.
    with socket.socket() as one, socket.socket() as two:
        for listener in (one, two):
            listener.bind(("127.0.0.1", 0))
        proxy = Proxy(one.getsockname()[1], two.getsockname()[1])
    listen = (
        f"listen 127.0.0.1:{proxy.port}; listen 127.0.0.1:{proxy.http2_port} http2;"
    )
    there = configuration.replace("listen 80;", listen)
    there = there.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    main = folder / "main.conf"
    main.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{places}\n{there}\n}}"
    )
    process = subprocess.Popen([need("nginx"), "-p", folder, "-c", main])

    def listens() -> bool:
        assert process.poll() is None, "nginx has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", proxy.http2_port)) == 0

    try:
        containers.wait(listens)
        yield proxy
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def server(image: Path) -> Iterator[Server]:
    with containers.api(image, {}, None) as running:
        yield running


@pytest.fixture(scope="module", params=["nginx.conf", "Ingress"])
def proxy(request, server: Server, manifests, tmp_path_factory) -> Iterator[Proxy]:
    own = CONF.read_text() if request.param == "nginx.conf" else None
    configuration = own or location(annotated(manifests))
    with nginx(configuration, server, tmp_path_factory.mktemp("nginx")) as running:
        yield running


def curl(proxy: Proxy, version: str, *more: str) -> list[str]:
    http2 = version == "HTTP/2"
    flag = "--http2-prior-knowledge" if http2 else "--http1.1"
    port = proxy.http2_port if http2 else proxy.port
    return [need("curl"), "-sN", flag, *more, f"http://127.0.0.1:{port}/predict"]


@contextlib.contextmanager
def bulk(proxy: Proxy, version: str) -> Iterator[subprocess.Popen]:
    """A bulk request whose lines are written to standard input."""
    # `-T .` reads the answer while it waits for input.
    command = curl(proxy, version, "-X", "POST", "-H", NDJSON, "-T", ".")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_lines_are_answered_while_more_are_sent(proxy: Proxy, version: str):
    with bulk(proxy, version) as client:
        for number in range(5):
            client.stdin.write(f'"Line {number} of a request that has not ended."\n')
            client.stdin.flush()
            # If nginx collected anything, this would wait for ever.
            answer = json.loads(client.stdout.readline())
            assert answer["predictions"], answer
        client.stdin.close()
        assert client.stdout.read() == ""
        assert client.wait(PATIENCE) == 0


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_a_bulk_request_has_any_size(proxy: Proxy, version: str, tmp_path: Path):
    known = {option.variable: option.default for option in options("serve")}
    largest = int(known["FASTSENTIMENT_MAX_BODY_BYTES"])
    # Of one text, which is computed once.
    line = json.dumps({"text": "Fine.", "note": "x" * 1000}) + "\n"
    count = 2 * largest // len(line)
    body = tmp_path / "body"
    body.write_text(line * count)
    command = curl(proxy, version, "-X", "POST", "-H", NDJSON, "-T", str(body))
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answers = shown.splitlines()
    assert len(answers) == count
    assert len(set(answers)) == 1 and "predictions" in answers[0]


@pytest.mark.parametrize(
    ("kind", "size", "status"),
    [("application/json", 9 << 20, 413), ("text/csv", 2 << 20, 415)],
)
def test_refusals_of_the_server_reach_the_client(
    proxy: Proxy, kind: str, size: int, status: int, tmp_path: Path
):
    body = tmp_path / "body"
    body.write_text('{"text": "' + size * "x" + '"}')
    more = ["-H", f"Content-Type: {kind}", "--data-binary", f"@{body}"]
    command = curl(proxy, "HTTP/1.1", *more)
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(shown)["status"] == status, shown


def test_the_server_ends_a_request_before_nginx_does(manifests):
    known = {option.variable: option.default for option in options("serve")}
    # A line that a client is slow to send, and the server slow to answer.
    longest = sum(
        int(known[f"FASTSENTIMENT_{name}_MS"]) for name in ("BODY_TIMEOUT", "DEADLINE")
    )
    for text in (CONF.read_text(), location(annotated(manifests))):
        found = dict(re.findall(r"grpc_(read|send)_timeout (\d+)s;", text))
        assert found.keys() == {"read", "send"}
        assert all(int(seconds) * 1000 > longest for seconds in found.values())


def test_proxy_pass_collects_a_request_before_the_server_sees_it(
    server: Server, tmp_path: Path
):
    lines = ["proxy_pass http://fastsentiment", "client_max_body_size 0"]
    with (
        nginx(location(lines), server, tmp_path) as proxy,
        bulk(proxy, "HTTP/1.1") as client,
    ):
        client.stdin.write('"A line."\n')
        client.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(1)
        assert server.metrics()["fastsentiment_bulk_requests_in_flight"] == 0
        client.stdin.close()
        assert "predictions" in client.stdout.readline()


def test_without_its_size_large_requests_are_refused(server: Server, tmp_path: Path):
    text = CONF.read_text().replace("client_max_body_size 0;", "")
    body = tmp_path / "body"
    body.write_text('"Fine."\n' * 200_000)
    with nginx(text, server, tmp_path) as proxy:
        more = ["-H", NDJSON, "--data-binary", f"@{body}"]
        command = [
            *curl(proxy, "HTTP/1.1", *more),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "413"
