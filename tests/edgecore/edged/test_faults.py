"""Pods over a runtime that is slow, fails, goes away and loses things, and an edged that is stopped at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.edgecore.edged import pods
from kubeedge.edgecore.edged.edged import Edged, Settings
from kubeedge.message import Message, new_message, response_to
from tests.edgecore.edged.memory_runtime import MemoryRuntime
from tests.edgecore.edged.world import eventually

NODE = "e1"


class Meta:
    """Metamanager and cloud in one: keeps pods, takes every patch, removes what edged has ended."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.pods: dict[str, dict[str, Any]] = {}
        self.version = 1
        bus.register("metamanager", "meta", self.receive)

    def receive(self, message: Message) -> None:
        content: Any = "OK"
        _, type_, *name = message.resource.split("/")
        if message.operation == "query" and type_ == "pod":
            content = [orjson.dumps(pod).decode() for pod in self.pods.values()]
        elif type_ == "podpatch":
            content = self._patched(name[0], orjson.loads(orjson.loads(message.content)))
        elif type_ == "pod" and message.operation == "delete":
            asyncio.get_running_loop().call_soon(self.remove, name[0])
        elif message.operation == "query":
            content = {"ErrStatus": {"reason": "NotFound", "message": "not found"}}
        else:
            content = {"Object": orjson.loads(message.content) if type_ == "node" else {}, "Err": None}
        answer = response_to(message, orjson.dumps(content))
        asyncio.get_running_loop().call_soon(self.bus.resolve, answer)

    def _patched(self, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        pod = self.pods.get(name)
        if pod is None or pod["metadata"]["uid"] != patch["metadata"]["uid"]:
            return {"Object": {}, "Err": {"ErrStatus": {"reason": "NotFound", "message": "gone"}}}
        known = {c["type"]: c for c in pod.get("status", {}).get("conditions", [])}
        for condition in patch["status"].get("conditions", []):
            known[condition["type"]] = {**known.get(condition["type"], {}), **condition}
        fields = {k: v for k, v in patch["status"].items() if not k.startswith("$")}
        pod["status"] = {**pod.get("status", {}), **fields, "conditions": list(known.values())}
        self._bump(pod)
        return {"Object": pod, "Err": None}

    def _bump(self, pod: dict[str, Any]) -> None:
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)

    def push(self, operation: str, name: str) -> None:
        resource = f"default/pod/{name}"
        self.bus.send(
            "edged", new_message("edgecontroller", "resource", operation, resource, orjson.dumps(self.pods[name]))
        )

    def create(self, name: str, **spec: Any) -> None:
        containers = [{"name": c, "image": "i:1"} for c in ("a", "b")]
        metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
        pod = {
            "metadata": metadata,
            "spec": {"nodeName": NODE, "containers": containers, "terminationGracePeriodSeconds": 0, **spec},
        }
        self.pods[name] = pod
        self._bump(pod)
        self.push("insert", name)

    def delete(self, name: str) -> None:
        pod = self.pods[name]
        pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=0)
        self._bump(pod)
        self.push("update", name)

    def remove(self, name: str) -> None:
        if name in self.pods:
            self.push("delete", name)
            del self.pods[name]

    def phase(self, name: str) -> str:
        return str(self.pods[name].get("status", {}).get("phase"))

    def is_ready(self, name: str) -> bool:
        conditions = self.pods[name].get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Bench:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.runtime = MemoryRuntime(seed)
        self.bus = Bus()
        self.meta = Meta(self.bus)
        self.edged = self.make()
        self._task: asyncio.Task[None] | None = None

    def make(self) -> Edged:
        settings = Settings(
            NODE,
            self.folder / "kubelet",
            self.folder / "logs",
            "127.0.0.1",
            server_port=None,
            eviction_hard={},
            # What is waited for comes soon, so that a test has not to wait for it.
            retry_s=0.05,
            relist_s=0.1,
            crash_backoff_max_s=0.2,
        )
        return Edged(self.bus, self.runtime, settings)

    async def start(self) -> None:
        self._task = asyncio.create_task(self.edged.run())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    async def restart(self) -> None:
        await self.stop()
        self.edged = self.make()
        await self.start()

    async def until(self, holds: Callable[[], object]) -> None:
        async def check() -> bool:
            return bool(holds())

        try:
            await eventually(check)
        except TimeoutError:
            pods = {name: pod.get("status", {}) for name, pod in self.meta.pods.items()}
            raise AssertionError(f"{orjson.dumps(pods).decode()} {self.runtime.containers}") from None


