"""A server that behaves, or misbehaves, as a test orders."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Self

PROBLEM = {"type": "urn:fastsentiment:problem:overloaded", "title": "x", "status": 503}


@dataclass
class Behaviour:
    status: int = 200
    # The share of texts that the answers report as cached.
    hits: float = 0.95
    # Refuses every nth request; 0 refuses none.
    refuse_every: int = 0
    # Refuses every request that arrives while another one is being answered.
    refuse_beside: bool = False
    # Whether refusals have the header Retry-After, and their body.
    retry_after: bool = True
    problem: dict = field(default_factory=lambda: dict(PROBLEM))
    # After the second swap the first guest answers everything, while the headers keep
    # naming the live guest.
    lies: bool = False
    names_guest: bool = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Sends head and body together. Otherwise Nagle's algorithm delays the body.
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path == "/versions":
            self.answer(200, {"live": self.about(self.server.live)})
        else:
            self.answer(200, {})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = self.path.partition("?")[0]
        if path == "/predict":
            self.predict(json.loads(body)["text"])
        elif path == "/versions":
            guest = hashlib.sha256(body).hexdigest()
            self.server.guests.append(guest)
            self.server.live = guest
            self.answer(200, {"version": self.about(guest)})
        else:
            guest = path.split("/")[2]
            changed, self.server.live = self.server.live != guest, guest
            self.server.swaps += 1
            self.answer(200, {"live": self.about(guest), "changed": changed})

    def about(self, guest: str) -> dict:
        return {"guest": guest, "short": guest[:12]}

    def predict(self, texts: list[str]) -> None:
        how: Behaviour = self.server.behaviour
        number = next(self.server.numbers)
        if how.refuse_beside:
            if not self.server.busy.acquire(blocking=False):
                self.refuse(how)
                return
            time.sleep(0.03)
            self.server.busy.release()
        if how.refuse_every and (number + 1) % how.refuse_every == 0:
            self.refuse(how)
            return
        guests = self.server.guests
        of = guests[0] if how.lies and self.server.swaps > 1 else self.server.live
        label = "NEUTRAL" if guests and of != guests[0] else "POSITIVE"
        # Rounds so that the share is right over many requests, whatever their size.
        hits = int((number + 1) * how.hits * len(texts)) - int(
            number * how.hits * len(texts)
        )
        headers = {
            "x-fastsentiment-guest": self.server.live[:12],
            "x-fastsentiment-model": "7d14608a83a9",
            "x-fastsentiment-cache-hits": str(hits),
        }
        if not how.names_guest:
            del headers["x-fastsentiment-guest"]
        scores = [[{"label": label, "score": 1.0}] for _ in texts]
        self.answer(how.status, {"predictions": scores}, headers)

    def refuse(self, how: Behaviour) -> None:
        retry = {"Retry-After": "1"} if how.retry_after else {}
        kind = {"Content-Type": "application/problem+json"}
        self.answer(503, how.problem, {**kind, **retry})

    def answer(self, status: int, body: dict, headers: dict | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        kind = {"Content-Type": "application/json"}
        for name, value in {**kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class StandIn(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.numbers = count()
        self.busy = threading.Lock()
        self.swaps = 0
        self.live = "0" * 64
        self.guests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
