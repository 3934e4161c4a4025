"""What a node does not take."""

from __future__ import annotations

from typing import Any

import pytest

from kubeedge.edgecore.edged.admission import Node, Refusal, admit
from kubeedge.edgecore.edged.pod import Pod

NODE = Node({"cpu": "2", "memory": "1Gi", "pods": "3"}, {"zone": "a", "number": "5"})


def pod(cpu: str = "", memory: str = "", **spec: Any) -> Pod:
    requests = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    container = {"name": "c", "image": "i", "resources": {"requests": requests}, **spec.pop("container", {})}
    return Pod({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [container], "nodeName": "e1", **spec}})


def reason(wanted: Pod, *others: Pod, node: Node = NODE, refused: str = "") -> str:
    refusal = admit(wanted, others, node, lambda _: refused)
    return refusal.reason if refusal else ""


def test_pod_that_fits_is_taken() -> None:
    assert admit(pod("1", "512Mi"), [pod("1", "512Mi")], NODE, lambda _: "") is None


def test_full_node_says_what_is_short() -> None:
    refusal = admit(pod("1500m"), [pod("600m")], NODE, lambda _: "")
    text = "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000"
    assert refusal == Refusal("OutOfcpu", text)
    assert reason(pod(memory="600Mi"), pod(memory="600Mi")) == "OutOfmemory"
    assert reason(pod(), pod(), pod(), pod()) == "OutOfpods"


def test_init_containers_count_at_their_height() -> None:
    inits = [{"name": "i", "image": "i", "resources": {"requests": {"cpu": "3"}}}]
    assert reason(pod("1", initContainers=inits)) == "OutOfcpu"
    inits[0]["resources"]["requests"]["cpu"] = "2"  # type: ignore[index]
    assert reason(pod("1", initContainers=inits)) == ""
    sidecar = [{**inits[0], "restartPolicy": "Always"}]
    assert reason(pod("1", initContainers=sidecar)) == "OutOfcpu"


def test_taken_host_port_is_not_given_twice() -> None:
    ports = {"ports": [{"containerPort": 80, "hostPort": 8080}]}
    udp = {"ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}]}
    assert reason(pod(container=ports), pod(container=ports)) == "NodePorts"
    assert reason(pod(container=ports), pod(container=udp)) == ""


def affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": list(expressions)}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "zone", "operator": "DoesNotExist"}, False),
        ({"key": "number", "operator": "Gt", "values": ["4"]}, True),
        ({"key": "number", "operator": "Lt", "values": ["4"]}, False),
        ({"key": "zone", "operator": "Gt", "values": ["4"]}, False),
        ({"key": "zone", "operator": "Nonsense"}, False),
    ],
)
def test_node_affinity_is_kept(expression: dict[str, Any], fits: bool) -> None:
    assert reason(pod(affinity=affinity(expression))) == ("" if fits else "NodeAffinity")


def test_node_selector_is_kept() -> None:
    assert reason(pod(nodeSelector={"zone": "a"})) == ""
    assert reason(pod(nodeSelector={"zone": "b"})) == "NodeAffinity"
    field = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["e1"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [field, {}]}}
    assert reason(pod(affinity={"nodeAffinity": required})) == ""


def test_what_cannot_be_honoured_is_named() -> None:
    assert reason(pod(os={"name": "windows"})) == "PodOSNotSupported"
    assert reason(pod(volumes=[{"name": "v", "csi": {}}])) == "UnsupportedVolume"
    assert reason(pod(runtimeClassName="kata")) == "RuntimeClassNotFound"
    assert admit(pod(), [], NODE, lambda _: "no ports") == Refusal("UnsupportedByRuntime", "no ports")


def test_node_under_pressure_takes_only_some() -> None:
    memory = Node(NODE.allocatable, NODE.labels, frozenset({"MemoryPressure"}))
    disk = Node(NODE.allocatable, NODE.labels, frozenset({"DiskPressure"}))
    assert reason(pod(), node=memory) == "Evicted"
    assert reason(pod("1"), node=memory) == ""
    tolerations = [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]
    assert reason(pod(tolerations=tolerations), node=memory) == ""
    assert reason(pod("1"), node=disk) == "Evicted"
    assert reason(pod(priority=2_000_001_000), node=disk) == ""