@asynccontextmanager
async def running(folder: Path, seed: int = 0) -> AsyncIterator[Bench]:
    made = Bench(folder, seed)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(tmp_path) as made:
        yield made


async def test_pod_waits_for_a_runtime_that_is_away(bench: Bench) -> None:
    bench.runtime.is_away = True
    bench.meta.create("p")
    await asyncio.sleep(0.2)
    assert bench.runtime.starts == []
    bench.runtime.is_away = False
    await bench.until(lambda: bench.meta.is_ready("p"))


async def test_runtime_that_was_away_restarts_nothing(bench: Bench) -> None:
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    bench.runtime.is_away = True
    bench.meta.push("update", "p")
    await asyncio.sleep(0.3)
    bench.runtime.is_away = False
    await asyncio.sleep(0.5)
    assert len(bench.runtime.starts) == 2
    assert bench.meta.is_ready("p")


async def test_lost_sandbox_is_replaced(bench: Bench) -> None:
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    bench.runtime.lose_sandbox(next(iter(bench.runtime.sandboxes)))
    await bench.until(lambda: len(bench.runtime.starts) == 4 and bench.meta.is_ready("p"))
    statuses = bench.meta.pods["p"]["status"]["containerStatuses"]
    assert [s["restartCount"] for s in statuses] == [1, 1]
    assert bench.runtime.violations == []


