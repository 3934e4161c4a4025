"""The node without its cloud, and after a restart of edgecore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged.pod import Pod
from kubeedge.kube.kinds import NODE, POD
from tests.edgecore.edged.objects import first, is_ready, sh
from tests.edgecore.edged.world import NODE_NAME, World, eventually, world


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.until(NODE, NODE_NAME, is_ready)
        yield made


def became_ready(pod: dict[str, Any]) -> str:
    times = [c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    return str(times[0])


async def test_restart_of_edgecore_adopts_what_runs(fleet: World) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 30}
    container = sh("exec sleep 1000", readinessProbe=probe, startupProbe={**probe, "periodSeconds": 1})
    await fleet.pod("stays", {"containers": [container], "terminationGracePeriodSeconds": 1})
    before = await fleet.until(POD, "stays", is_ready)
    fleet.connect(False)
    await fleet.restart_edge(online=False)
    await asyncio.sleep(2)
    fleet.connect(True)
    await fleet.until(NODE, NODE_NAME, is_ready)
    await asyncio.sleep(1)
    after = await fleet.get(POD, "stays")
    assert first(after)["containerID"] == first(before)["containerID"]
    assert first(after)["restartCount"] == 0
    assert is_ready(after)
    assert became_ready(before) == became_ready(after)


async def test_container_that_dies_offline_is_restarted_and_told_after_the_reconnect(fleet: World) -> None:
    await fleet.pod("phoenix", {"containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1})
    before = await fleet.until(POD, "phoenix", is_ready)
    fleet.connect(False)
    container_id = first(before)["containerID"].partition("://")[2]
    await fleet.node.runtime.stop_container(container_id, 0)

    async def was_restarted() -> bool:
        return any(c.attempt == 1 for c in await fleet.node.runtime.list_containers())

    await eventually(was_restarted)
    assert first(await fleet.get(POD, "phoenix"))["containerID"] == first(before)["containerID"]
    fleet.connect(True)
    after = await fleet.until(POD, "phoenix", lambda found: first(found).get("restartCount") == 1 and is_ready(found))
    assert first(after)["lastState"]["terminated"]["exitCode"] == 137
    assert await fleet.until_event("phoenix", "Started")


async def test_pod_deleted_while_edgecore_was_away_is_ended(fleet: World) -> None:
    await fleet.pod("gone", {"containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1})
    await fleet.until(POD, "gone", is_ready)
    fleet.connect(False)
    await fleet.delete(POD, "gone")
    await fleet.restart_edge(online=True)
    await fleet.until_gone(POD, "gone")
    await fleet.until_node_runs_nothing("gone")


async def test_events_made_offline_arrive_later(fleet: World) -> None:
    await fleet.pod("quiet", {"containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1})
    await fleet.until(POD, "quiet", is_ready)
    await fleet.until_event("quiet", "Started")
    fleet.connect(False)
    assert fleet.node.edged._parts is not None
    pod = fleet.node.edged._parts.pods.list()[0]
    for _ in range(3):
        fleet.node.edged._parts.events.pod(Pod(pod), "Warning", "Offline", "told later")
    await asyncio.sleep(1.5)
    assert not [e for e in await fleet.events("quiet") if e[0] == "Offline"]
    fleet.connect(True)
    await fleet.until_event("quiet", "Offline")
    assert [e[2] for e in await fleet.events("quiet") if e[0] == "Offline"] == [3]
