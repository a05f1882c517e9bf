"""A worker process with uvicorn."""

import argparse
import functools
import multiprocessing
import os
import socket
import threading
from multiprocessing.connection import Connection

import uvicorn

from peers.app import create


class Worker(uvicorn.Server):
    """A server that reports when it is ready."""

    def __init__(self, config: uvicorn.Config, serving: Connection) -> None:
        super().__init__(config)
        self.serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.serving.send_bytes(b"serving")


def listener(port: int) -> socket.socket:
    """A socket of this worker's own on a shared port: the kernel distributes connections
    among such sockets. If the workers shared one socket, one of them could accept all
    connections."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", port))
    return found


def end_with_parent() -> None:
    """Ends this worker when its parent ends, even if the parent was killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


def work(arguments: argparse.Namespace, port: int, serving: Connection) -> None:
    """Serves until the process is terminated."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    config = uvicorn.Config(
        functools.partial(create, arguments),
        factory=True,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    Worker(config, serving).run(sockets=[listener(port)])
