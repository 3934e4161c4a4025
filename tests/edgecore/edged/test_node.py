"""The node in the API: what is told of it, when, and how it comes back."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubeedge.apiserver.patch import strategic_merge_patch
from kubeedge.edgecore.edged.events import Events
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.node import hardware, keeper, status
from kubeedge.edgecore.edged.node.hardware import Hardware, Reservation
from kubeedge.edgecore.edged.node.keeper import NodeKeeper
from kubeedge.edgecore.edged.node.lease import LeaseKeeper
from kubeedge.edgecore.edged.node.pressure import Pressure
from kubeedge.edgecore.edged.node.status import Health, Identity
from kubeedge.edgecore.edged.runtime.interface import RuntimeStatus, RuntimeUnavailableError, RuntimeVersion

GIB = 1 << 30
MACHINE = Hardware(2, 4 * GIB, 100 * GIB, "amd64", "m", "s", "b", "6.1", "Debian", {"hugepages-2Mi": 0})
VERSION, GOOD = RuntimeVersion("process", "1"), RuntimeStatus(True, True)


def identity(**fields: Any) -> Identity:
    capacity = hardware.capacity(MACHINE, 110)
    allocatable = hardware.allocatable(MACHINE, 110, Reservation(({"cpu": "500m", "memory": "1Gi"}, {"cpu": "250m"})))
    return Identity("e1", "192.0.2.1", MACHINE, capacity, allocatable, **fields)


def ready(told: dict[str, Any]) -> tuple[str, str, str]:
    (found,) = [c for c in told["conditions"] if c["type"] == "Ready"]
    return found["status"], found["reason"], found["message"]


def test_capacity_and_what_is_left_of_it() -> None:
    made = identity()
    assert made.capacity == {
        "cpu": "2",
        "memory": f"{4 * GIB // 1024}Ki",
        "ephemeral-storage": f"{100 * GIB // 1024}Ki",
        "hugepages-2Mi": "0",
        "pods": "110",
    }
    assert made.allocatable["cpu"] == "1250m"
    assert made.allocatable["memory"] == f"{(3 * GIB - (100 << 20)) // 1024}Ki"
    assert made.allocatable["ephemeral-storage"] == str(90 * GIB)


def test_registered_node_is_an_edge_node() -> None:
    made = identity(labels={"zone": "a", "kubernetes.io/hostname": "other"}, is_schedulable=False)
    node = status.node(made, status.build(made, Health(VERSION, GOOD), {}, 0))
    labels = node["metadata"]["labels"]
    assert labels["node-role.kubernetes.io/edge"] == labels["node-role.kubernetes.io/agent"] == ""
    assert (labels["kubernetes.io/arch"], labels["zone"], labels["kubernetes.io/hostname"]) == ("amd64", "a", "other")
    assert node["spec"]["unschedulable"] is True
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    assert node["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10350}}
    assert "kind" not in node


@pytest.mark.parametrize(
    ("health", "told"),
    [
        (Health(VERSION, GOOD), ("True", "EdgeReady", "edge is posting ready status")),
        (Health(VERSION, None), ("False", "KubeletNotReady", "container runtime is down")),
        (
            Health(VERSION, RuntimeStatus(True, False, "", "no CNI")),
            ("False", "KubeletNotReady", "container runtime network not ready: NetworkReady=false no CNI"),
        ),
        (
            Health(VERSION, None, problems=["PLEG is not healthy"]),
            ("False", "KubeletNotReady", "[PLEG is not healthy, container runtime is down]"),
        ),
    ],
)
def test_readiness_says_why_not(health: Health, told: tuple[str, str, str]) -> None:
    assert ready(status.build(identity(), health, {}, 0)) == told


def test_conditions_keep_the_time_of_their_change() -> None:
    made = identity()
    first = status.build(made, Health(VERSION, GOOD), {}, 1000)
    second = status.build(made, Health(VERSION, GOOD, frozenset({"DiskPressure"})), first, 2000)
    times = {c["type"]: (c["lastHeartbeatTime"], c["lastTransitionTime"]) for c in second["conditions"]}
    assert times["Ready"] == ("1970-01-01T00:33:20Z", "1970-01-01T00:16:40Z")
    assert times["DiskPressure"] == ("1970-01-01T00:33:20Z", "1970-01-01T00:33:20Z")
    assert not status.is_news(first, status.build(made, Health(VERSION, GOOD), first, 2000))
    assert status.is_news(first, second)


def test_patch_makes_the_status_the_wanted_one_and_leaves_other_fields() -> None:
    made = identity()
    wanted = status.build(made, Health(VERSION, GOOD), {}, 1000)
    foreign = {"type": "NetworkUnavailable", "status": "False"}
    before = {
        **copy.deepcopy(wanted),
        "addresses": [{"type": "InternalIP", "address": "192.0.2.99"}, {"type": "ExternalIP", "address": "192.0.2.98"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10351}},
        "capacity": {**wanted["capacity"], "cpu": "1", "vendor.example/x": "1"},
    }
    before["conditions"] = [*before["conditions"][:3], {"type": "Ready", "status": "Unknown"}, foreign]
    assert status.is_news(before, wanted)
    node = {"metadata": {"name": "e1"}, "status": before}
    after = strategic_merge_patch(copy.deepcopy(node), status.patch(before, wanted), "core.v1.Node")["status"]
    assert after["addresses"] == wanted["addresses"]
    assert after["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10351}}
    assert after["capacity"] == {**wanted["capacity"], "vendor.example/x": "1"}
    assert ready(after) == ready(wanted)
    assert foreign in after["conditions"]
    assert not status.is_news(after, wanted)


def test_pressure_stays_for_a_while(tmp_path: Path) -> None:
    clock = [1000.0]
    thresholds = {"memory.available": "100%", "nodefs.available": "0%"}
    pressure = Pressure(tmp_path, thresholds, lambda: clock[0], transition_s=300)
    assert pressure.look() == {"MemoryPressure"}
    thresholds["memory.available"] = "0"
    clock[0] += 299
    assert pressure.look() == {"MemoryPressure"}
    clock[0] += 2
    assert pressure.look() == set()


def test_machine_can_be_read(tmp_path: Path) -> None:
    found = hardware.read(tmp_path)
    assert found.cpus >= 1 and found.memory_bytes > 0 and found.disk_bytes > 0
    assert found.boot_id and found.kernel and found.os_image
    assert hardware.node_address("no such host.invalid", "192.0.2.5") == "192.0.2.5"
    assert hardware.node_address("no-such-host.invalid", "") != ""


class Cloud:
    """Node and lease in the API, as metamanager gives them."""

    def __init__(self) -> None:
        self.node_object: dict[str, Any] | None = None
        self.lease_object: dict[str, Any] | None = None
        self.calls: list[str] = []
        self.version = 0
        self.is_up = True
        self.local: dict[str, Any] | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if not self.is_up:
            raise MetaError("", "not connected")

    async def node(self) -> dict[str, Any]:
        if self.local is None:
            raise MetaError("", "no row")
        return copy.deepcopy(self.local)

    async def node_from_cloud(self) -> dict[str, Any]:
        self._called("get")
        assert self.node_object is not None
        return copy.deepcopy(self.node_object)

    async def create_node(self, node: dict[str, Any]) -> dict[str, Any]:
        self._called("create")
        if self.node_object is not None:
            raise MetaError("AlreadyExists", "there")
        self.node_object = copy.deepcopy(node)
        self.node_object["metadata"]["uid"] = "node-uid"
        self.local = self.node_object
        return copy.deepcopy(self.node_object)

    async def patch_node(self, patch: dict[str, Any]) -> dict[str, Any]:
        self._called("patch")
        if self.node_object is None:
            raise MetaError("NotFound", "gone")
        self.node_object = strategic_merge_patch(copy.deepcopy(self.node_object), patch, "core.v1.Node")
        self.local = self.node_object
        assert self.node_object is not None
        return copy.deepcopy(self.node_object)

    async def lease(self) -> dict[str, Any]:
        self._called("get lease")
        if self.lease_object is None:
            raise MetaError("NotFound", "no lease")
        return copy.deepcopy(self.lease_object)

    async def create_lease(self, lease: dict[str, Any]) -> dict[str, Any]:
        self._called("create lease")
        return self._stored(lease)

    async def update_lease(self, lease: dict[str, Any]) -> dict[str, Any]:
        self._called("update lease")
        if self.lease_object is None:
            # An update may create a lease, but not one that has a version; what the API says then has no reason.
            raise MetaError("Unknown", "resourceVersion should not be set on objects to be created")
        if lease["metadata"]["resourceVersion"] != str(self.version):
            raise MetaError("Conflict", "changed")
        return self._stored(lease)

    def _stored(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease_object = copy.deepcopy(lease)
        self.lease_object["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease_object)


class Runtime:
    def __init__(self) -> None:
        self.is_up = True
        self.hangs = False

    async def version(self) -> RuntimeVersion:
        return VERSION

    async def status(self) -> RuntimeStatus:
        if not self.is_up:
            raise RuntimeUnavailableError("away")
        if self.hangs:
            await asyncio.Event().wait()
        return GOOD


class Bench:
    def __init__(self, folder: Path) -> None:
        self.cloud, self.runtime = Cloud(), Runtime()
        self.told: list[tuple[str, str]] = []
        runtime: Any = self.runtime
        events: Any = Events(self, "e1", lambda: 0.0)
        self.keeper = NodeKeeper(
            self.cloud,
            runtime,
            identity(),
            Pressure(folder, {}, lambda: 0.0),
            events,
            lambda: None,
            lambda: 1000.0,
            lambda: 0.0,
            update_s=0.03,
        )
        self.lease = LeaseKeeper(self.cloud, "e1", lambda: self.keeper.uid, lambda: 1000.0, lambda: 0.0, duration_s=40)

    def event(self, operation: str, event: dict[str, Any]) -> None:
        self.told.append((event["reason"], event["message"]))

    def connected(self, online: bool) -> None:
        self.keeper.connected(online)
        self.lease.connected(online)

    async def until(self, *calls: str) -> None:
        async with asyncio.timeout(5):
            while not set(calls) <= set(self.cloud.calls):  # noqa: ASYNC110 - the cloud has no event for a call
                await asyncio.sleep(0.005)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(keeper, "COMING_UP_PAUSE_S", 0.02)
    monkeypatch.setattr(keeper, "FIRST_RETRY_S", 0.01)
    made = Bench(tmp_path)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(made.keeper.run()), group.create_task(made.lease.run())]
        yield made
        for task in tasks:
            task.cancel()


async def test_node_is_registered_once_it_is_connected(bench: Bench) -> None:
    await asyncio.sleep(0.05)
    assert bench.cloud.calls == []
    bench.connected(True)
    await bench.until("create", "patch", "create lease", "update lease")
    assert bench.cloud.node_object is not None
    assert ready(bench.cloud.node_object["status"])[0] == "True"
    assert bench.keeper.uid == "node-uid"


async def test_nothing_is_sent_while_nothing_changes(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("patch", "update lease")
    await asyncio.sleep(0.05)
    bench.cloud.calls.clear()
    await asyncio.sleep(0.2)
    assert bench.cloud.calls == []


async def test_known_node_is_taken_over_from_the_cloud(bench: Bench) -> None:
    bench.cloud.node_object = {"metadata": {"name": "e1", "uid": "old", "labels": {"x": "y"}}, "status": {}}
    bench.connected(True)
    await bench.until("create", "get", "patch")
    assert (bench.keeper.uid, bench.keeper.labels) == ("old", {"x": "y"})


async def test_reconnect_tells_status_and_lease_at_once(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("patch", "update lease")
    bench.connected(False)
    await asyncio.sleep(0.05)
    bench.cloud.calls.clear()
    assert bench.cloud.node_object is not None
    (told,) = [c for c in bench.cloud.node_object["status"]["conditions"] if c["type"] == "Ready"]
    told.update(status="Unknown", reason="NodeStatusUnknown")
    # The push with that change has not come yet: the local row is older.
    bench.connected(True)
    await bench.until("patch", "update lease")
    assert ready(bench.cloud.node_object["status"])[0] == "True"


async def test_change_by_somebody_else_is_put_right(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("patch")
    await asyncio.sleep(0.05)
    bench.cloud.calls.clear()
    assert bench.cloud.node_object is not None
    (told,) = [c for c in bench.cloud.node_object["status"]["conditions"] if c["type"] == "Ready"]
    told.update(status="Unknown", reason="NodeStatusUnknown")
    await bench.until("patch")
    assert ready(bench.cloud.node_object["status"])[0] == "True"


@pytest.mark.parametrize("trouble", ["is gone", "hangs"])
async def test_node_whose_runtime_does_not_answer_is_not_ready_until_it_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(keeper, "RUNTIME_PATIENCE_S", 0.05)
    monkeypatch.setattr(keeper, "RUNTIME_TIMEOUT_S", 0.05)
    reasons: list[str] = []
    monkeypatch.setattr(Events, "node", lambda _, type_, reason, message: reasons.append(reason))

    async def told(is_ready: str) -> None:
        async with asyncio.timeout(5):
            while ready(bench.cloud.node_object["status"])[0] != is_ready:  # type: ignore[index]  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    bench.connected(True)
    await bench.until("patch")
    await told("True")
    bench.runtime.is_up, bench.runtime.hangs = trouble == "hangs", trouble == "hangs"
    await told("False")
    assert bench.cloud.node_object is not None
    assert ready(bench.cloud.node_object["status"])[2] == "container runtime is down"
    bench.runtime.is_up, bench.runtime.hangs = True, False
    await told("True")
    async with asyncio.timeout(5):
        while len(reasons) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert reasons == ["NodeReady", "NodeNotReady", "NodeReady"]


async def test_deleted_node_registers_again(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("patch")
    bench.cloud.calls.clear()
    bench.cloud.node_object = None
    bench.connected(True)
    await bench.until("create")


async def test_cloud_that_fails_is_asked_again(bench: Bench) -> None:
    bench.cloud.is_up = False
    bench.connected(True)
    await asyncio.sleep(0.1)
    assert bench.cloud.calls.count("create") > 1
    bench.cloud.is_up = True
    await bench.until("patch")


async def test_lease_that_somebody_changed_is_read_again(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("update lease")
    bench.cloud.version += 1
    assert bench.cloud.lease_object is not None
    bench.cloud.lease_object["metadata"]["resourceVersion"] = str(bench.cloud.version)
    bench.cloud.calls.clear()
    bench.connected(True)
    await bench.until("get lease", "update lease")
    assert bench.cloud.lease_object["spec"]["holderIdentity"] == "e1"


async def test_lease_that_went_with_a_deleted_node_is_made_again(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("update lease")
    bench.cloud.calls.clear()
    bench.cloud.lease_object = None
    bench.connected(True)
    await bench.until("update lease", "get lease", "create lease")
    assert bench.cloud.lease_object is not None


async def test_lease_names_the_node_as_its_owner(bench: Bench) -> None:
    bench.connected(True)
    await bench.until("patch")
    bench.connected(True)
    await bench.until("update lease")
    await asyncio.sleep(0.05)
    assert bench.cloud.lease_object is not None
    owner = {"apiVersion": "v1", "kind": "Node", "name": "e1", "uid": "node-uid"}
    assert bench.cloud.lease_object["metadata"]["ownerReferences"] == [owner]
