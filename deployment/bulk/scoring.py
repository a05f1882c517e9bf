"""Scores rows with the bulk requests of a fleet (`POST /predict` with JSON lines)."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow
import requests

# A server takes requests of this many lines at once, however busy it is.
LINES = 1000
# How long to try without any progress before giving up, in seconds.
PATIENCE = 600
# How often a text is tried that the server fails on, such as by a time-out.
TRIES = 3
# Statuses of requests that are worth another try: too slow, too many, and the server's own.
AGAIN = {408, 425, 429, 500, 502, 503, 504}
HEADERS = {"Content-Type": "application/x-ndjson"}
# The variable with the API key, if the servers have keys.
KEY = "FASTSENTIMENT_API_KEY"
# To connect, and to wait for the next answer.
TIMEOUTS = (5, 90)


class Answer(NamedTuple):
    """The label with the highest score, or why there is none."""

    label: str | None
    score: float | None
    error: str | None


COLUMNS = pyarrow.schema(
    [
        ("label", pyarrow.string()),
        ("score", pyarrow.float64()),
        ("error", pyarrow.string()),
    ]
)


def with_scores(rows: pyarrow.Table, text: str, urls: Sequence[str]) -> pyarrow.Table:
    """The rows with label, score and error in the place of the column `text`."""
    answers = score(rows[text].to_pylist(), urls)
    scored = rows.drop_columns([text])
    for number, column in enumerate(COLUMNS):
        values = [answer[number] for answer in answers]
        scored = scored.append_column(column, pyarrow.array(values, column.type))
    return scored


def score(texts: Sequence[str], urls: Sequence[str]) -> list[Answer]:
    """One answer for each text, in their order.

    The addresses are those of a Service, or of several servers, which are tried in turn.
    Every request has a connection of its own, so that a Service can balance them.
    """
    starts = range(0, len(texts), LINES)
    return [a for start in starts for a in _score(texts[start : start + LINES], urls)]


def _score(texts: Sequence[str], urls: Sequence[str]) -> list[Answer]:
    answers: list[Answer] = []
    turn = random.randrange(len(urls))
    failures, tries, progress = 0, 0, time.monotonic()
    while len(answers) < len(texts):
        got, failure = _request(texts[len(answers) :], urls[turn % len(urls)])
        answers += got
        if got:
            failures, tries, progress = 0, 0, time.monotonic()
        if failure is None:
            continue
        if failure.of_text:
            tries += 1
            if tries == TRIES:
                answers.append(Answer(None, None, failure.reason))
                tries = 0
            continue
        if time.monotonic() - progress > PATIENCE:
            raise RuntimeError(f"no answer for {PATIENCE} s: {failure.reason}")
        # Longer each time, and not the same for all tasks.
        wait = min(0.1 * 2**failures, 10) * random.uniform(0.5, 1)
        time.sleep(max(wait, failure.retry_after))
        failures, turn = failures + 1, turn + 1
    return answers


class _Failure(NamedTuple):
    reason: str
    # The server failed on the text after the last answer, and answered for it.
    of_text: bool = False
    # How long the server asks to wait, in seconds.
    retry_after: float = 0


def _request(texts: Sequence[str], url: str) -> tuple[list[Answer], _Failure | None]:
    """The answers of one request until it was done or broke off, and why it did."""
    body = "".join(f"{json.dumps({'text': text})}\n" for text in texts).encode()
    answers: list[Answer] = []
    key = os.environ.get(KEY)
    headers = HEADERS | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with requests.post(
            f"{url}/predict", body, headers=headers, stream=True, timeout=TIMEOUTS
        ) as response:
            if response.status_code in AGAIN:
                after = response.headers.get("Retry-After", "")
                seconds = int(after) if after.isdecimal() else 0
                return [], _Failure(f"status {response.status_code}", False, seconds)
            response.raise_for_status()
            for line in response.iter_lines():
                answer = json.loads(line)
                error = answer.get("error")
                if error and ("line" not in error or error["status"] >= 500):
                    return answers, _Failure(_reason(error), "line" in error)
                answers.append(_answer(answer))
    except requests.HTTPError:
        raise
    except (requests.RequestException, json.JSONDecodeError) as failure:
        return answers, _Failure(str(failure))
    done = len(answers) == len(texts)
    return answers, None if done else _Failure("the answer ended too early")


def _answer(answer: dict) -> Answer:
    if error := answer.get("error"):
        return Answer(None, None, _reason(error))
    best = answer["predictions"][0]
    return Answer(best["label"], best["score"], None)


def _reason(problem: dict) -> str:
    return f"{problem['title']}: {problem['detail']}"
