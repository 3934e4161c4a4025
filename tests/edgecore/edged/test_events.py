"""Events: counted, limited, kept for later."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubeedge.edgecore.edged import events
from kubeedge.edgecore.edged.events import BURST, MAX_AGE_S, MAX_KEPT, Events
from kubeedge.edgecore.edged.pod import Pod


class Cloud:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def event(self, operation: str, event: dict[str, Any]) -> None:
        self.sent.append((operation, copy.deepcopy(event)))


class Bench:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.cloud = Cloud()
        self.events = Events(self.cloud, "e1", lambda: self.now)

    def record(self, message: str, uid: str = "u") -> None:
        pod = Pod({"metadata": {"name": "p", "namespace": "n", "uid": uid, "resourceVersion": "7"}})
        self.events.pod(pod, "Warning", "BackOff", message, "spec.containers{c}")

    async def settle(self) -> None:
        self.events._wake.set()
        await asyncio.sleep(0.05)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(events, "GATHER_S", 0.005)
    made = Bench()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.events.run())
        made.events.connected(True)
        yield made
        task.cancel()


async def test_event_says_what_kubernetes_says(bench: Bench) -> None:
    bench.record("why")
    await bench.settle()
    ((operation, event),) = bench.cloud.sent
    assert operation == "insert"
    assert event["metadata"]["name"].startswith("p.") and event["metadata"]["namespace"] == "n"
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "n",
        "name": "p",
        "uid": "u",
        "apiVersion": "v1",
        "resourceVersion": "7",
        "fieldPath": "spec.containers{c}",
    }
    assert (event["type"], event["reason"], event["message"], event["count"]) == ("Warning", "BackOff", "why", 1)
    assert event["source"] == {"component": "kubelet", "host": "e1"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2023-11-14T22:13:20Z"


async def test_repetition_raises_the_count_of_the_same_event(bench: Bench) -> None:
    bench.record("why")
    await bench.settle()
    for _ in range(3):
        bench.now += 1
        bench.record("why")
    await bench.settle()
    assert len(bench.cloud.sent) == 1, "repetitions are gathered"
    bench.now += events.REPEAT_PAUSE_S
    await bench.settle()
    operation, event = bench.cloud.sent[-1]
    assert (operation, event["count"]) == ("update", 4)
    assert event["metadata"]["name"] == bench.cloud.sent[0][1]["metadata"]["name"]
    assert event["lastTimestamp"] == "2023-11-14T22:13:23Z"


async def test_event_that_comes_again_much_later_is_a_new_one(bench: Bench) -> None:
    bench.record("why")
    await bench.settle()
    bench.now += MAX_AGE_S + 1
    bench.record("why")
    await bench.settle()
    assert [operation for operation, _ in bench.cloud.sent] == ["insert", "insert"]


async def test_one_object_cannot_say_too_much(bench: Bench) -> None:
    for number in range(BURST + 10):
        bench.record(f"message {number}")
    bench.record("other", uid="v")
    await bench.settle()
    assert len(bench.cloud.sent) == BURST + 1
    bench.now += events.REFILL_S * 2
    for number in range(5):
        bench.record(f"later {number}")
    await bench.settle()
    assert len(bench.cloud.sent) == BURST + 1 + 2


async def test_offline_the_newest_are_kept_for_later(bench: Bench) -> None:
    bench.events.connected(False)
    for number in range(MAX_KEPT + 5):
        bench.record(f"message {number}", uid=f"u{number}")
    await bench.settle()
    assert bench.cloud.sent == []
    bench.events.connected(True)
    await bench.settle()
    assert [event["message"] for _, event in bench.cloud.sent] == [f"message {n}" for n in range(5, MAX_KEPT + 5)]


async def test_names_differ_in_the_same_moment(bench: Bench) -> None:
    for number in range(20):
        bench.record(f"message {number}")
    await bench.settle()
    assert len({event["metadata"]["name"] for _, event in bench.cloud.sent}) == 20
