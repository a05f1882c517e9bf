"""`python -m peers --runtime torch|onnxruntime --model DIR`: serves it with FastAPI.

What a team that knows these tools would run: the API of FastSentiment, a cache in
memory, uvicorn with uvloop and httptools. `--processes` are uvicorn's workers, each
with a model, a cache and `--threads` of its own; up to `--batch` texts of requests that
wait are taken together, and those of like length run as one batch. `make bench-peers`
measures both ways to use all cores beside FastSentiment.
"""

import argparse
import multiprocessing
from importlib.metadata import version
from pathlib import Path

from peers.runtimes import PACKAGES
from peers.worker import listener, work

SERVER_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "orjson", "pydantic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=sorted(PACKAGES), required=True)
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of a process's model")
    parser.add_argument("--batch", type=int, default=1, help="1: each request alone")
    parser.add_argument("--cache", type=int, default=100_000, help="texts to remember")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--versions", action="store_true", help="print them, and end")
    arguments = parser.parse_args()
    if arguments.versions:
        names = (*SERVER_PACKAGES, *PACKAGES[arguments.runtime])
        print(", ".join(f"{name} {version(name)}" for name in names))
        return
    if arguments.model is None:
        parser.error("--model is needed")

    # Keeps the port; connections go to those that listen.
    reserved = listener(arguments.port)
    port = reserved.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    heard, serving = context.Pipe(duplex=False)
    workers = [
        context.Process(target=work, args=(arguments, port, serving), daemon=True)
        for _ in range(arguments.processes)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        while not heard.poll(1):
            if not all(worker.is_alive() for worker in workers):
                raise SystemExit("a worker ended before it could serve")
        heard.recv_bytes()
    print(f"{arguments.runtime} serves http://127.0.0.1:{port}/", flush=True)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
