"""A stand-in for the Hugging Face hub, on two free ports of this machine.

It answers as the hub does: `/api/models/{id}/revision/{revision}` lists a repository,
`/{id}/resolve/{revision}/{file}` has the file. Large files are redirected to another
origin, the store, which knows `Range` and must never see a token. Faults can be put into
single files, and every request is kept for the test to look at.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote

# What the hub's usual .gitattributes puts into LFS.
LARGE = (".bin", ".safetensors", ".onnx", ".onnx_data")
TOKEN = "hf_right"
BLOCK = 1 << 20


@dataclass
class Fault:
    """What goes wrong with a file, the next `times` times that it is asked for."""

    times: int = 1
    # The connection is closed after so many bytes of the answer.
    drop_after: int | None = None
    # ... or nothing comes any more.
    hang_after: int | None = None
    # The byte at this place of the file has a wrong bit.
    flip_at: int | None = None
    # The store has only so many bytes, and says so.
    cut_to: int | None = None
    # The store does not know `Range`.
    whole: bool = False


@dataclass
class Repository:
    """A directory as a repository with one commit."""

    directory: Path
    licence: str | None = "apache-2.0"
    private: bool = False
    gated: bool = False
    faults: dict[str, Fault] = field(default_factory=dict)
    # The commit, if it is not one.
    false_commit: str | None = None
    # Tags and branches beside `main`.
    names: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        files = (file for file in self.directory.rglob("*") if file.is_file())
        return sorted(file.relative_to(self.directory).as_posix() for file in files)

    @property
    def commit(self) -> str:
        return hashlib.sha1("\n".join(self.files).encode()).hexdigest()

    def knows(self, revision: str) -> bool:
        return revision in ("main", self.commit, *self.names)


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    range: str | None
    authorization: str | None


class StandIn:
    """The hub, from `with` to its end."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        # Set once a hanging answer hangs.
        self.hanging = threading.Event()
        self.stopped = threading.Event()
        stand_in = self

        class Hub(HubHandler):
            hub = stand_in

        class Store(StoreHandler):
            hub = stand_in

        self.servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Hub, Store)
        ]
        self.url, self.store_url = (
            f"http://127.0.0.1:{server.server_port}" for server in self.servers
        )

    def __enter__(self) -> Self:
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, name: str, directory: Path, **options: object) -> Repository:
        self.repositories[name] = Repository(directory, **options)
        return self.repositories[name]

    def asked_of_store(self, file: str) -> list[Request]:
        """The downloads of a file, in order."""
        return [
            request
            for request in self.requests
            if request.path.startswith("/store/") and request.path.endswith(f"/{file}")
        ]


