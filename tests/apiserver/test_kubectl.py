from __future__ import annotations

import asyncio
import re

import orjson
import pytest

from tests.apiserver.kubectl import Kubectl
from tests.apiserver.waiting import until

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1"}]}
"""


def columns(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


async def test_config_maps_from_creation_to_deletion(kubectl: Kubectl) -> None:
    assert await kubectl.ok("create", "configmap", "c", "--from-literal=k=v") == "configmap/c created\n"
    again = await kubectl("create", "configmap", "c", "--from-literal=k=v")
    assert again.err == 'error: failed to create configmap: configmaps "c" already exists\n'
    assert await kubectl.ok("label", "configmap", "c", "a=1") == "configmap/c labeled\n"
    assert await kubectl.ok("annotate", "configmap", "c", "b=2") == "configmap/c annotated\n"
    assert await kubectl.ok("patch", "configmap", "c", "-p", '{"data":{"k":"w"}}') == "configmap/c patched\n"
    shown = orjson.loads(await kubectl.ok("get", "configmap", "c", "-o", "json"))
    assert shown["data"] == {"k": "w"} and shown["metadata"]["labels"] == {"a": "1"}
    await kubectl.ok("patch", "configmap", "c", "-p", '{"data":{"k":"OLD"}}')
    assert await kubectl.ok("edit", "configmap", "c") == "configmap/c edited\n"
    assert columns(await kubectl.ok("get", "cm", "-l", "a=1"))[1][:2] == ["c", "1"]
    assert "k:\n----\nNEW" in await kubectl.ok("describe", "configmap", "c")
    assert "deleted" in await kubectl.ok("delete", "configmap", "c")
    assert (await kubectl("get", "configmap", "c")).err == ('Error from server (NotFound): configmaps "c" not found\n')


async def test_deployment_is_applied_scaled_and_rolled_out(kubectl: Kubectl) -> None:
    assert await kubectl.ok("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web created\n"
    assert await kubectl.ok("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    changed = DEPLOYMENT.replace("nginx:1", "nginx:2")
    assert await kubectl.ok("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    assert await kubectl.ok("scale", "deployment", "web", "--replicas=1") == "deployment.apps/web scaled\n"
    waiting = await kubectl("rollout", "status", "deployment/web", "--timeout=1s")
    assert waiting.code == 1 and "Waiting for deployment" in waiting.out
    rows = columns(await kubectl.ok("get", "deployment", "web", "-o", "wide"))
    assert rows[0] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert rows[1][0] == "web" and rows[1][-2:] == ["nginx:2", "app=web"]
    assert "deployment.apps/web" in await kubectl.ok("get", "all")
    assert await kubectl.ok("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    await kubectl.ok("delete", "deployment", "web")
    assert (await kubectl("wait", "--for=delete", "deployment/web", "--timeout=10s")).code == 0


async def test_watch_prints_each_change(kubectl: Kubectl) -> None:
    process = await kubectl.start("get", "configmaps", "--watch", "--field-selector=metadata.name=c", "--no-headers")
    await asyncio.sleep(0.5)
    await kubectl.ok("create", "configmap", "c")
    await kubectl.ok("patch", "configmap", "c", "-p", '{"data":{"k":"w"}}')
    assert process.stdout is not None
    async with asyncio.timeout(10):
        lines = [(await process.stdout.readline()).decode().split()[:2] for _ in range(2)]
    process.terminate()
    await process.wait()
    assert lines == [["c", "0"], ["c", "1"]]


async def test_custom_kind_is_known_at_once(kubectl: Kubectl) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                        }
                    },
                    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                }
            ],
        },
    }
    await kubectl.ok("apply", "-f", "-", stdin=orjson.dumps(definition).decode())
    await kubectl.ok("wait", "--for=condition=Established", "crd/gadgets.example.com", "--timeout=5s")
    gadget = '{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"name":"g"},"spec":{"size":3}}'
    assert await kubectl.ok("apply", "-f", "-", stdin=gadget) == "gadget.example.com/g created\n"
    assert columns(await kubectl.ok("get", "gd")) == [["NAME", "SIZE"], ["g", "3"]]
    bad = gadget.replace('"size":3', '"sise":3')
    refused = await kubectl("apply", "-f", "-", stdin=bad)
    assert refused.code == 1 and 'unknown field "spec.sise"' in refused.err
    assert "size\t<integer>" in await kubectl.ok("explain", "gadget.spec")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("auth", "can-i", "delete", "pods"), "yes"),
        (("auth", "whoami"), "system:masters"),
        (("api-versions",), "coordination.k8s.io/v1"),
        (("api-resources", "--api-group=apps", "-o", "name"), "deployments.apps"),
        (("explain", "pod.spec.containers"), "imagePullPolicy"),
        (("create", "namespace", "x"), "namespace/x created"),
        (("create", "token", "default", "-n", "kube-system"), "ey"),
        (("get", "namespaces"), "kube-node-lease"),
        (("get", "--raw", "/readyz"), "ok"),
        (("cluster-info",), "is running at"),
        (("version",), "Server Version: v1."),
        (("run", "p", "--image=busybox", "--dry-run=server", "-o", "yaml"), "terminationGracePeriodSeconds: 30"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
async def test_command_of_daily_use_works(kubectl: Kubectl, arguments: tuple[str, ...], expected: str) -> None:
    async def has_account() -> bool:
        return (await kubectl("get", "serviceaccount", "default")).code == 0

    await until(has_account)
    result = await kubectl(*arguments)
    assert result.code == 0, result.err
    assert expected in result.out
