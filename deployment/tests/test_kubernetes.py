"""Renders the manifests as users do, and checks them against Kubernetes' schemas, its
restricted Pod Security Standard, and the real binary."""

from __future__ import annotations

import base64
import copy
import re
import shutil
import subprocess
from pathlib import Path

import containers
import dockerfile
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions
from product import ROOT, VERSION, lexicon, need, options

OVERLAYS = ["development", "production", "queue-depth", "swap-volume"]
EVERY = [".", *(f"overlays/{name}" for name in OVERLAYS)]
PASSWORD = "0123456789abcdef"
# The oldest version that has everything they use, and the newest that has a schema.
VERSIONS = [
    "1.27.0",
    max(all_versions(), key=lambda version: [int(n) for n in version.split(".")]),
]
# Defaults that the API server adds to lists that `kubectl apply` compares as a whole or by
# this field.
ADDED = {"ports": "protocol", "strategy": "type"}


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need("kubectl"), "kustomize", folder],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """The rendered overlays, with the files that a user has to add."""
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    ignored = shutil.ignore_patterns("redis.env", "*.wasm")
    shutil.copytree(ROOT / "deployment/kubernetes", folder, ignore=ignored)
    missing = kustomize(folder / "overlays/production")
    assert missing.returncode != 0 and "redis.env" in missing.stderr, missing
    (folder / "overlays/production/redis.env").write_text(f"password={PASSWORD}\n")
    (folder / "overlays/swap-volume/guest.wasm").write_bytes(b"\0asm\x0d\0\1\0\xff")
    rendered = {}
    for name in EVERY:
        done = kustomize(folder / name)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        rendered[name] = list(yaml.safe_load_all(done.stdout))
    assert {path.name for path in (folder / "overlays").iterdir()} == set(OVERLAYS)
    return rendered


def of_kind(objects: list[dict], kind: str) -> dict[str, dict]:
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def container(objects: list[dict], deployment: str) -> tuple[dict, dict]:
    """A deployment's pod and its only container."""
    pod = of_kind(objects, "Deployment")[deployment]["spec"]["template"]["spec"]
    [only] = pod["containers"]
    return pod, only


def environment(objects: list[dict], deployment: str) -> dict[str, str]:
    """The variables of a deployment's container, as Kubernetes combines them."""
    _, only = container(objects, deployment)
    maps, secrets = of_kind(objects, "ConfigMap"), of_kind(objects, "Secret")
    found = {}
    for source in only.get("envFrom", []):
        found.update(maps[source["configMapRef"]["name"]]["data"])
    for variable in only["env"]:
        if "value" in variable:
            value = expanded(variable["value"], found)
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            if reference.get("optional") and reference["name"] not in secrets:
                continue
            data = secrets[reference["name"]]["data"][reference["key"]]
            value = base64.b64decode(data).decode()
        found[variable["name"]] = value
    return found


def expanded(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], text)


# ---- Without the binary ----


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EVERY)
def test_they_are_what_kubernetes_expects(manifests, name: str, version: str):
    assert len(manifests[name]) >= 11
    for manifest in manifests[name]:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_what_kubernetes_does_not_expect_is_noticed(manifests):
    for change in ({"replica": 2}, {"minReadySeconds": "soon"}):
        wrong = copy.deepcopy(of_kind(manifests["."], "Deployment")["fastsentiment"])
        wrong["spec"].update(change)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def unrestricted(pod: dict) -> list[str]:
    """The violations of the restricted Pod Security Standard in a pod."""
    found = []
    allowed = {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
        *("persistentVolumeClaim", "projected", "secret", "name"),
    }
    for volume in pod.get("volumes", []):
        found += [f"volume {kind}" for kind in volume.keys() - allowed]
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        found += [name] if pod.get(name) else []
    of_pod = pod.get("securityContext", {})
    if of_pod.get("sysctls"):
        found.append("sysctls")
    for each in [*pod["containers"], *pod.get("initContainers", [])]:
        own = each.get("securityContext", {})
        both = {**of_pod, **own}
        capabilities = own.get("capabilities", {})
        rules = {
            "privileged": not own.get("privileged"),
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(p.get("hostPort") for p in each.get("ports", [])),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "capabilities": capabilities.get("drop") == ["ALL"]
            and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        }
        found += [rule for rule, kept in rules.items() if not kept]
    return found


