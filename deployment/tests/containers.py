"""Runs the container of a manifest or of compose.yaml as a process on this machine."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dockerfile
from product import PATIENCE, Server, free_port, need, options, serving

# Not an option of the command line, because process lists show those.
TOKEN = "FASTSENTIMENT_ADMIN_TOKEN"


class Redis(NamedTuple):
    port: int
    password: str
    process: subprocess.Popen

    def cli(self, *arguments: str, password: str | None = None) -> str:
        variables = {"REDISCLI_AUTH": password or self.password}
        return subprocess.run(
            [need("redis-cli"), "-p", str(self.port), *arguments],
            env=variables,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def process_list(self) -> str:
        """What every user of the machine can see of it."""
        return Path(f"/proc/{self.process.pid}/cmdline").read_text()


def located(words: list[str], places: dict[str, Path]) -> list[str]:
    """A command with the places on this machine instead of those in the container."""
    for path, place in places.items():
        words = [word.replace(f"{path}/", f"{place}/") for word in words]
    return words


def on_port(port: int, words: list[str]) -> list[str]:
    """A command with another port instead of Redis's default."""
    return [re.sub(r"\b6379\b", str(port), word) for word in words]


@contextlib.contextmanager
def redis(command: list[str], password: str, folder: Path) -> Iterator[Redis]:
    """The Redis of a container: its command, on a free port."""
    need("redis-server")
    port = free_port()
    words = on_port(port, command)
    assert words != command, f"no port is named in {command}"
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
    server = Redis(port, password, process)
    try:
        wait(lambda: server.cli("ping").strip() == "PONG")
        yield server
        assert not list(folder.iterdir()), "it wrote to its directory"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait(reached) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(subprocess.CalledProcessError):
            if reached():
                return
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def assert_keeps_nothing_and_forgets(server: Redis) -> None:
    """Checks in the running Redis that its settings make it a cache."""

    def setting(name: str) -> str:
        lines = server.cli("config", "get", name).splitlines()
        return lines[1] if len(lines) > 1 else ""

    assert setting("save") == ""
    assert setting("appendonly") == "no"
    assert setting("maxmemory-policy") == "allkeys-lru"
    assert int(setting("maxmemory")) == 192 << 20
    assert "NOAUTH" in server.cli(
        "ping", password="wrong"
    ) or "WRONGPASS" in server.cli("ping", password="wrong")


def assert_probe_tells_right_from_wrong(
    server: Redis, command: list[str], password_file: Path | None = None
) -> None:
    command = on_port(server.port, command)
    assert str(server.port) in " ".join(command), "the probe names no port"
    variables = {"PATH": "/usr/bin:/bin:/usr/local/bin"}
    for password, healthy in (("wrong", False), (server.password, True)):
        if password_file:
            password_file.write_text(password)
        else:
            variables["REDISCLI_AUTH"] = password
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == healthy, done


def assert_known(variables: dict[str, str]) -> None:
    """Checks that every variable with our prefixes is one that the server knows."""
    known = {option.variable for option in options("serve")} | {TOKEN}
    ours = {
        n for n in variables if n.startswith(("FASTSENTIMENT_", "REDIS_URL", "ORT_"))
    }
    assert ours <= known, ours - known


@contextlib.contextmanager
def api(
    image: Path,
    variables: dict[str, str],
    cache: Redis | None,
    mounts: dict[str, Path] | None = None,
) -> Iterator[Server]:
    """The API of a container: the image's command with the container's variables.

    Paths in the image and in volumes are replaced with their locations on this machine.
    """
    variables = {**dockerfile.environment(), **variables}
    assert_known(variables)
    if cache:
        url = variables["REDIS_URL"]
        address = f"127.0.0.1:{cache.port}"
        variables["REDIS_URL"] = re.sub(r"[\w.-]+:6379$", address, url)
        assert variables["REDIS_URL"] != url, f"{url} leads elsewhere"
    for path, place in {"/app": image / "app", **(mounts or {})}.items():
        for name, value in variables.items():
            if value == path or value.startswith(f"{path}/"):
                variables[name] = f"{place}{value.removeprefix(path)}"
    binary, *rest = dockerfile.command()
    with serving([image / binary.lstrip("/"), *rest], variables) as server:
        yield server


def assert_uses(server: Server, cache: Redis) -> None:
    """Checks that the server stores its answers in Redis."""
    server.predict("This text is in no other test.")
    wait(lambda: int(server_keys(cache)) >= 1)
    metrics = server.metrics()
    lookups = 'fastsentiment_cache_lookups_total{result="%s",tier="redis"}'
    assert metrics[lookups % "miss"] >= 1
    assert metrics[lookups % "error"] == 0


def server_keys(cache: Redis) -> str:
    return cache.cli("dbsize").split()[-1]
