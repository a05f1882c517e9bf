"""Scores texts with servers that refuse, break off and fail as they are told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow
import pytest
import requests
import scoring


class Told(ThreadingHTTPServer):
    """Answers request after request as it is told, and then as a server should."""

    def __init__(self, *answers: object) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.seen, self.keys = list(answers), [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Told
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        texts = [json.loads(line)["text"] for line in body.splitlines()]
        self.server.seen.append((time.monotonic(), texts))
        self.server.keys.append(self.headers["Authorization"])
        told = self.server.answers.pop(0) if self.server.answers else None
        if isinstance(told, tuple):
            status, headers = told
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in told if told is not None else [good(text) for text in texts]:
            if line is None:  # break off in the middle of a line
                self.wfile.write(b'5\r\n{"pre\r\n')
                self.close_connection = True
                return
            data = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def told(*answers: object) -> Iterator[Told]:
    server = Told(*answers)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def good(text: str) -> dict:
    return {"predictions": [{"label": text.upper(), "score": 0.75}]}


def bad(status: int, **where: int) -> dict:
    problem = {"title": "Wrong", "detail": "why", "status": status, **where}
    return {"error": problem}


def right(*texts: str) -> list[scoring.Answer]:
    return [scoring.Answer(text.upper(), 0.75, None) for text in texts]


def test_a_key_from_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch):
    with told() as server:
        scoring.score(["a"], [server.url])
        monkeypatch.setenv(scoring.KEY, "fsk_1")
        scoring.score(["b"], [server.url])
    assert server.keys == [None, "Bearer fsk_1"]


def test_a_request_has_as_many_lines_as_a_server_always_takes():
    texts = [f"t{number}" for number in range(2 * scoring.LINES + 1)]
    with told() as server:
        assert scoring.score(texts, [server.url]) == right(*texts)
    assert [len(seen) for _, seen in server.seen] == [1000, 1000, 1]
    assert scoring.score([], ["http://nobody.invalid"]) == []


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_the_server_asks(status: int):
    with told((status, {"Retry-After": "1"})) as server:
        assert scoring.score(["a"], [server.url]) == right("a")
    (first, _), (second, _) = server.seen
    assert second - first >= 1


def test_what_was_answered_before_a_break_is_kept():
    for ending in ([None], [bad(503, after_line=1)], []):
        with told([good("a"), *ending]) as server:
            assert scoring.score(["a", "b", "c"], [server.url]) == right("a", "b", "c")
        assert [seen for _, seen in server.seen] == [["a", "b", "c"], ["b", "c"]]


def test_another_server_takes_over():
    with told() as gone:
        pass
    with told() as server:
        for _ in range(4):  # whichever is asked first
            assert scoring.score(["a"], [gone.url, server.url]) == right("a")


def test_a_text_that_is_refused_has_the_reason_and_costs_no_other():
    wrong = scoring.Answer(None, None, "Wrong: why")
    with told([good("a"), bad(422, line=2), good("c")]) as server:
        answers = scoring.score(["a", None, "c"], [server.url])
    assert answers == [*right("a"), wrong, *right("c")]
    assert len(server.seen) == 1


def test_a_text_that_the_server_fails_on_is_tried_again_and_then_given_up():
    with told([bad(504, line=1), good("b")]) as server:
        assert scoring.score(["a", "b"], [server.url]) == right("a", "b")
    fails = [bad(500, line=1)]
    with told(fails, fails, fails) as server:
        answers = scoring.score(["a", "b"], [server.url])
    assert answers == [scoring.Answer(None, None, "Wrong: why"), *right("b")]


def test_what_will_not_get_better_is_not_tried_again():
    with told((404, {})) as server, pytest.raises(requests.HTTPError, match="404"):
        scoring.score(["a"], [server.url])
    assert len(server.seen) == 1


def test_nobody_there_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scoring, "PATIENCE", 0.5)
    with told() as gone:
        pass
    with pytest.raises(RuntimeError, match="no answer for 0.5 s: "):
        scoring.score(["a"], [gone.url])


def test_a_table_keeps_its_other_columns():
    rows = pyarrow.table({"id": [1, 2], "text": ["a", "b"], "more": [3.5, None]})
    with told([good("a"), bad(422, line=2)]) as server:
        scored = scoring.with_scores(rows, "text", [server.url])
    assert scored.to_pydict() == {
        "id": [1, 2],
        "more": [3.5, None],
        "label": ["A", None],
        "score": [0.75, None],
        "error": [None, "Wrong: why"],
    }
    assert scored.schema.field("error").type == pyarrow.string()
