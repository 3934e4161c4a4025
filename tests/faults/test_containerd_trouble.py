"""A containerd that hangs, is gone, or cannot give a pod its network: told, survived, and nobody else disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kubeedge.kube.kinds import POD
from tests.containerd import Containerd
from tests.faults.engines import engine_in, site_on
from tests.sites import Object, Site, container_status, is_running, pod, until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

RECOVERY_TIMEOUT_S = 60
# Longer than a runtime may be silent before it counts as stuck.
HANGING_S = 12


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containerd]:
    """A containerd that nobody else needs."""
    async with engine_in(tmp_path_factory.mktemp("troubled")) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(engine: Containerd, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A site whose node runs its pods there, with one that must not notice anything."""
    async with site_on(engine, tmp_path_factory.mktemp("troubled-site")) as site:
        await site.create(POD, sleeper("steady"))
        await site.pod_is("steady", is_running)
        yield site


def sleeper(name: str) -> Object:
    """Return a pod that sleeps."""
    container = {
        "name": "main",
        "image": "busybox:1.36",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 999 & wait"],
    }
    return pod(name, container, automountServiceAccountToken=False)


async def runs_undisturbed(world: Site, before: Object) -> None:
    steady = await world.pod_is("steady", is_running)
    assert container_status(steady)["containerID"] == container_status(before)["containerID"]
    assert container_status(steady)["restartCount"] == 0
    assert "Traceback" not in world.edgecore.log_path.read_text(encoding="utf-8")


async def remove(world: Site, name: str) -> None:
    await world.delete(POD, name)
    await world.gone(POD, name, RECOVERY_TIMEOUT_S)


async def test_a_containerd_that_hangs_only_delays(world: Site, engine: Containerd) -> None:
    before, log = await world.pod("steady"), world.edge_log()
    engine.freeze()
    try:
        await world.create(POD, sleeper("late"))
        await log.says("runtime does not answer")
        await asyncio.sleep(HANGING_S)
        assert (await world.pod("late"))["status"]["phase"] == "Pending"
    finally:
        engine.thaw()
    late = await world.pod_is("late", is_running, RECOVERY_TIMEOUT_S)
    assert container_status(late)["restartCount"] == 0
    await runs_undisturbed(world, before)
    await remove(world, "late")


async def test_a_containerd_that_is_gone_only_delays(world: Site, engine: Containerd) -> None:
    before, log = await world.pod("steady"), world.edge_log()
    await asyncio.to_thread(engine.kill)
    try:
        await world.create(POD, sleeper("later"))
        # That it cannot be listed may have been said before, when it hung.
        await log.says("pod waits for the runtime", "pod=default/later")
    finally:
        await asyncio.to_thread(engine.start)
    await world.pod_is("later", is_running, RECOVERY_TIMEOUT_S)
    await runs_undisturbed(world, before)
    await remove(world, "later")


async def test_a_network_that_fails_is_told_and_tried_again(world: Site, engine: Containerd) -> None:
    before = await world.pod("steady")
    plugins = engine.network / "10-bridge.conflist"
    plugins.write_text(plugins.read_text().replace('"bridge",', '"no-such-plugin",', 1))
    try:
        # containerd reads the folder when it changes.
        await asyncio.sleep(1)
        await world.create(POD, sleeper("unconnected"))
        event = await world.event("unconnected", "FailedCreatePodSandBox", "no-such-plugin")
        assert event["type"] == "Warning"
        waiting = await world.pod("unconnected")
        assert waiting["status"]["phase"] == "Pending"
        assert container_status(waiting)["state"]["waiting"]["reason"] == "ContainerCreating"
    finally:
        engine.write_network()
    await world.pod_is("unconnected", is_running, RECOVERY_TIMEOUT_S)
    await runs_undisturbed(world, before)
    await remove(world, "unconnected")
    await until(lambda: _only_steady(world), otherwise=lambda: world.edgecore.last_words(40))


async def _only_steady(world: Site) -> bool:
    return [one.pod for one in await world.containers.running()] == ["steady"]
