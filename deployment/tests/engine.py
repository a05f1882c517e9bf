"""A real Docker for the tests: a client with BuildKit, a daemon, and base images.

A running daemon is used as it is; otherwise one is started, as root, and stopped at the
end. Its data stays in `target/docker` for the next run.

Base images are pulled. One that cannot be pulled is replaced with a stand-in of the same
name, made from Debian's packages and this machine's Rust. If the daemon was already
running, its stand-ins are removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from product import PATIENCE, ROOT

# Builds compile for minutes.
BUILDING = 3600
STAND_IN = "fastsentiment.stand-in"
PROXIES = ["http_proxy", "https_proxy", "no_proxy"]
# Variables with the addresses of this machine's registries.
PIP_SETTINGS = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"]


class Unavailable(Exception):
    """The reason why there is no Docker to test with."""


class Engine:
    """A Docker client, and the environment with which it finds a daemon."""

    def __init__(self, client: Path, folder: Path, host: str | None) -> None:
        self.client = client
        # docker-compose calls `docker` to build, and has to find the same client.
        (folder / "bin").mkdir()
        (folder / "bin/docker").symlink_to(client)
        self.environment = {
            **os.environ,
            "DOCKER_BUILDKIT": "1",
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            **({"DOCKER_HOST": host} if host else {}),
        }

    def run(
        self, *command: str | Path, check: bool = True, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Runs any command that talks to the daemon."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, (
            f"{command}:\n{done.stdout}{done.stderr}"
        )
        return done

    def docker(
        self, *arguments: str | Path, check: bool = True, **options: float
    ) -> str:
        return self.run(self.client, *arguments, check=check, **options).stdout.strip()

    def inspect(self, kind: str, name: str) -> dict:
        [found] = json.loads(self.docker(kind, "inspect", name))
        return found

    def has(self, image: str) -> bool:
        return bool(self.docker("image", "ls", "-q", image))

    def build(self, tag: str, **arguments: str) -> None:
        """Runs `docker build` in the repository and shows its progress."""
        given = {name: os.environ[name] for name in PROXIES if name in os.environ}
        words = [f"{name}={value}" for name, value in {**given, **arguments}.items()]
        flags = [flag for word in words for flag in ("--build-arg", word)]
        command = [self.client, "build", "--progress", "plain", *flags, "-t", tag, ROOT]
        subprocess.run(command, env=self.environment, check=True, timeout=BUILDING)


@contextlib.contextmanager
def running(bases: list[str]) -> Iterator[Engine]:
    """A Docker that has these base images."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = find_client()
        host = None
        if not can(client, "info"):
            host = stack.enter_context(daemon(client, folder))
        engine = Engine(client, folder, host)
        for base in bases:
            if not engine.has(base) and not pulled(engine, base):
                stand_in(engine, base)
                if host is None:
                    stack.callback(engine.docker, "image", "rm", base, check=False)
            if STAND_IN in (engine.inspect("image", base)["Config"]["Labels"] or {}):
                print(
                    f"\n*** {base} IS A STAND-IN, made from Debian's packages on this "
                    "machine: the real one could not be pulled",
                    flush=True,
                )
        yield engine


def find_client() -> Path:
    """The first `docker` in the path that can build with BuildKit."""
    found = [Path(folder) / "docker" for folder in os.get_exec_path()]
    for client in found:
        if os.access(client, os.X_OK) and has_buildkit(client):
            return client
    raise Unavailable("no `docker` with BuildKit is installed; on Debian 12: docker.io")


