"""Statuses reach the API as differences, once, in order, and after every interruption."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver.patch import strategic_merge_patch
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.reporter import Reporter, status_patch

TYPES = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]


def condition(type_: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just(type_), "status": st.sampled_from(["True", "False"]), "lastProbeTime": st.none()},
        optional={"reason": st.sampled_from(["A", "B"]), "message": st.text("xy", max_size=2)},
    )


IPS = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), unique=True, max_size=2)
STATUSES = st.fixed_dictionaries(
    {
        "phase": st.sampled_from(["Pending", "Running", "Failed"]),
        "conditions": st.tuples(*(condition(type_) for type_ in TYPES)).map(list),
        "containerStatuses": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("ab"), "restartCount": st.integers(0, 3)}), max_size=2
        ),
        "podIPs": IPS.map(lambda ips: [{"ip": ip} for ip in ips]),
    },
    optional={"reason": st.sampled_from(["Evicted"]), "message": st.just("why")},
)


@given(STATUSES, STATUSES, st.booleans())
def test_patch_turns_what_the_api_has_into_what_is_wanted(
    before: dict[str, Any], wanted: dict[str, Any], has_foreign_condition: bool
) -> None:
    foreign = {"type": "HeldUpgrade", "status": "True"}
    if has_foreign_condition:
        before["conditions"].append(foreign)
    pod = {"metadata": {"uid": "u"}, "status": copy.deepcopy(before)}
    patch = {"status": status_patch(before, wanted)}
    after = strategic_merge_patch(pod, patch, "core.v1.Pod")["status"]
    conditions = {c["type"]: c for c in after["conditions"]}
    assert conditions.pop("HeldUpgrade", None) == (foreign if has_foreign_condition else None)
    assert [strip(conditions[c["type"]]) for c in wanted["conditions"]] == [strip(c) for c in wanted["conditions"]]
    for key in ("phase", "reason", "message", "containerStatuses"):
        assert after.get(key) == wanted.get(key)
    assert sorted(entry["ip"] for entry in after.get("podIPs") or []) == sorted(e["ip"] for e in wanted["podIPs"])
    assert status_patch(after, wanted) == {}


def strip(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if v is not None}


class Api:
    """Keeps one pod and merges what it is sent. fail: what the next calls raise."""

    def __init__(self) -> None:
        self.pod: dict[str, Any] = {"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"}}
        self.patches: list[dict[str, Any]] = []
        self.deleted = 0
        self.fail: list[MetaError] = []
        self.takes: Callable[[dict[str, Any]], dict[str, Any]] = lambda status: status
        self.gate = asyncio.Event()
        self.gate.set()
        self.answers_deletions = True

    async def patch_pod(self, pod: Pod, patch: dict[str, Any]) -> dict[str, Any]:
        await self.gate.wait()
        if self.fail:
            raise self.fail.pop(0)
        self.patches.append(patch["status"])
        merged = strategic_merge_patch(copy.deepcopy(self.pod), patch, "core.v1.Pod")
        merged["status"] = self.takes(merged.get("status") or {})
        merged["metadata"]["resourceVersion"] = str(int(self.pod["metadata"]["resourceVersion"]) + 1)
        self.pod = merged
        return copy.deepcopy(merged)

    async def delete_pod(self, pod: Pod) -> None:
        if self.fail:
            raise self.fail.pop(0)
        self.deleted += 1
        if not self.answers_deletions:
            await asyncio.Event().wait()


class Bench:
    def __init__(self) -> None:
        self.api = Api()
        self.reporter = Reporter(self.api, retry_s=0.05)
        self.reporter.seen(self.pod)

    @property
    def pod(self) -> Pod:
        return Pod(copy.deepcopy(self.api.pod))

    async def settle(self) -> None:
        await asyncio.sleep(0.02)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.reporter.run())
        yield made
        task.cancel()


def status(phase: str, **fields: Any) -> dict[str, Any]:
    return {"phase": phase, "conditions": [], **fields}


async def test_same_status_is_told_once(bench: Bench) -> None:
    for _ in range(3):
        bench.reporter.tell(bench.pod, status("Running"))
        await bench.settle()
    assert len(bench.api.patches) == 1


async def test_only_the_newest_of_several_statuses_is_told_while_one_is_under_way(bench: Bench) -> None:
    bench.api.gate.clear()
    for phase in ("Pending", "Running", "Failed"):
        bench.reporter.tell(bench.pod, status(phase))
        await bench.settle()
    bench.api.gate.set()
    await bench.settle()
    assert [p["phase"] for p in bench.api.patches] == ["Pending", "Failed"]


async def test_failure_is_repeated_later_and_at_once_when_the_link_returns(bench: Bench) -> None:
    bench.reporter._retry_s = 60
    bench.api.fail = [MetaError("", "connection lost")]
    bench.reporter.tell(bench.pod, status("Running"))
    await bench.settle()
    assert bench.api.patches == []
    bench.reporter.reconnected()
    await bench.settle()
    assert [p["phase"] for p in bench.api.patches] == ["Running"]


async def test_failures_are_retried_by_themselves(bench: Bench) -> None:
    bench.api.fail = [MetaError("", "connection lost"), MetaError("InternalError", "x")]
    bench.reporter.tell(bench.pod, status("Running"))
    await asyncio.sleep(0.2)
    assert [p["phase"] for p in bench.api.patches] == ["Running"]


async def test_status_that_somebody_else_changed_is_put_right(bench: Bench) -> None:
    bench.reporter.tell(bench.pod, status("Running"))
    await bench.settle()
    bench.api.pod["status"]["phase"] = "Unknown"
    bench.api.pod["metadata"]["resourceVersion"] = "9"
    bench.reporter.seen(bench.pod)
    await bench.settle()
    assert bench.api.pod["status"]["phase"] == "Running"


async def test_echo_of_an_own_patch_makes_no_new_one(bench: Bench) -> None:
    bench.reporter.tell(bench.pod, status("Running"))
    await bench.settle()
    bench.reporter.seen(bench.pod)
    await bench.settle()
    assert len(bench.api.patches) == 1


async def test_field_that_the_api_does_not_take_is_not_sent_for_ever(bench: Bench) -> None:
    bench.api.takes = lambda found: {**found, "phase": "Pending"}
    bench.reporter.tell(bench.pod, status("Running"))
    await asyncio.sleep(0.2)
    assert len(bench.api.patches) <= 2
    bench.reporter.seen(bench.pod)
    await asyncio.sleep(0.1)
    assert len(bench.api.patches) <= 2


async def test_pod_is_only_deleted_after_its_terminal_status_is_known(bench: Bench) -> None:
    bench.api.fail = [MetaError("", "connection lost")]
    bench.reporter.tell(bench.pod, status("Succeeded"))
    bench.reporter.nothing_is_left(bench.pod)
    await bench.settle()
    assert bench.api.deleted == 0
    await asyncio.sleep(0.1)
    assert bench.api.patches and bench.api.deleted == 1


async def test_status_of_a_pod_that_is_gone_is_not_repeated_but_its_deletion_is(bench: Bench) -> None:
    bench.api.fail = [MetaError("NotFound", "gone")]
    bench.reporter.tell(bench.pod, status("Failed"))
    await bench.settle()
    bench.reporter.nothing_is_left(bench.pod)
    await asyncio.sleep(0.1)
    assert (bench.api.patches, bench.api.deleted) == ([], 1)


async def test_forgotten_pod_is_not_told(bench: Bench) -> None:
    bench.api.fail = [MetaError("", "connection lost")]
    bench.reporter.tell(bench.pod, status("Running"))
    await bench.settle()
    bench.reporter.forget("u")
    await asyncio.sleep(0.1)
    assert bench.api.patches == []


async def test_deletion_whose_answer_went_down_with_the_link_is_repeated_when_it_is_back(bench: Bench) -> None:
    bench.api.answers_deletions = False
    bench.reporter.tell(bench.pod, {"phase": "Succeeded"})
    bench.reporter.nothing_is_left(bench.pod)
    await bench.settle()
    assert bench.api.deleted == 1
    bench.api.answers_deletions = True
    bench.reporter.reconnected()
    await bench.settle()
    assert bench.api.deleted == 2
    bench.reporter.reconnected()
    await bench.settle()
    assert bench.api.deleted == 2
