"""The Kubernetes manifests as users render them: the overlays, and the components in
combinations."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from product import ROOT, need

OVERLAYS = [
    "development",
    "fleet",
    "image-volume",
    "production",
    "queue-depth",
    "swap-volume",
]
# What the README has users apply.
EVERY = [".", *(f"overlays/{name}" for name in OVERLAYS)]
# Overlays of a user: what they start from, and the components that they add.
COMBINED = {
    "base": ("../../base", []),
    "external": ("../../base", ["external-redis", "monitoring", "priority"]),
    "exposed": (
        "../queue-depth",
        ["gateway", "ingress-nginx", "monitoring", "priority"],
    ),
    # The README's example.
    "keda": ("../production", ["keda", "monitoring"]),
    "keda-development": ("../development", ["keda"]),
    "secured": ("../production", ["api-keys", "cache-key", "tls"]),
    "fleet-production": ("../production", ["fleet", "monitoring"]),
}
# What pods of a fleet follow, with a key that it names.
ROLLOUT = {
    "rollout.toml": 'generation = 7\n\n[trust]\nkeys = ["cosign.pub"]\n',
    "cosign.pub": "a public key\n",
}
PASSWORD = "0123456789abcdef"
# What is not Kubernetes' own.
CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}


def render(folder: Path) -> dict[str, list[dict]]:
    """All of them, with the files that a user has to add, from a copy in `folder`."""
    ignored = shutil.ignore_patterns("redis.env", "*.wasm")
    folder = folder / "kubernetes"
    shutil.copytree(ROOT / "deployment/kubernetes", folder, ignore=ignored)
    missing = kustomize(folder / "overlays/production")
    assert missing.returncode != 0 and "redis.env" in missing.stderr, missing
    (folder / "overlays/production/redis.env").write_text(f"password={PASSWORD}\n")
    (folder / "overlays/swap-volume/guest.wasm").write_bytes(b"\0asm\x0d\0\1\0\xff")
    assert {path.name for path in (folder / "overlays").iterdir()} == set(OVERLAYS)
    components = {path.name for path in (folder / "components").iterdir()}
    added = {name for _, names in COMBINED.values() for name in names}
    assert components - added == {"redis"}
    for name, (base, names) in COMBINED.items():
        place = folder / "overlays" / name
        place.mkdir()
        content = {
            "resources": [base],
            "components": [f"../../components/{component}" for component in names],
        }
        if "fleet" in names:
            for file, text in ROLLOUT.items():
                (place / file).write_text(text)
            generated = {"name": "fastsentiment-rollout", "files": list(ROLLOUT)}
            content["configMapGenerator"] = [generated]
            content["namespace"] = "fastsentiment"
        text = yaml.safe_dump(content)
        if name == "keda":
            page = (ROOT / "deployment/README.md").read_text()
            [text] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
            example = yaml.safe_load(text)
            assert content.items() <= example.items(), example
        (place / "kustomization.yaml").write_text(text)
    rendered = {}
    for name in [*EVERY, *COMBINED]:
        done = kustomize(folder / (f"overlays/{name}" if name in COMBINED else name))
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert done.stderr == "", f"{name}: {done.stderr}"
        rendered[name] = list(yaml.safe_load_all(done.stdout))
    return rendered


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need("kubectl"), "kustomize", folder],
        capture_output=True,
        text=True,
        check=False,
    )


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
    for variable in only.get("env", []):
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
    """A value or an argument as Kubernetes expands it."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda m: variables[m[1]] if m[1] else "$", text)


def secret(objects: list[dict], deployment: str) -> dict[str, str]:
    """The files that Secrets put into a deployment's container, by path."""
    pod, only = container(objects, deployment)
    mounts = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    found = {}
    for volume in pod["volumes"]:
        if "secret" not in volume:
            continue
        name, secrets = volume["secret"]["secretName"], of_kind(objects, "Secret")
        if volume["secret"].get("optional") and name not in secrets:
            continue
        data = secrets[name]["data"]
        for item in volume["secret"]["items"]:
            path = f"{mounts[volume['name']]}/{item['path']}"
            found[path] = base64.b64decode(data[item["key"]]).decode()
    return found
