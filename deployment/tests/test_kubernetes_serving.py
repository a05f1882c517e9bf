"""Runs the containers of the manifests, as far as this machine permits, with the real
binary and a real Redis."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import containers
import dockerfile
import pytest
from manifests import EVERY, PASSWORD, container, environment, expanded, of_kind, secret
from product import ROOT, TARGET, lexicon, options

ROLLOUT = "/etc/fastsentiment/rollout"


@pytest.fixture(autouse=True)
def unmounted(tmp_path: Path) -> Iterator[None]:
    """Unmounts the volumes of a test."""
    yield
    mounts = Path("/proc/self/mounts")
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    for place in [line.split()[1] for line in lines]:
        if place.startswith(f"{tmp_path}/"):
            subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("name", EVERY)
def test_pods_have_the_time_that_the_server_takes_to_stop(manifests, name: str):
    pod, _ = container(manifests[name], "fastsentiment")
    known = {option.variable: option for option in options("serve")}
    variables = environment(manifests[name], "fastsentiment")
    stopping = 0
    for variable in ("FASTSENTIMENT_DRAIN_DELAY_MS", "FASTSENTIMENT_DRAIN_MS"):
        stopping += int(variables.get(variable, known[variable].default))
    grace = pod["terminationGracePeriodSeconds"]
    assert stopping / 1000 + 3 <= grace <= stopping / 1000 + 10


@pytest.mark.parametrize("name", EVERY)
def test_the_server_is_where_the_manifests_say(
    manifests, name: str, image: Path, tmp_path: Path
):
    objects = manifests[name]
    _, only = container(objects, "fastsentiment")
    assert "command" not in only and "args" not in only
    runs_as = container(objects, "fastsentiment")[0]["securityContext"]
    user = f"{runs_as['runAsUser']}:{runs_as['runAsGroup']}"
    assert dockerfile.stages()[-1].last("USER") == [user]
    variables = {
        **dockerfile.environment(),
        **environment(objects, "fastsentiment"),
    }
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    assert variables["FASTSENTIMENT_LISTEN"] == f"0.0.0.0:{ports['http']}"
    assert variables["FASTSENTIMENT_ADMIN_LISTEN"] == f"0.0.0.0:{ports['admin']}"
    service = of_kind(objects, "Service")["fastsentiment-redis"]
    port = service["spec"]["ports"][0]["port"]
    assert variables["REDIS_URL"] == f"redis://fastsentiment-redis:{port}"

    [password] = secret(objects, "fastsentiment").values()
    _, other = container(objects, "fastsentiment-redis")
    assert "env" not in other
    (tmp_path / "redis").mkdir()
    mounts = volumes(objects, "fastsentiment", image, tmp_path / "api")
    of_redis = volumes(objects, "fastsentiment-redis", image, tmp_path / "of-redis")

    def command(words: list[str]) -> list[str]:
        return containers.located([expanded(word, {}) for word in words], of_redis)

    with (
        containers.redis(
            command([*other["command"], *other["args"]]), password, tmp_path / "redis"
        ) as cache,
        containers.api(image, variables, cache, mounts) as server,
    ):
        containers.assert_keeps_nothing_and_forgets(cache)
        assert password not in cache.process_list()
        [file] = (path for place in of_redis.values() for path in place.iterdir())
        for probe in ("readinessProbe", "livenessProbe"):
            words = command(other[probe]["exec"]["command"])
            containers.assert_probe_tells_right_from_wrong(cache, words, file)
        containers.assert_uses(server, cache)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = only[probe]["httpGet"]
            assert asked["port"] == "admin"
            assert server.ask(asked["path"], server.admin_port).status == 200, probe
        annotations = of_kind(objects, "Deployment")["fastsentiment"]["spec"][
            "template"
        ]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(ports["admin"])
        path = annotations["prometheus.io/path"]
        metrics = server.ask(path, server.admin_port)
        [scaler] = of_kind(objects, "HorizontalPodAutoscaler").values()
        of_pods = [m["pods"] for m in scaler["spec"]["metrics"] if m["type"] == "Pods"]
        assert len(of_pods) == (1 if "queue-depth" in name else 0)
        for metric in of_pods:
            wanted = rf"^{metric['metric']['name']} \d+$"
            assert re.search(wanted, metrics.body, re.MULTILINE), metric
        assert server.terminate() == 0


def volumes(
    objects: list[dict], deployment: str, image: Path, folder: Path
) -> dict[str, Path]:
    """Directories on this machine for a container's volumes, as the kubelet makes them."""
    places = {}
    for mount in container(objects, deployment)[1].get("volumeMounts", []):
        place = folder / mount["name"]
        place.mkdir(parents=True)
        # Like an emptyDir: the root of a volume that everybody can write to.
        mounted = subprocess.run(["mount", "-t", "tmpfs", "none", place], check=False)
        # Without the right to mount, this is the nearest that is private.
        place.chmod(0o777 if mounted.returncode == 0 else 0o1777)
        places[mount["mountPath"]] = place
    for path, content in secret(objects, deployment).items():
        file = Path(path)
        (places[str(file.parent)] / file.name).write_text(content)
    if "/guest" in places:
        guest = (image / "app/fastsentiment_guest.wasm").read_bytes()
        publish(places["/guest"], {"guest.wasm": guest})
    if ROLLOUT in places:
        data = of_kind(objects, "ConfigMap")["fastsentiment-rollout"]["data"]
        publish(places[ROLLOUT], {name: text.encode() for name, text in data.items()})
    return places