@pytest.mark.parametrize("name", EVERY)
def test_pods_are_restricted_and_can_not_write_to_their_image(manifests, name: str):
    pods = of_kind(manifests[name], "Deployment")
    assert len(pods) == 2
    for deployment in pods:
        pod, only = container(manifests[name], deployment)
        assert unrestricted(pod) == []
        assert only["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        # Otherwise variables for a Service of this name would look like options.
        assert pod["enableServiceLinks"] is False
        for kind in ("requests", "limits"):
            assert only["resources"][kind].keys() == {"cpu", "memory"}
        accounts = of_kind(manifests[name], "ServiceAccount")
        account = accounts[pod["serviceAccountName"]]
        assert account["automountServiceAccountToken"] is False


def test_what_is_not_restricted_is_noticed(manifests):
    pod, _ = container(manifests["."], "fastsentiment")
    for where, change, rule in (
        ("pod", {"hostNetwork": True}, "hostNetwork"),
        ("pod", {"volumes": [{"name": "a", "hostPath": {}}]}, "volume hostPath"),
        ("pod", {"securityContext": {}}, "runAsNonRoot"),
        ("container", {"privileged": True}, "privileged"),
        ("container", {"runAsUser": 0}, "runAsUser"),
        ("container", {"capabilities": {"drop": ["NET_RAW"]}}, "capabilities"),
        ("container", {"allowPrivilegeEscalation": True}, "allowPrivilegeEscalation"),
        ("container", {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ):
        wrong = copy.deepcopy(pod)
        if where == "pod":
            wrong.update(change)
        else:
            wrong["containers"][0]["securityContext"].update(change)
        assert rule in unrestricted(wrong)


@pytest.mark.parametrize("name", EVERY)
def test_what_refers_to_pods_finds_them(manifests, name: str):
    objects = manifests[name]
    deployments = of_kind(objects, "Deployment")
    labels = {
        deployment: spec["spec"]["template"]["metadata"]["labels"]
        for deployment, spec in deployments.items()
    }

    def selected(selector: dict) -> set[str]:
        return {d for d, own in labels.items() if selector.items() <= own.items()}

    for service, spec in of_kind(objects, "Service").items():
        assert selected(spec["spec"]["selector"]) == {service}
        _, only = container(objects, service)
        names = {port["name"] for port in only["ports"]}
        assert {port["targetPort"] for port in spec["spec"]["ports"]} <= names
    for deployment, spec in deployments.items():
        assert selected(spec["spec"]["selector"]["matchLabels"]) == {deployment}
    for policy, spec in of_kind(objects, "NetworkPolicy").items():
        assert selected(spec["spec"]["podSelector"]["matchLabels"]) == {policy}
    [budget] = of_kind(objects, "PodDisruptionBudget").values()
    assert selected(budget["spec"]["selector"]["matchLabels"]) == {"fastsentiment"}
    [scaler] = of_kind(objects, "HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
    # One pod may be evicted, however many there are.
    assert budget["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in budget["spec"]
    # With a number of replicas, every `kubectl apply` would undo the autoscaler.
    assert "replicas" not in deployments["fastsentiment"]["spec"]
    pod, _ = container(objects, "fastsentiment")
    for constraint in pod["topologySpreadConstraints"]:
        wanted = constraint["labelSelector"]["matchLabels"]
        assert selected(wanted) == {"fastsentiment"}
        # Otherwise drains and rollouts wait for room on a cordoned node, or on one that
        # pods of the previous rollout occupy.
        assert constraint["nodeTaintsPolicy"] == "Honor"
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]
    keys = [each["topologyKey"] for each in pod["topologySpreadConstraints"]]
    assert len(keys) == len(set(keys)) == 2


def cores(amount: str) -> float:
    return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)


@pytest.mark.parametrize("name", EVERY)
def test_they_fit_on_few_cores_and_scale_by_what_a_pod_may_use(manifests, name: str):
    resources = {
        deployment: container(manifests[name], deployment)[1]["resources"]
        for deployment in of_kind(manifests[name], "Deployment")
    }
    asked = {d: cores(each["requests"]["cpu"]) for d, each in resources.items()}
    [scaler] = of_kind(manifests[name], "HorizontalPodAutoscaler").values()
    # Including the pod that a rollout adds.
    pods = scaler["spec"]["minReplicas"] + 1
    assert pods * asked["fastsentiment"] + asked["fastsentiment-redis"] < 3
    limit = cores(resources["fastsentiment"]["limits"]["cpu"])
    [target] = [
        metric["resource"]["target"]
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "Resource"
    ]
    assert target["type"] == "AverageValue"
    assert cores(target["averageValue"]) == pytest.approx(0.7 * limit)


def left_out(value: object, path: str = "") -> list[str]:
    """The paths where the API server would add a default."""
    if isinstance(value, list):
        return [each for v in value for each in left_out(v, path)]
    if not isinstance(value, dict):
        return []
    found = []
    for name, inner in value.items():
        here = f"{path}/{name}"
        for each in inner if isinstance(inner, list) else [inner]:
            if name in ADDED and ADDED[name] not in each:
                found.append(f"{here}/{ADDED[name]}")
        found += left_out(inner, here)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_left_to_be_added_that_another_apply_would_trip_over(
    manifests, name: str
):
    """When you move from client-side to server-side apply, defaults that were added
    belong to the former, and conflict."""
    for manifest in manifests[name]:
        assert left_out(manifest) == [], manifest["metadata"]["name"]


def test_what_is_left_out_is_noticed():
    rules = [{"ports": [{"port": 8000, "protocol": "TCP"}, {"port": 53}]}]
    assert left_out({"ingress": rules}) == ["/ingress/ports/protocol"]
    assert left_out({"strategy": {"rollingUpdate": {}}}) == ["/strategy/type"]


@pytest.mark.parametrize("name", EVERY)
def test_who_may_talk_to_whom(manifests, name: str):
    policies = of_kind(manifests[name], "NetworkPolicy")
    api, redis = (
        policies["fastsentiment"]["spec"],
        policies["fastsentiment-redis"]["spec"],
    )
    for policy in (api, redis):
        assert policy["policyTypes"] == ["Ingress", "Egress"]

    def rules(policy: dict, way: str, peers: str) -> dict[int, object]:
        return {
            port["port"]: rule.get(peers)
            for rule in policy.get(way, [])
            for port in rule["ports"]
        }

    def others(component: str) -> list[dict]:
        name = {"app.kubernetes.io/name": "fastsentiment"}
        labels = {**name, "app.kubernetes.io/component": component}
        return [{"podSelector": {"matchLabels": labels}}]

    _, only = container(manifests[name], "fastsentiment")
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    anyone, namespace = None, [{"podSelector": {}}]
    ingress = rules(api, "ingress", "from")
    assert ingress == {ports["http"]: anyone, ports["admin"]: namespace}
    egress = rules(api, "egress", "to")
    assert egress.keys() == {6379, 53}
    assert egress[6379] == others("redis")
    assert "namespaceSelector" in egress[53][0] and "podSelector" in egress[53][0]
    assert rules(redis, "ingress", "from") == {6379: others("api")}
    assert "egress" not in redis


def test_only_production_has_a_password_of_its_own(manifests):
    for name in EVERY:
        password = environment(manifests[name], "fastsentiment")["REDIS_PASSWORD"]
        assert password == (PASSWORD if "production" in name else "development")
    assert of_kind(manifests["overlays/production"], "Namespace")


def test_images_are_those_of_this_version(manifests):
    for name in EVERY:
        _, only = container(manifests[name], "fastsentiment")
        tag = "latest" if "development" in name else VERSION
        assert only["image"].endswith(f"fastsentiment:{tag}")


def test_a_guest_on_a_volume_keeps_its_name_and_is_mounted_whole(manifests):
    objects = manifests["overlays/swap-volume"]
    pod, only = container(objects, "fastsentiment")
    assert "fastsentiment-guest" in of_kind(objects, "ConfigMap")
    [mount] = [m for m in only["volumeMounts"] if m["mountPath"] == "/guest"]
    assert "subPath" not in mount and mount["readOnly"] is True
    [volume] = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["configMap"] == {"name": "fastsentiment-guest"}
    data = of_kind(objects, "ConfigMap")["fastsentiment-guest"]["binaryData"]
    assert base64.b64decode(data["guest.wasm"]).startswith(b"\0asm")


# ---- Against the binary ----


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
    address = f"@fastsentiment-redis:{service['spec']['ports'][0]['port']}"
    assert variables["REDIS_URL"].endswith(address)

    _, other = container(objects, "fastsentiment-redis")
    of_redis = environment(objects, "fastsentiment-redis")
    command = [expanded(w, of_redis) for w in [*other["command"], *other["args"]]]
    (tmp_path / "redis").mkdir()
    mounts = volumes(only, image, tmp_path)
    with (
        containers.redis(
            command, variables["REDIS_PASSWORD"], tmp_path / "redis"
        ) as cache,
        containers.api(image, variables, cache, mounts) as server,
    ):
        containers.assert_keeps_nothing_and_forgets(cache)
        for probe in ("readinessProbe", "livenessProbe"):
            words = other[probe]["exec"]["command"]
            containers.assert_probe_tells_right_from_wrong(cache, words)
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


def volumes(only: dict, image: Path, folder: Path) -> dict[str, Path]:
    """Directories on this machine for a container's volumes, as the kubelet makes them."""
    places = {}
    for mount in only.get("volumeMounts", []):
        place = folder / mount["name"]
        place.mkdir()
        # Writable by everyone, like an emptyDir.
        place.chmod(0o777)
        places[mount["mountPath"]] = place
    if "/guest" in places:
        publish(places["/guest"], image / "app/fastsentiment_guest.wasm", "1")
    return places


def publish(volume: Path, guest: Path, generation: str) -> None:
    """Puts a guest into a volume as the kubelet does: all files of a generation are in a
    directory of their own, and one symlink points to the current one."""
    folder = f"..{generation}"
    (volume / folder).mkdir()
    shutil.copy(guest, volume / folder / "guest.wasm")
    (volume / "..data_tmp").symlink_to(folder)
    (volume / "..data_tmp").rename(volume / "..data")
    if not (volume / "guest.wasm").is_symlink():
        (volume / "guest.wasm").symlink_to("..data/guest.wasm")


def test_only_with_the_token_of_a_secret_are_versions_managed(manifests, image: Path):
    objects = manifests["."]
    _, only = container(objects, "fastsentiment")
    [token] = [v for v in only["env"] if v["name"] == containers.TOKEN]
    assert token["valueFrom"]["secretKeyRef"]["optional"] is True
    variables = environment(objects, "fastsentiment")
    assert containers.TOKEN not in variables
    del variables["REDIS_URL"]
    secret = "0123456789abcdef" * 2
    for settings, given, status in (
        ({}, None, 403),
        ({containers.TOKEN: secret}, None, 401),
        ({containers.TOKEN: secret}, secret, 200),
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
    _, only = container(objects, "fastsentiment")
    mounts = volumes(only, image, tmp_path)
    variables = environment(objects, "fastsentiment")
    del variables["REDIS_URL"]
    with containers.api(image, variables, None, mounts) as server:

        def guest() -> str:
            return server.predict("A fine day.").headers["x-fastsentiment-guest"]

        first = guest()
        publish(mounts["/guest"], other, "2")
        containers.wait(lambda: guest() != first)
        # The image's compiled guest was found in the image; the other one is kept where
        # the container may write.
        assert len(list((mounts["/compiled"] / "private").iterdir())) == 1
