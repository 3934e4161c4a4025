"""Where pods go: capacity, refusals in the words of kube-scheduler, scores."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver.controllers.capacity import Demand, Room, requests
from kubeedge.apiserver.controllers.placement import named_nodes, place
from kubeedge.apiserver.controllers.views import Metadata, Node, NodeSpec, NodeStatus, Pod, PodSpec, Taint
from tests.apiserver.controllers.builders import pod


def room(name: str, *pods: Pod, cpu: str = "2", memory: str = "4Gi", count: str = "10", **more: Any) -> Room:
    spec = NodeSpec(unschedulable=more.pop("unschedulable", False), taints=more.pop("taints", []))
    labels = {"kubernetes.io/hostname": name, **more}
    allocatable = {"cpu": cpu, "memory": memory, "pods": count}
    node = Node(metadata=Metadata(name=name, labels=labels), spec=spec, status=NodeStatus(allocatable=allocatable))
    made = Room(node)
    for found in pods:
        made.add(Demand(found))
    return made


def spec(**fields: Any) -> PodSpec:
    return msgspec.convert(fields, PodSpec)


def asking(cpu: str = "", memory: str = "", **more: Any) -> PodSpec:
    asked = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    return spec(containers=[{"name": "c", "resources": {"requests": asked}}], **more)


def put(made: Pod, *rooms: Room) -> tuple[str, str]:
    return place(Demand(made), {found.node.metadata.name: found for found in rooms}, min)


def why(made: Pod, *rooms: Room) -> str:
    name, message = put(made, *rooms)
    assert name == ""
    return message


UNHELPFUL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."


def test_no_nodes_at_all() -> None:
    assert why(pod()) == "no nodes available to schedule pods"


def test_reasons_are_those_of_a_real_scheduler() -> None:
    assert why(pod(), room("n1", unschedulable=True)) == (
        f"0/1 nodes are available: 1 node(s) were unschedulable. {UNHELPFUL}"
    )
    assert why(pod(), room("n1", taints=[Taint("k", "v", "NoSchedule")])) == (
        f"0/1 nodes are available: 1 node(s) had untolerated taint {{k: v}}. {UNHELPFUL}"
    )
    assert why(pod(spec=spec(nodeSelector={"a": "b"})), room("n1")) == (
        f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {UNHELPFUL}"
    )
    assert why(pod(spec=asking("3")), room("n1")) == f"0/1 nodes are available: 1 Insufficient cpu. {UNHELPFUL}"
    full = room("n1", pod("other", spec=asking("2")))
    assert why(pod(spec=asking("1")), full) == f"0/1 nodes are available: 1 Insufficient cpu. {NO_VICTIMS}"
    crowded = room("n1", pod("other"), count="1")
    assert why(pod(spec=asking(memory="9Gi")), crowded) == (
        f"0/1 nodes are available: 1 Insufficient memory, 1 Too many pods. {UNHELPFUL}"
    )
    never = asking("1", preemptionPolicy="Never")
    assert why(pod(spec=never), full) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


def test_host_ports_are_taken_once_a_node_and_address() -> None:
    def on(port: int, ip: str = "", protocol: str = "TCP") -> PodSpec:
        ports = [{"containerPort": 1, "hostPort": port, "hostIP": ip, "protocol": protocol}]
        return spec(containers=[{"name": "c", "ports": ports}])

    taken = room("n1", pod("other", spec=on(80, "10.0.0.1")))
    assert put(pod(spec=on(81)), taken)[0] == "n1"
    assert put(pod(spec=on(80, "10.0.0.2")), taken)[0] == "n1"
    assert put(pod(spec=on(80, protocol="UDP")), taken)[0] == "n1"
    message = f"0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. {NO_VICTIMS}"
    assert why(pod(spec=on(80)), taken) == message


def test_reasons_are_counted_over_nodes() -> None:
    rooms = [room(f"n{i}", cpu="1") for i in range(2)] + [room("cordoned", unschedulable=True)]
    message = why(pod(spec=asking("3")), *rooms)
    assert message.startswith("0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. ")


def test_pod_tied_to_a_node_by_name_waits_for_that_node() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    tied = pod(spec=spec(affinity={"nodeAffinity": required}))
    assert named_nodes(tied) == {"n1"}
    assert put(tied, room("n0"), room("n1"))[0] == "n1"
    message = why(tied, room("n0"), room("n1", count="0"))
    assert "1 Too many pods, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]." in message


def test_greediest_moment_of_a_pod_counts() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    wanted = spec(
        initContainers=[container("3"), container("500m", restartPolicy="Always"), container("2")],
        containers=[container("1"), container("1")],
        overhead={"cpu": "100m"},
    )
    assert requests(wanted)["cpu"] == 3100
    assert requests(spec(containers=[container("1")], resources={"requests": {"cpu": "4"}}))["cpu"] == 4000
    assert requests(PodSpec()) == {}


def test_emptier_node_is_better_and_then_the_more_even_one() -> None:
    assert put(pod(), room("n1", pod("other", spec=asking("1"))), room("n2"))[0] == "n2"
    one_sided = room("n1", pod("x", spec=asking("1", "0")))
    even = room("n2", pod("y", spec=asking("500m", "1Gi")))
    assert put(pod(spec=asking("100m", "200Mi")), one_sided, even)[0] == "n2"


def test_pods_of_one_owner_are_kept_apart() -> None:
    loaded = room("n1", pod("sibling", owner="u", spec=asking("10m", "10Mi")))
    busy = room("n2", pod("stranger", spec=asking("1500m", "3Gi")))
    assert put(pod(owner="u"), loaded, busy)[0] == "n2"
    assert put(pod(owner="other"), loaded, busy)[0] == "n1"


def test_preferences_of_pod_and_node_count() -> None:
    term = {"weight": 10, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}
    wish = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert put(pod(spec=spec(affinity=wish)), room("n1"), room("n2", fast="yes"))[0] == "n2"
    shy = room("n1", taints=[Taint("k", "", "PreferNoSchedule")])
    assert put(pod(), shy, room("n2"))[0] == "n2"


def near(kind: str, app: str, **more: Any) -> dict[str, Any]:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}, **more}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_required_pod_affinity_goes_where_the_others_are() -> None:
    a, b = room("n1", zone="a"), room("n2", pod("db", labels={"app": "db"}), zone="b")
    wants = pod(spec=spec(affinity=near("podAffinity", "db")))
    assert put(wants, a, b)[0] == "n2"
    assert "2 node(s) didn't match pod affinity rules" in why(wants, a, room("n3", zone="b"))
    first = pod(labels={"app": "web"}, spec=spec(affinity=near("podAffinity", "web")))
    assert put(first, a)[0] == "n1"
    elsewhere = pod(spec=spec(affinity=near("podAffinity", "db", namespaces=["other"])))
    assert why(elsewhere, b)


def test_required_anti_affinity_holds_both_ways() -> None:
    shy = spec(affinity=near("podAntiAffinity", "web"))
    there = room("n1", pod("web", labels={"app": "web"}), zone="a")
    assert "1 node(s) didn't match pod anti-affinity rules" in why(pod(spec=shy), there)
    kept_free = room("n1", pod("shy", spec=shy), zone="a")
    message = why(pod(labels={"app": "web"}), kept_free)
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in message
    assert put(pod(labels={"app": "web"}), kept_free, room("n2", zone="b"))[0] == "n2"


@given(
    st.lists(st.sampled_from(["", "100m", "1", "1500m"]), max_size=30),
    st.lists(st.sampled_from(["1", "2", "4"]), min_size=1, max_size=4),
)
def test_no_node_is_ever_asked_for_more_than_it_has(demands: list[str], capacities: list[str]) -> None:
    rooms = {f"n{i}": room(f"n{i}", cpu=cpu, count="5") for i, cpu in enumerate(capacities)}
    for index, cpu in enumerate(demands):
        demand = Demand(pod(f"p{index}", spec=asking(cpu)))
        name, message = place(demand, rooms, min)
        assert bool(name) != bool(message)
        if name:
            rooms[name].add(demand)
    for found in rooms.values():
        assert found.requested.get("cpu", 0) <= found.allocatable["cpu"]
        assert len(found.demands) <= 5
        for uid in list(found.demands):
            found.remove(uid)
        assert not any(found.requested.values())
        assert not any(found.owners.values())