def publish(volume: Path, files: dict[str, bytes]) -> None:
    """Puts files into a volume as the kubelet does: all files of a generation are in a
    directory of their own, and one symlink points to the current one."""
    folder = f"..{len(list(volume.iterdir()))}.{time.monotonic_ns()}"
    (volume / folder).mkdir()
    for name, content in files.items():
        (volume / folder / name).write_bytes(content)
    (volume / "..data_tmp").symlink_to(folder)
    (volume / "..data_tmp").rename(volume / "..data")
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")


def test_only_with_the_token_of_a_secret_are_versions_managed(manifests, image: Path):
    objects = manifests["base"]
    _, only = container(objects, "fastsentiment")
    [variable] = [v for v in only["env"] if v["name"] == containers.TOKEN]
    assert variable["valueFrom"]["secretKeyRef"]["optional"] is True
    variables = environment(objects, "fastsentiment")
    assert containers.TOKEN not in variables
    assert "REDIS_URL" not in variables
    token = "0123456789abcdef" * 2
    for settings, given, status in (
        # As in a pod, whose file system has no place for a token of the server's own.
        ({"FASTSENTIMENT_RUN_DIR": "/proc/none"}, None, 403),
        ({containers.TOKEN: token}, None, 401),
        ({containers.TOKEN: token}, token, 200),
    ):
        with containers.api(image, {**variables, **settings}, None) as server:
            answer = server.ask("/versions", server.admin_port, token=given)
            assert answer.status == status, answer
            for path in ("/metrics", "/health/ready"):
                assert server.ask(path, server.admin_port).status == 200


def test_a_guest_that_is_put_on_the_volume_takes_the_place_of_the_one_before(
    manifests, image: Path, tmp_path: Path
):
    other = lexicon()
    # Otherwise the guest would not fit into a ConfigMap.
    assert other.stat().st_size < 1 << 20
    objects = manifests["overlays/swap-volume"]
    mounts = volumes(objects, "fastsentiment", image, tmp_path)
    variables = environment(objects, "fastsentiment")
    del variables["REDIS_URL"]
    with containers.api(image, variables, None, mounts) as server:

        def guest() -> str:
            return server.predict("A fine day.").headers["x-fastsentiment-guest"]

        first = guest()
        publish(mounts["/guest"], {"guest.wasm": other.read_bytes()})
        containers.wait(lambda: guest() != first)
        # The image's compiled guest was found in the image; the other one is kept where
        # the container may write.
        assert len(list((mounts["/compiled"] / "private").iterdir())) == 1


def test_a_redis_of_ones_own_is_used_with_the_password_of_its_secret(
    manifests, image: Path, tmp_path: Path
):
    objects = manifests["external"]
    pod, _ = container(objects, "fastsentiment")
    assert list(of_kind(objects, "Deployment")) == ["fastsentiment"]
    # The user makes the Secret, so nothing here may be one.
    assert not of_kind(objects, "Secret")
    [volume] = [v for v in pod["volumes"] if v["name"] == "redis"]
    made = {
        "kind": "Secret",
        "metadata": {"name": volume["secret"]["secretName"]},
        "data": {"password": base64.b64encode(b"s3:c/r@e%t\n").decode()},
    }
    mounts = volumes([*objects, made], "fastsentiment", image, tmp_path / "api")
    variables = environment(objects, "fastsentiment")
    assert variables["REDIS_URL"].startswith("rediss://")
    # This Redis has no certificate.
    variables["REDIS_URL"] = variables["REDIS_URL"].replace("rediss:", "redis:")
    (tmp_path / "redis").mkdir()
    command = ["redis-server", "--port", "6379", "--save", ""]
    with (
        containers.redis(
            [*command, "--requirepass", "s3:c/r@e%t"], "s3:c/r@e%t", tmp_path / "redis"
        ) as cache,
        containers.api(image, variables, cache, mounts) as server,
    ):
        containers.assert_uses(server, cache)


