"""Checks the rendered manifests against Kubernetes' schemas, its restricted Pod Security
Standard, and each other."""

from __future__ import annotations

import base64
import copy
import shutil
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions
from manifests import (
    COMBINED,
    CUSTOM,
    EVERY,
    PASSWORD,
    container,
    environment,
    kustomize,
    of_kind,
    secret,
)
from product import ROOT, VERSION

API = "fastsentiment"
COMPONENT = "app.kubernetes.io/component"
# Without and with KEDA.
SCALERS = ["HorizontalPodAutoscaler", "ScaledObject"]
ALL = [*EVERY, *COMBINED]
# The oldest version that has everything they use, and the newest that has a schema.
OLDEST = "1.27.0"
VERSIONS = [
    OLDEST,
    max(all_versions(), key=lambda version: [int(n) for n in version.split(".")]),
]
# The first in which a restricted pod may have a volume from an image.
IMAGE_VOLUMES = "1.33.0"
FLEETS = ["overlays/fleet", "fleet-production"]
# Defaults that the API server adds to lists that `kubectl apply` compares as a whole or by
# this field.
ADDED = {"ports": "protocol", "strategy": "type"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ALL)
def test_they_are_what_kubernetes_expects(manifests, name: str, version: str):
    assert len(manifests[name]) >= 7
    if name == "overlays/image-volume" and version == OLDEST:
        version = IMAGE_VOLUMES
    for manifest in manifests[name]:
        # Those of test_custom_resources.py are not Kubernetes' own.
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_what_kubernetes_does_not_expect_is_noticed(manifests):
    for change in ({"replica": 2}, {"minReadySeconds": "soon"}):
        wrong = copy.deepcopy(of_kind(manifests["."], "Deployment")["fastsentiment"])
        wrong["spec"].update(change)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def deployments(objects: list[dict], name: str) -> dict[str, dict]:
    """The API, and a Redis unless there is none or one outside."""
    found = of_kind(objects, "Deployment")
    redis = set() if name in ("base", "external") else {"fastsentiment-redis"}
    assert found.keys() == {"fastsentiment"} | redis
    return found


def mebibytes(amount: str) -> int:
    number, unit = amount[:-2], amount[-2:]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


@pytest.mark.parametrize("name", ALL)
def test_there_is_room_for_what_containers_write(manifests, name: str):
    # The kubelet keeps five files of 10 MiB of a container's log.
    log = 50
    for deployment in deployments(manifests[name], name):
        pod, only = container(manifests[name], deployment)
        volumes = [v["emptyDir"] for v in pod.get("volumes", []) if "emptyDir" in v]
        written = sum(mebibytes(volume["sizeLimit"]) for volume in volumes)
        limit = only["resources"]["limits"]["ephemeral-storage"]
        assert written + log < mebibytes(limit), deployment
        requested = only["resources"]["requests"]["ephemeral-storage"]
        assert mebibytes(requested) <= mebibytes(limit)