async def test_pod_of_a_runtime_that_forgot_everything_starts_again(bench: Bench) -> None:
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    await bench.stop()
    bench.runtime.containers.clear()
    bench.runtime.sandboxes.clear()
    bench.edged = bench.make()
    await bench.start()
    await bench.until(lambda: len(bench.runtime.starts) == 4 and bench.meta.is_ready("p"))
    status = bench.meta.pods["p"]["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1


async def test_pod_that_is_never_restarted_fails_when_the_runtime_forgot_it(bench: Bench) -> None:
    bench.meta.create("p", restartPolicy="Never")
    await bench.until(lambda: bench.meta.is_ready("p"))
    await bench.stop()
    bench.runtime.containers.clear()
    bench.runtime.sandboxes.clear()
    bench.edged = bench.make()
    await bench.start()
    await bench.until(lambda: bench.meta.phase("p") == "Failed")
    assert len(bench.runtime.starts) == 2
    status = bench.meta.pods["p"]["status"]["containerStatuses"][0]
    assert status["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert status["state"]["terminated"]["exitCode"] == 137


async def test_pods_that_nobody_wants_are_ended_with_all_that_they_left(bench: Bench) -> None:
    for name in ("keep", "drop"):
        bench.meta.create(name)
        await bench.until(lambda name=name: bench.meta.is_ready(name))
    await bench.stop()
    del bench.meta.pods["drop"]
    bench.edged = bench.make()
    await bench.start()
    await bench.until(lambda: {s.sandbox.name for s in bench.runtime.sandboxes.values()} == {"keep"})
    await bench.until(lambda: [p.name for p in (bench.folder / "kubelet" / "pods").iterdir()] == ["uid-keep"])
    await bench.until(lambda: [p.name for p in (bench.folder / "logs").iterdir()] == ["default_keep_uid-keep"])
    assert len(bench.runtime.starts) == 4


async def test_node_that_was_set_up_anew_leaves_unknown_pods_alone_at_first(bench: Bench) -> None:
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    await bench.stop()
    kept = bench.meta.pods.pop("p")
    bench.edged = bench.make()
    await bench.start()
    await asyncio.sleep(0.5)
    assert bench.runtime.running() == ["a", "b"]
    bench.meta.pods["p"] = kept
    bench.meta.push("insert", "p")
    await asyncio.sleep(0.5)
    assert len(bench.runtime.starts) == 2


async def test_what_the_cloud_had_time_to_claim_is_ended_then_and_not_a_round_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "ORPHAN_PATIENCE_S", 0.5)
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    await bench.stop()
    del bench.meta.pods["p"]
    bench.edged = bench.make()
    await bench.start()
    bench.bus.send("edged", new_message("edgehub", "edged", "connect", "node/connection", b'"cloud_connected"'))
    await bench.until(lambda: not bench.runtime.sandboxes)
    await bench.until(lambda: not list((bench.folder / "logs").iterdir()))


async def test_new_pod_of_the_same_name_replaces_the_old_one(bench: Bench) -> None:
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    pod = bench.meta.pods["p"]
    bench.meta.pods["p"] = {
        "metadata": {**pod["metadata"], "uid": "uid-new", "resourceVersion": "100"},
        "spec": pod["spec"],
    }
    bench.meta.push("insert", "p")
    await bench.until(lambda: bench.meta.is_ready("p"))
    await bench.until(lambda: {s.sandbox.uid for s in bench.runtime.sandboxes.values()} == {"uid-new"})


async def test_message_that_cannot_be_read_disturbs_nobody(bench: Bench) -> None:
    for content in (
        b"null",
        b'"{"',
        b"[]",
        b'{"spec":{}}',
        b'{"metadata":{"uid":"x"},"spec":{"nodeName":"e1","containers":[3]}}',
    ):
        bench.bus.send("edged", new_message("edgecontroller", "resource", "insert", "default/pod/x", content))
    bench.bus.send("edged", new_message("edgecontroller", "resource", "dance", "default/pod/x", b"{}"))
    bench.bus.send("edged", new_message("edgecontroller", "resource", "insert", "x", b"{}"))
    bench.meta.create("p")
    await bench.until(lambda: bench.meta.is_ready("p"))


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_fails_every_pod_ends_as_wanted(tmp_path: Path, seed: int) -> None:
    """Faults in every kind of call, containers and sandboxes that die, and an edged that is stopped in between."""
    async with running(tmp_path, seed) as bench:
        runtime, meta = bench.runtime, bench.meta
        dice = runtime.random
        runtime.fault_rate, runtime.delay_s = 0.1, 0.004
        actions: list[Callable[[], Awaitable[None] | None]] = [
            lambda: end_one(runtime),
            lambda: lose_one(runtime),
            bench.restart,
        ]
        for number in range(8):
            meta.create(f"p{number}", restartPolicy="Never" if number % 4 == 3 else "Always")
            await asyncio.sleep(dice.random() * 0.1)
            done = dice.choice(actions)()
            if done is not None:
                await done
            if number >= 4:
                meta.delete(f"p{number - 4}")
        runtime.fault_rate = 0.0
        await bench.until(lambda: set(meta.pods) == {"p4", "p5", "p6", "p7"})
        await bench.until(lambda: all(meta.is_ready(name) for name in ("p4", "p5", "p6")))
        wanted = {f"uid-{name}" for name in meta.pods}
        await bench.until(lambda: {s.sandbox.uid for s in runtime.sandboxes.values()} <= wanted)
        for name in ("p4", "p5", "p6"):
            await bench.until(lambda name=name: runtime.running(f"uid-{name}") == ["a", "b"])
        never = [start for start in runtime.starts if start[0] in ("uid-p3", "uid-p7")]
        assert len(never) == len({start[:2] for start in never})
        assert runtime.violations == []


def end_one(runtime: MemoryRuntime) -> None:
    if runtime.containers:
        runtime.end(runtime.random.choice(list(runtime.containers)), runtime.random.choice([0, 1]))


def lose_one(runtime: MemoryRuntime) -> None:
    if runtime.sandboxes:
        runtime.lose_sandbox(runtime.random.choice(list(runtime.sandboxes)))