def test_keys_and_certificates_of_secrets_are_used(
    manifests, image: Path, tmp_path: Path
):
    objects = manifests["secured"]
    files = {
        name: tmp_path / name for name in ("keys.toml", "tls.crt", "tls.key", "key")
    }
    command = [image / "app/fastsentiment", "keys", "add", files["keys.toml"], "web"]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    new = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    to = ["-keyout", files["tls.key"], "-out", files["tls.crt"]]
    subprocess.run(["openssl", "req", *new, *to], check=True, capture_output=True)
    files["key"].write_text("5" * 64)
    pod, _ = container(objects, "fastsentiment")
    secrets = [
        {
            "kind": "Secret",
            "metadata": {"name": volume["secret"]["secretName"]},
            "data": {
                item["key"]: base64.b64encode(files[item["key"]].read_bytes()).decode()
                for item in volume["secret"]["items"]
            },
        }
        for volume in pod["volumes"]
        if volume["name"] != "redis"
    ]
    assert {name for each in secrets for name in each["data"]} == set(files)
    mounts = volumes([*objects, *secrets], "fastsentiment", image, tmp_path / "api")
    (tmp_path / "redis").mkdir()
    password = ["--requirepass", PASSWORD]
    with (
        containers.redis(
            ["redis-server", "--port", "6379", "--save", "", *password],
            PASSWORD,
            tmp_path / "redis",
        ) as cache,
        containers.api(
            image, environment(objects, "fastsentiment"), cache, mounts
        ) as server,
    ):

        def ask(key: str) -> int:
            trust = ssl.create_default_context(cafile=files["tls.crt"])
            connection = http.client.HTTPSConnection(
                "localhost", server.port, context=trust, timeout=60
            )
            header = {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {key}",
            }
            connection.request("POST", "/predict", '{"text": ["a"]}', header)
            return connection.getresponse().status

        assert ask("fsk_0") == 401
        assert ask(made.stdout.strip()) == 200
        containers.wait(lambda: int(containers.server_keys(cache)) >= 1)
        # Probes ask as they did before.
        assert server.ask("/health/ready", server.admin_port).status == 200


def test_a_guest_image_that_cannot_be_used_ends_a_rollout(
    manifests, image: Path, tmp_path: Path
):
    """Its pod does not start, and those before it go on."""
    objects = manifests["overlays/image-volume"]
    mounts = volumes(objects, "fastsentiment", image, tmp_path)
    variables = environment(objects, "fastsentiment")
    del variables["REDIS_URL"]
    guest = mounts["/guest"] / "guest.wasm"
    guest.unlink()
    guest.write_bytes(b"no guest")
    with (
        pytest.raises(AssertionError, match="it did not start"),
        containers.api(image, variables, None, mounts),
    ):
        pass


def test_a_fleet_follows_its_file_and_stays_ready_when_it_cannot(
    manifests, image: Path, tmp_path: Path
):
    objects = manifests["overlays/fleet"]
    mounts = volumes(objects, "fastsentiment", image, tmp_path)
    variables = environment(objects, "fastsentiment")
    del variables["REDIS_URL"]
    del variables["FASTSENTIMENT_REDIS_PASSWORD_FILE"]
    with containers.api(image, variables, None, mounts) as server:

        def guest() -> str:
            return server.predict("A fine day.").headers["x-fastsentiment-guest"]

        def status() -> dict:
            answer = server.ask("/status", server.admin_port)
            assert answer.status == 200, answer
            return json.loads(answer.body)

        def waited(seconds: int, generation: int) -> int:
            """The exit code of the command, as a pipeline sees it."""
            admin = f"http://127.0.0.1:{server.admin_port}"
            words = ["status", "--admin", admin, "--wait", f"{seconds}s"]
            words += ["--generation", str(generation)]
            command = [image / "app/fastsentiment", *words]
            return subprocess.run(command, env={}, check=False).returncode

        first = guest()
        assert waited(60, 1) == 0
        assert status()["rollout"]["generation"] == 1

        # A small guest is in the ConfigMap itself, so this needs no registry.
        rollout = b'generation = 2\n[live]\nguest = "small.wasm"\n'
        small = lexicon().read_bytes()
        publish(mounts[ROLLOUT], {"rollout.toml": rollout, "small.wasm": small})
        containers.wait(lambda: guest() != first)
        second = guest()
        assert waited(60, 2) == 0
        assert status()["rollout"]["generation"] == 2

        rollout = b'generation = 3\n[live]\nguest = "small.wasm"\n'
        publish(mounts[ROLLOUT], {"rollout.toml": rollout, "small.wasm": b"no guest"})
        containers.wait(lambda: status()["rollout"]["errors"])
        assert status()["in_sync"] is False
        assert waited(1, 3) == 3
        assert guest() == second
        assert server.ask("/health/ready", server.admin_port).status == 200
        metrics = server.metrics()
        assert metrics["fastsentiment_rollout_generation"] == 3
        assert metrics["fastsentiment_rollout_in_sync"] == 0


def test_the_files_that_are_shown_can_be_followed(tmp_path: Path):
    page = (ROOT / "host/docs/fleet.md").read_text()
    shown = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 3
    example = (ROOT / "deployment/kubernetes/overlays/fleet/rollout.toml").read_text()
    # What is commented out there can be used, too.
    shown.append(re.sub(r"^# (?=\[|\w+ = )", "", example, flags=re.MULTILINE))
    file = tmp_path / "rollout.toml"
    for text in shown:
        file.write_text(re.sub(r"\.\.\.(\d?)", lambda m: f"{m[1] or 0:0>64}", text))
        command = [TARGET / "release/fastsentiment", "rollout", "check", file]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert text.count("[canary]") == done.stdout.count("canary: ")
    file.write_text("generation = 1\n[alive]\n")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