def can(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def has_buildkit(client: Path) -> bool:
    """Up to version 20.10 it is built into the client; later it is a plugin."""
    shown = subprocess.run(
        [client, "--version"], check=True, capture_output=True, text=True
    ).stdout
    return int(shown.split()[2].split(".")[0]) <= 20 or can(client, "buildx", "version")


@contextlib.contextmanager
def daemon(client: Path, folder: Path) -> Iterator[str]:
    """Starts a daemon, and gives its address."""
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None or os.geteuid() != 0:
        raise Unavailable(
            "no Docker daemon answers, and one can be started only by root where "
            "`dockerd` is installed; on Debian 12: docker.io"
        )
    host = f"unix://{folder}/socket"
    log = folder / "log"
    command = [
        *(program, "--host", host, "--pidfile", folder / "pid"),
        *("--exec-root", folder / "exec", "--data-root", ROOT / "target/docker"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        end = time.monotonic() + PATIENCE
        while not can(client, "--host", host, "info"):
            if process.poll() is not None or time.monotonic() > end:
                raise Unavailable(f"{program} does not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield host
    finally:
        process.terminate()
        process.wait(PATIENCE)


# ---- Base images ----


def pulled(engine: Engine, image: str) -> bool:
    done = engine.run(engine.client, "pull", image, check=False, timeout=BUILDING)
    if done.returncode != 0:
        print(f"\n{image} cannot be pulled: {done.stderr.strip()}", flush=True)
    return done.returncode == 0


def stand_in(engine: Engine, image: str) -> None:
    """Makes a base image with what the build and the tests use of it."""
    program = shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None or os.geteuid() != 0:
        raise Unavailable(
            f"{image} cannot be pulled (see above), and a stand-in can be made only by "
            "root where `debootstrap` is installed"
        )
    print(f"making a stand-in for {image}", flush=True)
    name, tag = image.split(":")
    suite = tag.rsplit("-", 1)[1]
    packages = {"rust": "ca-certificates,gcc,libc6-dev", "redis": "redis-server"}[name]
    # Not in /tmp, which may be mounted with nodev or noexec.
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        root = Path(folder) / "root"
        mirror = [os.environ["MIRROR"]] if "MIRROR" in os.environ else []
        command = [program, "--variant=minbase", f"--include={packages}"]
        engine.run(*command, suite, root, *mirror, timeout=BUILDING)
        for archive in (root / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        variables = add_rust(root, tag) if name == "rust" else add_redis(root)
        archive = Path(folder) / "image.tar"
        engine.run("tar", "-C", root, "-cf", archive, ".", timeout=BUILDING)
        changes = [f"ENV {key}={value}" for key, value in variables.items()]
        changes.append(f"LABEL {STAND_IN}=true")
        flags = [flag for change in changes for flag in ("--change", change)]
        engine.docker("import", *flags, archive, image, timeout=BUILDING)


def add_rust(root: Path, tag: str) -> dict[str, str]:
    """Adds this machine's toolchain where the official image has it, and this machine's
    certificates and settings for its registries."""
    version = tag.split("-")[0]
    rustup = shutil.which("rustup")
    if rustup is None or not can("rustc", f"+{version}", "--version"):
        raise Unavailable(f"Rust {version} by rustup is needed for a stand-in")

    def rustc(*arguments: str) -> str:
        command = ["rustc", f"+{version}", *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout

    [triple] = re.findall(r"^host: (.*)$", rustc("-vV"), re.MULTILINE)
    toolchain = f"{version}-{triple}"
    shutil.copytree(
        rustc("--print", "sysroot").strip(),
        root / f"usr/local/rustup/toolchains/{toolchain}",
        symlinks=True,
        ignore=shutil.ignore_patterns("html"),
    )
    (root / "usr/local/rustup/settings.toml").write_text(
        f'version = "12"\nprofile = "minimal"\ndefault_toolchain = "{toolchain}"\n'
    )
    programs = root / "usr/local/cargo/bin"
    programs.mkdir(parents=True)
    shutil.copy(rustup, programs / "rustup")
    for program in ("cargo", "rustc", "rustdoc"):
        (programs / program).symlink_to("rustup")

    own = Path("/usr/local/share/ca-certificates")
    for certificate in own.glob("*.crt"):
        shutil.copy(certificate, root / own.relative_to("/"))
    subprocess.run(["chroot", root, "update-ca-certificates"], check=True)
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    settings = {
        cargo / "config.toml": root / "usr/local/cargo/config.toml",
        Path("/etc/pip.conf"): root / "etc/pip.conf",
    }
    for file, copy in settings.items():
        if file.is_file():
            shutil.copy(file, copy)
    given = {name: os.environ[name] for name in PIP_SETTINGS if name in os.environ}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "RUSTUP_HOME": "/usr/local/rustup",
        "CARGO_HOME": "/usr/local/cargo",
        "PATH": f"/usr/local/cargo/bin:{path}",
        "RUST_VERSION": version,
        **given,
    }


def add_redis(root: Path) -> dict[str, str]:
    # The user and group id of the official image.
    run = ["chroot", root]
    subprocess.run([*run, "groupmod", "-g", "999", "redis"], check=True)
    subprocess.run([*run, "usermod", "-u", "999", "-g", "999", "redis"], check=True)
    return {}