def unrestricted(pod: dict) -> list[str]:
    """The violations of the restricted Pod Security Standard in a pod."""
    found = []
    allowed = {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
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


@pytest.mark.parametrize("name", ALL)
def test_pods_are_restricted_and_can_not_write_to_their_image(manifests, name: str):
    for deployment in deployments(manifests[name], name):
        pod, only = container(manifests[name], deployment)
        assert unrestricted(pod) == []
        assert only["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        # Otherwise variables for a Service of this name would look like options.
        assert pod["enableServiceLinks"] is False
        for kind in ("requests", "limits"):
            resources = only["resources"][kind].keys()
            assert resources == {"cpu", "memory", "ephemeral-storage"}
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


@pytest.mark.parametrize("name", ALL)
def test_what_refers_to_pods_finds_them(manifests, name: str):
    objects = manifests[name]
    found = deployments(objects, name)
    labels = {
        deployment: spec["spec"]["template"]["metadata"]["labels"]
        for deployment, spec in found.items()
    }

    def selected(selector: dict) -> set[str]:
        return {d for d, own in labels.items() if selector.items() <= own.items()}

    services = of_kind(objects, "Service")
    assert ("fastsentiment-admin" in services) == (name in FLEETS)
    for service, spec in services.items():
        one = API if service == "fastsentiment-admin" else service
        assert selected(spec["spec"]["selector"]) == {one}
        _, only = container(objects, one)
        names = {port["name"] for port in only["ports"]}
        assert {port["targetPort"] for port in spec["spec"]["ports"]} <= names
    for deployment, spec in found.items():
        assert selected(spec["spec"]["selector"]["matchLabels"]) == {deployment}
    for policy, spec in of_kind(objects, "NetworkPolicy").items():
        one = "fastsentiment-redis" if policy == "fastsentiment-redis" else API
        assert selected(spec["spec"]["podSelector"]["matchLabels"]) == {one}
    [budget] = of_kind(objects, "PodDisruptionBudget").values()
    assert selected(budget["spec"]["selector"]["matchLabels"]) == {"fastsentiment"}
    # One of them, or they would fight.
    scalers = [o for o in objects if o["kind"] in SCALERS]
    assert [o["kind"] for o in scalers] == [SCALERS["keda" in name]]
    assert scalers[0]["spec"]["scaleTargetRef"]["name"] == API
    # One pod may be evicted, however many there are.
    assert budget["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in budget["spec"]
    # With a number of replicas, every `kubectl apply` would undo the autoscaler.
    assert "replicas" not in found["fastsentiment"]["spec"]
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


@pytest.mark.parametrize("name", ALL)
def test_they_fit_on_few_cores_and_scale_by_what_a_pod_may_use(manifests, name: str):
    objects = manifests[name]
    resources = {
        deployment: container(objects, deployment)[1]["resources"]
        for deployment in deployments(objects, name)
    }
    asked = {d: cores(each["requests"]["cpu"]) for d, each in resources.items()}
    limit = cores(resources[API]["limits"]["cpu"])
    [scaler] = [o["spec"] for o in objects if o["kind"] in SCALERS]
    if "keda" in name:
        least = scaler["minReplicaCount"]
        [cpu] = [t for t in scaler["triggers"] if t["type"] == "cpu"]
        kind, target = cpu["metricType"], cpu["metadata"]["value"]
        behaviour = scaler["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        [base] = of_kind(manifests["base"], SCALERS[0]).values()
        assert behaviour == base["spec"]["behavior"]
    else:
        least = scaler["minReplicas"]
        [cpu] = [m["resource"] for m in scaler["metrics"] if m["type"] == "Resource"]
        kind, target = cpu["target"]["type"], cpu["target"]["averageValue"]
    # Including the pod that a rollout adds.
    assert (least + 1) * asked.pop(API) + sum(asked.values()) < 3
    assert kind == "AverageValue"
    assert cores(target) == pytest.approx(0.7 * limit)


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


@pytest.mark.parametrize("name", ALL)
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


@pytest.mark.parametrize("name", ALL)
def test_who_may_talk_to_whom(manifests, name: str):
    policies = of_kind(manifests[name], "NetworkPolicy")

    def rules(component: str, way: str, peers: str) -> list[tuple[int, object]]:
        """Who may connect to or from a component, as all policies together say."""
        return [
            (port["port"], rule.get(peers))
            for policy in policies.values()
            if policy["spec"]["podSelector"]["matchLabels"][COMPONENT] == component
            for rule in policy["spec"].get(way, [])
            for port in rule["ports"]
        ]

    def others(component: str) -> list[dict]:
        labels = {"app.kubernetes.io/name": "fastsentiment", COMPONENT: component}
        return [{"podSelector": {"matchLabels": labels}}]

    _, only = container(manifests[name], "fastsentiment")
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    anyone, namespace = None, [{"podSelector": {}}]
    ingress = rules("api", "ingress", "from")
    assert ingress[:2] == [(ports["http"], anyone), (ports["admin"], namespace)]
    monitored = bool(of_kind(manifests[name], "PodMonitor"))
    assert [port for port, _ in ingress[2:]] == [ports["admin"]] * monitored
    for _, [prometheus] in ingress[2:]:
        assert prometheus.keys() == {"namespaceSelector", "podSelector"}
    egress = dict(rules("api", "egress", "to"))
    [dns] = egress.pop(53)
    assert dns.keys() == {"namespaceSelector", "podSelector"}
    if name in FLEETS:
        [registry] = egress.pop(443)
        assert registry.keys() == {"ipBlock"}
        # For one pod that asks all of them, which the rule for the namespace lets in.
        assert egress.pop(ports["admin"]) == others("api")
    if name == "base":
        assert not egress
    elif name == "external":
        [(port, [address])] = egress.items()
        url = environment(manifests[name], "fastsentiment")["REDIS_URL"]
        assert url.endswith(f":{port}") and address.keys() == {"ipBlock"}
    else:
        assert egress == {6379: others("redis")}
        assert rules("redis", "ingress", "from") == [(6379, others("api"))]
        assert not rules("redis", "egress", "to")
    for policy in ("fastsentiment", "fastsentiment-redis"):
        if policy in policies:
            types = policies[policy]["spec"]["policyTypes"]
            assert types == ["Ingress", "Egress"]


def test_only_production_has_a_password_of_its_own(manifests):
    for name in ALL:
        # Of these it has none, or the user makes its Secrets.
        if name in ("base", "external", "secured"):
            continue
        variables = environment(manifests[name], API)
        files = secret(manifests[name], API)
        password = files[variables["FASTSENTIMENT_REDIS_PASSWORD_FILE"]]
        assert [password] == list(
            secret(manifests[name], "fastsentiment-redis").values()
        )
        own = "production" in name or name == "keda"
        assert password == (PASSWORD if own else "development")
        # Neither the URL nor a variable shows it.
        assert password not in " ".join(variables.values())


@pytest.mark.parametrize("name", ["overlays/production", "keda", "fleet-production"])
def test_production_is_in_a_namespace_of_its_own(manifests, name: str):
    objects = manifests[name]
    [namespace] = of_kind(objects, "Namespace")
    for each in objects:
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == namespace, each


def test_without_a_redis_nothing_refers_to_one(manifests):
    variables = environment(manifests["base"], API)
    assert not [name for name in variables if "REDIS" in name]
    assert "volumes" not in container(manifests["base"], API)[0]


def test_the_readme_lists_them_all():
    page = (ROOT / "deployment/README.md").read_text()
    for kind in ("overlays", "components"):
        for path in (ROOT / "deployment/kubernetes" / kind).iterdir():
            assert f"\n| `{kind}/{path.name}` | " in page, path


def test_a_priority_is_named_and_not_made(manifests):
    for name in ALL:
        pod, _ = container(manifests[name], API)
        asked = "priority" in COMBINED.get(name, ("", []))[1]
        assert ("priorityClassName" in pod) == asked
        assert not of_kind(manifests[name], "PriorityClass")


def test_the_routes_lead_to_the_service_and_carry_bulk_requests(manifests):
    objects = manifests["exposed"]
    [port] = of_kind(objects, "Service")[API]["spec"]["ports"]
    [route] = of_kind(objects, "HTTPRoute").values()
    [rule] = route["spec"]["rules"]
    [backend] = rule["backendRefs"]
    assert (backend["name"], backend["port"]) == (API, port["port"])
    # Otherwise the gateway's own limit would end a long request.
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    [ingress] = of_kind(objects, "Ingress").values()
    [host] = ingress["spec"]["rules"]
    [path] = host["http"]["paths"]
    assert path["backend"]["service"] == {"name": API, "port": {"name": port["name"]}}


def test_images_are_those_of_this_version(manifests):
    for name in ALL:
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


@pytest.mark.parametrize("name", FLEETS)
def test_a_fleet_follows_a_file_that_changes_in_its_place(manifests, name: str):
    objects = manifests[name]
    pod, only = container(objects, API)
    variables = environment(objects, API)
    mounts = {mount["mountPath"]: mount for mount in only["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}

    file = Path(variables["FASTSENTIMENT_ROLLOUT"])
    mount = mounts[str(file.parent)]
    # A file that is mounted alone is never updated, and a new name would restart the pods.
    assert "subPath" not in mount and mount["readOnly"] is True
    assert volumes[mount["name"]]["configMap"] == {"name": "fastsentiment-rollout"}
    data = of_kind(objects, "ConfigMap")["fastsentiment-rollout"]["data"]
    rollout = tomllib.loads(data[file.name])
    assert rollout["generation"] >= 1
    # Keys lie beside the file that names them.
    assert set(rollout.get("trust", {}).get("keys", [])) <= data.keys()

    for variable in ("FASTSENTIMENT_STATE", "FASTSENTIMENT_ARTIFACTS"):
        # Not the root of the volume, which everyone can write to.
        volume = volumes[mounts[str(Path(variables[variable]).parent)]["name"]]
        assert "emptyDir" in volume
        assert "fsGroup" not in pod["securityContext"]


@pytest.mark.parametrize("name", FLEETS)
def test_a_fleet_needs_no_pull_secret(manifests, name: str):
    pod, _ = container(manifests[name], API)
    [secret] = [v["secret"] for v in pod["volumes"] if v["name"] == "registry"]
    assert secret["optional"] is True
    assert secret["secretName"] not in of_kind(manifests[name], "Secret")


@pytest.mark.parametrize("name", FLEETS)
def test_every_pod_of_a_fleet_is_found_ready_or_not(manifests, name: str):
    service = of_kind(manifests[name], "Service")["fastsentiment-admin"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    assert [port["port"] for port in service["ports"]] == [8001]


@pytest.mark.parametrize("name", FLEETS)
def test_a_new_pod_has_time_to_pull(manifests, name: str):
    """Guest and model of what is live and trusted, each as long as a pull may take."""
    _, only = container(manifests[name], API)
    probe = only["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 4 * 300


def test_a_fleet_without_a_file_is_no_fleet(tmp_path: Path):
    """Rather than pods that wait for a ConfigMap that nobody makes."""
    folder = tmp_path / "kubernetes"
    shutil.copytree(ROOT / "deployment/kubernetes", folder)
    file = folder / "overlays/fleet/kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    del content["configMapGenerator"]
    file.write_text(yaml.safe_dump(content))
    done = kustomize(file.parent)
    assert done.returncode != 0 and "fastsentiment-rollout" in done.stderr, done


def test_a_guest_from_an_image_is_the_one_that_is_served(manifests):
    objects = manifests["overlays/image-volume"]
    pod, only = container(objects, API)
    variables = environment(objects, API)
    guest = Path(variables["FASTSENTIMENT_GUEST"])
    [mount] = [m for m in only["volumeMounts"] if m["mountPath"] == str(guest.parent)]
    assert mount["readOnly"] is True
    [volume] = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["image"]["reference"].startswith("registry.example.com/")
    # Otherwise new pods would answer with the guest of the server's image.
    assert variables["FASTSENTIMENT_FALLBACK_GUEST"] == ""
