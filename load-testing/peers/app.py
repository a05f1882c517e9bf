"""`POST /predict` in FastAPI, with a cache and batches across requests."""

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


# The maximum number of texts that are padded to the same length.
BATCH = 16


def in_batches(predict: Predict, texts: list[str]) -> list[Scores]:
    """Runs texts of similar length together, so that a batch has little padding."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found: list[Scores] = [[] for _ in texts]
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        scores = predict([texts[at] for at in batch])
        for at, own in zip(batch, scores, strict=True):
            found[at] = own
    return found


class Batcher:
    """Runs the model in a thread of its own, so that it does not block the event loop.
    Each call takes the first waiting request, and then more of them until it has at
    least `limit` texts.
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
                # Whatever went wrong, every waiting request must fail with it.
                for _, answer in requests:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            at = 0
            for own, answer in requests:
                # The future is cancelled if the client has disconnected.
                if not answer.done():
                    answer.set_result(found[at : at + len(own)])
                at += len(own)


def create(arguments: argparse.Namespace) -> FastAPI:
    """The application of one worker process."""
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
        # Serialised here, since FastAPI would validate the answer first, which costs
        # time.
        return Response(
            orjson.dumps({"predictions": [scores[text] for text in texts.text]}),
            media_type="application/json",
            headers={
                "x-fastsentiment-cache-hits": str(len(texts.text) - len(missing)),
            },
        )

    return app
