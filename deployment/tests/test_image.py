"""Runs the image's root file system as a container would, as far as this machine
permits."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import dockerfile
import pytest
from containers import wait
from product import ROOT, Server, lexicon, need, serving

# The largest image with the default model, in bytes, uncompressed.
MOST = 130_000_000


def can(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


NAMESPACES = ["unshare", "--mount", "--pid", "--fork"]


def container(image: Path, mount: Path) -> list[str | Path]:
    """A command that runs another one as a container engine does: with only the image,
    mounted read-only, as an unprivileged user, and as process 1."""
    for tool in ("unshare", "setpriv", "chroot", "mount"):
        need(tool)
    if not can(*NAMESPACES, "true"):
        pytest.skip("this machine does not let tests create namespaces")
    mount.mkdir()
    [user] = dockerfile.stages()[-1].last("USER")
    rights = "-all,+sys_chroot,+setuid,+setgid"
    script = f"""
        set -e
        mount --bind {shlex.quote(str(image))} {shlex.quote(str(mount))}
        mount -o remount,bind,ro,nosuid,nodev {shlex.quote(str(mount))}
        mount -t proc proc {shlex.quote(str(mount))}/proc
        exec setpriv --no-new-privs --inh-caps=-all --bounding-set={rights} \\
          chroot --userspec={user} {shlex.quote(str(mount))} "$@"
    """
    return [*NAMESPACES, "sh", "-c", script, "container"]


@pytest.fixture(scope="module")
def rooted(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image with the mount points that container engines add."""
    folder = tmp_path_factory.mktemp("rooted")
    for parent in [folder, *list(folder.parents)[:2]]:
        parent.chmod(0o755)
    shutil.copytree(image, folder / "root", symlinks=True)
    (folder / "root/proc").mkdir()
    return folder / "root"


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **dockerfile.environment()}


