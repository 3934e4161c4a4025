"""An engine with and without the controllers on it, their times shortened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeedge.apiserver.controllers import Controllers, NodeTimes
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube import kinds
from tests.apiserver.controllers.cluster import Cluster, engine_api, until

CA = b"-----BEGIN CERTIFICATE-----\n"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LocalApi]:
    """An API without controllers."""
    async with engine_api(tmp_path / "store") as made:
        yield made


@pytest.fixture
async def cluster(api: LocalApi) -> AsyncIterator[Cluster]:
    """The API with all controllers; nodes are lost after 0.8 s of silence, orphaned pods go after 0.2 s."""
    times = NodeTimes(
        monitor_period_s=0.05, grace_s=0.8, startup_grace_s=5.0, evictions_per_s=100.0, evict_when_all_are_down=True
    )
    controllers = Controllers(api, ca_pem=CA, node_times=times, quarantine_s=0.2)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(controllers.run())
        inner = tasks.create_task(_hold(api, made := asyncio.get_running_loop().create_future()))
        cluster = await made
        account = lambda: cluster.get(kinds.SERVICE_ACCOUNT, "default")  # noqa: E731
        await until(account)
        yield cluster
        inner.cancel()
        running.cancel()


async def _hold(api: LocalApi, made: asyncio.Future[Cluster]) -> None:
    """Own the tasks of the cluster's nodes, so that all of them end together."""
    async with asyncio.TaskGroup() as tasks:
        made.set_result(Cluster(api, tasks))
        await asyncio.Event().wait()
