#!/usr/bin/env python3
"""Measures what others notice of clients that try to take everything.

    python3 load-testing/attacks.py [--seconds 10] [--model DIR]

For each attack, starts a server, sends a probe 20 times a second from 127.0.0.1 while
attackers work from 127.0.0.2, and prints what the probe noticed, and how much memory the
server used, as lines `figure <name> <value>`. Before that, short texts keep all workers busy
for a moment, because the first text of each worker takes memory that it keeps. Exits with 1
if a probe was lost.

Needs Linux, `make build`, and `ulimit -n 16384`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness import ROOT, Server, serving

ATTACKER = ("127.0.0.2", 0)
# Between the probe's requests, in seconds.
PROBE_EVERY = 0.05
# A server should have given memory back so long after an attack, in seconds.
LATER = 60
# How many clients keep all workers busy before an attack, and for how long, in seconds.
WARM_CLIENTS, WARM_SECONDS = 16, 2

END_STREAM, END_HEADERS = 1, 4
DATA, HEADERS, SETTINGS = 0, 1, 4
INITIAL_WINDOW_SIZE = 4


class Target(NamedTuple):
    host: str
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(self, timeout=30, source_address=ATTACKER)


def request(headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = (
        f"POST /predict HTTP/1.1\r\nhost: x\r\n{headers}content-length: {size}\r\n\r\n"
    )
    return head.encode() + body


JSON = "content-type: application/json\r\n"


def texts(count: int, words: int) -> bytes:
    stamp = time.perf_counter_ns()
    return json.dumps(
        {"text": [f"{stamp} {at} " + "word " * words for at in range(count)]}
    ).encode()


# ---- HTTP/2 (RFC 9113), as far as an attacker needs it ----


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + struct.pack(">BBI", kind, flags, stream)
        + payload
    )


def header(name: str, value: str) -> bytes:
    """A literal field without indexing and without Huffman coding (RFC 7541)."""
    sizes = [len(name), len(value)]
    assert max(sizes) < 127
    return (
        b"\0" + bytes([sizes[0]]) + name.encode() + bytes([sizes[1]]) + value.encode()
    )


def http2(target: Target, window: int) -> socket.socket:
    connection = target.connect()
    settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings)
    )
    connection.sendall(frame(SETTINGS, 1, 0, b""))
    return connection


def post(stream: int, body: bytes, *, ends: bool, **more: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/predict",
        ":authority": "x",
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    block = b"".join(header(name, value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block) + frame(
        DATA, END_STREAM if ends else 0, stream, body
    )


# ---- Attacks: each works until it is told to stop ----

Stop = threading.Event


def small_bodies(target: Target, stop: Stop) -> None:
    """138 bodies over one connection, of which one byte arrives."""
    while not stop.is_set():
        connection = http2(target, 65_535)
        for at in range(138):
            body = post(2 * at + 1, b"\x0b", ends=False, content_encoding="br")
            connection.sendall(body)
        stop.wait(1)
        connection.close()


def idle_bulk(target: Target, stop: Stop) -> None:
    """90 bulk requests and 400 bodies that do not go on."""
    bulk = (
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n"
    )
    bulk += b'transfer-encoding: chunked\r\n\r\n1\r\n"\r\n'
    open_ = [(target.connect(), bulk) for _ in range(90)]
    open_ += [(target.connect(), request(JSON, b"{", 100_000)) for _ in range(400)]
    for connection, sent in open_:
        connection.sendall(sent)
    stop.wait()


def unread(target: Target, stop: Stop) -> None:
    """20 connections whose window is closed, with 190 answers each."""
    open_ = []
    for _ in range(20):
        connection = http2(target, 0)
        try:
            for at in range(190):
                connection.sendall(post(2 * at + 1, texts(100, 1), ends=True))
        except OSError:
            pass  # It was closed, as it should be.
        open_.append(connection)
        if stop.is_set():
            return
    stop.wait()


def idle(target: Target, stop: Stop) -> None:
    """As many connections as the server takes, each of which has had a request."""
    open_ = []
    while len(open_) < 4096 and not stop.is_set():
        connection = target.connect()
        connection.sendall(request(JSON, b'{"text":[]}'))
        connection.recv(1 << 16)
        open_.append(connection)
    stop.wait()


def flood(target: Target, stop: Stop) -> None:
    """8 connections with 40 long texts in each request."""

    def client() -> None:
        while not stop.is_set():
            try:
                connection = target.connect()
                while not stop.is_set():
                    connection.sendall(request(JSON, texts(40, 400)))
                    connection.recv(1 << 16)
            except OSError:
                pass

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()


ATTACKS: list[Callable[[Target, Stop], None]] = [
    small_bodies,
    idle_bulk,
    unread,
    idle,
    flood,
]


# ---- What others notice ----


class Seen(NamedTuple):
    seconds: float
    status: int


def probe(target: Target, stop: Stop, every: float = PROBE_EVERY) -> Iterator[Seen]:
    """Asks for a new short text on a new connection, again and again."""
    while not stop.is_set():
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(*target, timeout=30)
        try:
            connection.request(
                "POST", "/predict", texts(1, 5), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except OSError:
            status = 0
        connection.close()
        took = time.perf_counter() - begun
        yield Seen(took, status)
        time.sleep(max(0, every - took))


def warm_up(target: Target) -> None:
    """Keeps all workers busy with short texts, like those of the probe."""
    ended = Stop()
    clients = [
        threading.Thread(target=lambda: list(probe(target, ended, 0)))
        for _ in range(WARM_CLIENTS)
    ]
    for client in clients:
        client.start()
    time.sleep(WARM_SECONDS)
    ended.set()
    for client in clients:
        client.join()


def resident(server: Server) -> float:
    """The server's memory, in MiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def measure(attack: Callable[[Target, Stop], None], options: argparse.Namespace) -> int:
    """Returns how many probes were lost."""
    name = f"attack_{attack.__name__}"
    with serving("--model", options.model) as server:
        host, port = server.url.removeprefix("http://").split(":")
        target, seen, most = Target(host, int(port)), [], 0.0
        stop, ended = Stop(), Stop()

        def probing() -> None:
            seen.extend(probe(target, ended))

        prober = threading.Thread(target=probing)
        attacker = threading.Thread(target=attack, args=(target, stop))
        warm_up(target)
        prober.start()
        time.sleep(2)
        before, alone = resident(server), len(seen)
        attacker.start()
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            most = max(most, resident(server))
            time.sleep(0.1)
        ended.set()
        prober.join()
        stop.set()
        attacker.join()
        time.sleep(LATER)
        after = resident(server)
    during = seen[alone:]
    lost = sum(one.status != 200 for one in during)
    waits = sorted(one.seconds * 1000 for one in during)
    for figure, value in {
        "probes": len(during),
        "lost": lost,
        "p50_ms": waits[len(waits) // 2],
        "max_ms": waits[-1],
        "rss_before_mib": before,
        "rss_during_mib": most,
        "rss_a_minute_later_over_before": after / before,
    }.items():
        print(f"figure {name}_{figure} {value:.6g}", flush=True)
    return lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--model", default=str(ROOT / "model/default"))
    options = parser.parse_args()
    return 1 if sum(measure(attack, options) for attack in ATTACKS) else 0


if __name__ == "__main__":
    sys.exit(main())