class Handler(BaseHTTPRequestHandler):
    """What both servers do."""

    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """The requests are kept instead."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(
            Request(
                self.command,
                unquote(self.path),
                self.headers.get("Range"),
                self.headers.get("Authorization"),
            )
        )
        self.answer(unquote(self.path).partition("?")[0])

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def send(self, status: int, headers: dict[str, object], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self.send(status, headers, json.dumps({"error": message}).encode())


class HubHandler(Handler):
    """The API, and small files."""

    def answer(self, path: str) -> None:
        if found := re.fullmatch(r"/api/models/(.+?)/revision/(.+)", path):
            self.describe(*found.groups())
        elif found := re.fullmatch(r"/api/models/(.+)", path):
            self.describe(found[1], "main")
        elif found := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self.resolve(*found.groups())
        else:
            self.fail(404, "NotFound", "Sorry, we can't find the page")

    def allowed(self, name: str, revision: str, download: bool) -> Repository | None:
        """The repository, if the client may have it; otherwise it was told."""
        given = self.headers.get("Authorization")
        repository = self.hub.repositories.get(name)
        if given not in (None, f"Bearer {TOKEN}"):
            self.send(
                401, {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        elif repository is None or (repository.private and given is None):
            # The hub does not tell strangers which of the two it is.
            self.fail(404 if given else 401, "RepoNotFound", "Repository not found")
        elif repository.gated and download and given is None:
            self.fail(401, "GatedRepo", "Access to this model is restricted")
        elif not repository.knows(revision):
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repository
        return None

    def describe(self, name: str, revision: str) -> None:
        repository = self.allowed(name, revision, download=False)
        if repository is None:
            return
        described = {
            "id": name,
            "modelId": name,
            "sha": repository.false_commit or repository.commit,
            "private": repository.private,
            "gated": "auto" if repository.gated else False,
            "tags": [],
            "downloads": 0,
            "siblings": [{"rfilename": file} for file in repository.files],
        }
        if repository.licence:
            described["cardData"] = {"license": repository.licence}
        body = json.dumps(described).encode()
        self.send(200, {"Content-Type": "application/json"}, body)

    def resolve(self, name: str, revision: str, file: str) -> None:
        repository = self.allowed(name, revision, download=True)
        if repository is None:
            return
        if file not in repository.files:
            self.fail(404, "EntryNotFound", "Entry not found")
            return
        path = repository.directory / file
        headers: dict[str, object] = {"X-Repo-Commit": repository.commit}
        if not file.endswith(LARGE):
            contents = path.read_bytes()
            blob = b"blob %d\0" % len(contents) + contents
            headers["ETag"] = f'"{hashlib.sha1(blob).hexdigest()}"'
            if self.command == "GET" and file in repository.faults:
                contents = spoiled(contents, 0, repository.faults.pop(file))
            self.send(200, {**headers, "Content-Length": len(contents)}, contents)
            return
        with path.open("rb") as contents:
            digest = hashlib.file_digest(contents, "sha256").hexdigest()
        headers["X-Linked-Etag"] = f'"{digest}"'
        headers["X-Linked-Size"] = path.stat().st_size
        headers["ETag"] = '"of the redirection, and of no use"'
        headers["Location"] = f"{self.hub.store_url}/store/{name}/{file}"
        self.send(302, headers)


class StoreHandler(Handler):
    """Large files. Here faults happen."""

    def answer(self, path: str) -> None:
        if self.headers.get("Authorization"):
            # As the hub's own stores do: the address holds the permission.
            self.fail(400, "InvalidArgument", "Only one auth mechanism allowed")
            return
        owner, name, file = path.removeprefix("/store/").split("/", 2)
        repository = self.hub.repositories[f"{owner}/{name}"]
        fault = repository.faults.get(file, Fault())
        if file in repository.faults:
            fault.times -= 1
            if fault.times <= 0:
                del repository.faults[file]
        self.send_range(repository.directory / file, fault)

    def send_range(self, path: Path, fault: Fault) -> None:
        size = path.stat().st_size if fault.cut_to is None else fault.cut_to
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked and not fault.whole else 0
        if start >= size:
            self.send(416, {"Content-Range": f"bytes */{size}"})
            return
        headers = {"Accept-Ranges": "bytes", "Content-Length": size - start}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self.send(206 if start else 200, headers)
        try:
            self.send_bytes(path, start, size, fault)
        except ConnectionError:
            # The client was killed, or gave up.
            self.close_connection = True

    def send_bytes(self, path: Path, start: int, size: int, fault: Fault) -> None:
        stop = min(
            size, start + min(fault.drop_after or size, fault.hang_after or size)
        )
        with path.open("rb") as contents:
            contents.seek(start)
            at = start
            while at < stop:
                block = contents.read(min(BLOCK, stop - at))
                self.wfile.write(spoiled(block, at, fault))
                at += len(block)
        if fault.hang_after is not None and stop < size:
            self.wfile.flush()
            self.hub.hanging.set()
            self.hub.stopped.wait()
        if stop < size:
            self.close_connection = True


def spoiled(block: bytes, start: int, fault: Fault) -> bytes:
    """A part of a file that begins at `start`, with the wrong bit if it is in there."""
    if fault.flip_at is None or not start <= fault.flip_at < start + len(block):
        return block
    changed = bytearray(block)
    changed[fault.flip_at - start] ^= 1
    return bytes(changed)
