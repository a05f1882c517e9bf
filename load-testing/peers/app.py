"""`POST /predict` in FastAPI: the cache, and requests that are run together."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated

import orjson
from cachetools import LRUCache
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from peers import runtimes

Scores = list[dict[str, str | float]]
Predict = Callable[[list[str]], list[Scores]]


class Texts(BaseModel):
    """The body of a request."""

    text: Annotated[list[str], Field(min_length=1, max_length=128)]


# The most texts that are padded to one length.
TOGETHER = 16


def in_batches(predict: Predict, texts: list[str]) -> list[Scores]:
    """Runs texts of like length together, so that little of a batch is padding."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found: list[Scores] = [[] for _ in texts]
    for first in range(0, len(order), TOGETHER):
        batch = order[first : first + TOGETHER]
        scores = predict([texts[at] for at in batch])
        for at, own in zip(batch, scores, strict=True):
            found[at] = own
    return found


class Batcher:
    """Runs the model in a thread of its own, so that the event loop goes on. What
    waits meanwhile is next: a request, and more as long as `limit` texts hold them.
    """

    def __init__(self, predict: Predict, limit: int) -> None:
        self.predict = predict
        self.limit = limit
        self.thread = ThreadPoolExecutor(1)
        self.waiting: asyncio.Queue[tuple[list[str], asyncio.Future]] = asyncio.Queue()

    async def scores(self, texts: list[str]) -> list[Scores]:
        answer = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((texts, answer))
        return await answer

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            requests = [await self.waiting.get()]
            texts = list(requests[0][0])
            while len(texts) < self.limit and not self.waiting.empty():
                requests.append(self.waiting.get_nowait())
                texts += requests[-1][0]
            try:
                found = await loop.run_in_executor(
                    self.thread, in_batches, self.predict, texts
                )
            except Exception as error:  # noqa: BLE001
                # Whatever it is, those who wait for it learn of it.
                for _, answer in requests:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            at = 0
            for own, answer in requests:
                # A client that left has cancelled it.
                if not answer.done():
                    answer.set_result(found[at : at + len(own)])
                at += len(own)


def create(arguments: argparse.Namespace) -> FastAPI:
    """The application of one worker."""
    predict = runtimes.load(arguments.runtime, arguments.model, arguments.threads)
    batcher = Batcher(predict, arguments.batch)
    cache: LRUCache[str, Scores] = LRUCache(arguments.cache)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(batcher.run())
        yield
        running.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/predict")
    async def predictions(texts: Texts) -> Response:
        scores = {text: cache.get(text) for text in texts.text}
        missing = [text for text, found in scores.items() if found is None]
        if missing:
            computed = await batcher.scores(missing)
            scores.update(zip(missing, computed, strict=True))
            cache.update(zip(missing, computed, strict=True))
        # Straight to bytes: validating one's own answers only costs time.
        return Response(
            orjson.dumps({"predictions": [scores[text] for text in texts.text]}),
            media_type="application/json",
            headers={
                "x-fastsentiment-cache-hits": str(len(texts.text) - len(missing)),
            },
        )

    return app
