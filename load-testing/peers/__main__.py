"""`python -m peers --runtime torch|onnxruntime --model DIR`: serves a model with FastAPI.

This is what a team that knows these tools would run: the API of FastSentiment, a cache in
memory, and uvicorn with uvloop and httptools. `--processes` is the number of uvicorn
workers, each with a model, a cache and `--threads` of its own. Each worker takes up to
`--batch` texts from the waiting requests, and runs those of similar length in one batch.
`make bench-peers` measures both ways to use all cores beside FastSentiment.
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
    parser.add_argument("--threads", type=int, default=1, help="for each model")
    parser.add_argument("--batch", type=int, default=1, help="1: no batching")
    parser.add_argument("--cache", type=int, default=100_000, help="size in texts")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--versions", action="store_true", help="print them and exit")
    arguments = parser.parse_args()
    if arguments.versions:
        names = (*SERVER_PACKAGES, *PACKAGES[arguments.runtime])
        print(", ".join(f"{name} {version(name)}" for name in names))
        return
    if arguments.model is None:
        parser.error("--model is needed")

    # Reserves the port without listening, so that only the workers get connections.
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
                raise SystemExit("a worker ended before it was ready")
        heard.recv_bytes()
    print(f"{arguments.runtime} serves http://127.0.0.1:{port}/", flush=True)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