def test_it_is_small_and_holds_no_shell(image: Path):
    files = [file for file in image.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    print(f"the image has {size / 1e6:.1f} MB in {len(files)} files")
    assert size < MOST
    runnable = {file.name for file in files if os.access(file, os.X_OK)}
    libraries = {name for name in runnable if ".so" in name}
    assert runnable - libraries == {"fastsentiment"}


def test_nobody_but_root_could_change_it(image: Path):
    for path in [image, *image.rglob("*")]:
        mode = path.stat().st_mode
        assert not mode & 0o022, path
        assert mode & 0o004, path


def test_it_has_the_licence_of_everything_in_it(image: Path):
    for name in (
        *("app/LICENSE", "app/licences/rust-crates.txt"),
        *("app/licences/rust-standard-library.html", "app/model/default/LICENSE"),
        *("app/licences/onnxruntime-LICENSE.txt",),
        *("app/licences/onnxruntime-ThirdPartyNotices.txt",),
    ):
        assert (image / name).stat().st_size > 500, name
    packages = [file.name for file in (image / "var/lib/dpkg/status.d").iterdir()]
    assert {"libc6", "libstdc++6", "libgcc-s1"} <= set(packages)
    for package in packages:
        assert (image / "usr/share/doc" / package / "copyright").is_file()


def test_a_container_answers_at_once_without_rights_and_without_writing(
    rooted: Path, tmp_path: Path
):
    wrapper = container(rooted, tmp_path / "mount")
    before = {file: file.stat().st_mtime_ns for file in rooted.rglob("*")}
    with serving(
        [*wrapper, *dockerfile.command()], environment(), wrapped=True
    ) as server:
        server.predict("What a wonderful day.")
        seconds = time.monotonic() - server.began
        print(f"the first answer came {seconds:.2f} s after the start of the process")
        assert "compiled before" in server.greeting
        status = server.status()
        assert status["NSpid"].split()[1] == "1"
        assert set(status["Uid"].split()) == {"65532"}
        assert set(status["Gid"].split()) == {"65532"}
        assert int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        begin = time.monotonic()
        assert server.terminate() == 0
        print(f"it ended {time.monotonic() - begin:.2f} s after SIGTERM")
    assert before == {file: file.stat().st_mtime_ns for file in rooted.rglob("*")}


def test_a_container_starts_also_where_the_compiled_guest_does_not_fit(
    rooted: Path, tmp_path: Path
):
    wrapper = container(rooted, tmp_path / "mount")
    # Compiled guests are switched off, as if none fitted this CPU.
    settings = {**environment(), "FASTSENTIMENT_ARTIFACTS": ""}
    with serving([*wrapper, *dockerfile.command()], settings, wrapped=True) as server:
        assert "compiled just now" in server.greeting
        server.predict("What a wonderful day.")
        print(f"at most {server.status()['VmHWM']} were in use")


def test_the_health_check_of_the_image_tells_a_server_from_none(
    rooted: Path, tmp_path: Path
):
    check = dockerfile.stages()[-1].last("HEALTHCHECK")
    wrapper = container(rooted, tmp_path / "mount")
    settings = {**environment(), "FASTSENTIMENT_ADMIN_LISTEN": "127.0.0.1:0"}

    def health(server: Server) -> int:
        address = f"127.0.0.1:{server.admin_port}"
        variables = {**settings, "FASTSENTIMENT_ADMIN_LISTEN": address}
        return subprocess.run(
            [*wrapper, *check], env=variables, capture_output=True, check=False
        ).returncode

    with serving(
        [rooted / "app/fastsentiment", "serve"],
        {"FASTSENTIMENT_ARTIFACTS": str(rooted / "app/artifacts")},
    ) as server:
        assert health(server) == 0
        server.terminate()
        assert health(server) == 1


def test_another_model_can_be_baked_and_nothing_else(built: Path, tmp_path: Path):
    def lay_out(model: Path) -> subprocess.CompletedProcess[str]:
        script = ROOT / "deployment/build/root.sh"
        return subprocess.run(
            ["sh", script, built, model, tmp_path / "root"],
            capture_output=True,
            text=True,
            check=False,
        )

    refused = lay_out(ROOT / "model")
    assert refused.returncode == 1
    assert "is model a model directory?" in refused.stderr.replace(f"{ROOT}/", "")
    done = lay_out(ROOT / "host/tests/fixtures/models/tiny-distilbert-5")
    assert done.returncode == 0, done.stderr
    app = tmp_path / "root/app"
    artifacts = {"FASTSENTIMENT_ARTIFACTS": str(app / "artifacts")}
    with serving([app / "fastsentiment", "serve"], artifacts) as server:
        assert "compiled before" in server.greeting
        answer = json.loads(server.predict("A fine day.").body)
        assert len(answer["predictions"][0]) == 5


def test_it_takes_what_its_container_may_have(image: Path):
    need("taskset")
    core = min(os.sched_getaffinity(0))
    half = 450
    for wrapper, line in (
        (["taskset", "-c", str(core)], "workers      1,"),
        (
            limited(
                {"cpu.max": "100000 100000"},
                "cpu",
                {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"},
            ),
            "workers      1,",
        ),
        (
            limited(
                {"memory.max": f"{2 * half << 20}"},
                "memory",
                {"memory.limit_in_bytes": f"{2 * half << 20}"},
            ),
            f"compiler     at most {half} MiB",
        ),
    ):
        if not wrapper:
            print(f"no control group could be created: not tested for {line!r}")
            continue
        known = str(image / "app/artifacts")
        # With the guest that was compiled for the image, and once without it.
        for artifacts in (known, "") if line.startswith("compiler") else (known,):
            shown = subprocess.run(
                [*wrapper, image / "app/fastsentiment", "check"],
                env={
                    "FASTSENTIMENT_ARTIFACTS": artifacts,
                    "PATH": os.environ["PATH"],
                },
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            assert line in shown, f"{wrapper}: {shown}"


def limited(
    unified: dict[str, str], controller: str, legacy: dict[str, str]
) -> list[str]:
    """A command that runs another one in a control group with these limits, as containers
    do, if this machine lets tests create one."""
    for mounted, limits in (
        (Path("/sys/fs/cgroup"), unified),
        (Path("/sys/fs/cgroup") / controller, legacy),
    ):
        if not (mounted / "cgroup.procs").exists():
            continue
        group = mounted / f"fastsentiment-test-{os.getpid()}"
        written = "\n".join(
            f"echo {value} >{group}/{name}" for name, value in limits.items()
        )
        # The group can be removed when its last process has left it.
        script = f"""
            set -e
            mkdir {group}
            trap 'echo $$ >{mounted}/cgroup.procs; rmdir {group}' EXIT
            {written}
            echo $$ >{group}/cgroup.procs
            "$@"
        """
        command = ["sh", "-c", script, "limited"]
        if can(*command, "true"):
            return command
    return []


def test_a_limit_on_threads_costs_no_request_and_no_guest(image: Path, tmp_path: Path):
    """Like `--pids-limit` of a container, or the kubelet's limit for a pod."""
    wrapper = limited({"pids.max": "max"}, "pids", {"pids.max": "max"})
    if not wrapper:
        pytest.skip("this machine does not let tests create control groups")
    folders = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids")]
    guest = tmp_path / "guest.wasm"
    shutil.copy(image / "app/fastsentiment_guest.wasm", guest)
    settings = {
        "PATH": os.environ["PATH"],
        "FASTSENTIMENT_ARTIFACTS": str(tmp_path / "compiled"),
    }
    command = [image / "app/fastsentiment", "serve", "--guest", guest]
    with serving([*wrapper, *command], settings, wrapped=True) as server:
        groups = [each / f"fastsentiment-test-{os.getpid()}" for each in folders]
        [group] = [each for each in groups if each.exists()]

        def unserved() -> float:
            return server.metrics()["fastsentiment_configured_guest_unserved"]

        # Deploy a guest while no more threads can be started.
        (group / "pids.max").write_text((group / "pids.current").read_text())
        shutil.copy(lexicon(), tmp_path / "new")
        (tmp_path / "new").rename(guest)
        wait(lambda: unserved() == 1)
        # Large bodies are parsed and compressed on other threads if possible.
        server.predict(*(f"{number} " * 10_000 for number in range(20)))
        assert json.loads(server.ask("/health/ready", server.port).body) == {
            "status": "ready",
            "conditions": ["configured-guest-not-served"],
        }
        # The guest becomes live as soon as threads can be started.
        (group / "pids.max").write_text("max")
        wait(lambda: unserved() == 0)
        assert server.metrics()["fastsentiment_known_versions"] == 2
        assert server.terminate() == 0


def test_the_compiled_guest_is_the_same_every_time(image: Path, tmp_path: Path):
    # Without the existing compiled guest, which would be used.
    app, again = tmp_path / "app", tmp_path / "again"
    shutil.copytree(image / "app", app, ignore=shutil.ignore_patterns("artifacts"))
    subprocess.run(
        [app / "fastsentiment", "check", "--artifacts", again],
        env={"SOURCE_DATE_EPOCH": "0"},
        check=True,
        capture_output=True,
    )
    [compiled] = (image / "app/artifacts").iterdir()
    assert (again / compiled.name).read_bytes() == compiled.read_bytes()
