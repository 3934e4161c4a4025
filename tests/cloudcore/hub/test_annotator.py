"""The annotation that tells which cloudcore a node is connected to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from kubeedge.cloudcore.hub import annotator
from kubeedge.cloudcore.hub.annotator import Annotator
from kubeedge.kube.api import KubeApi
from kubeedge.kube.kinds import NODE

LOCAL_IP = "192.0.2.7"
LAG_S = 0.05
WAIT_S = 5.0


class Known:
    """What the annotator is told about nodes."""

    def __init__(self) -> None:
        self.annotated: set[str] = set()
        self.connected: set[str] = {"e1"}


@asynccontextmanager
async def running(api: KubeApi, known: Known) -> AsyncIterator[Annotator]:
    """Run an annotator beside Node e1."""
    await api.create(NODE, "", b'{"metadata":{"name":"e1"}}')
    made = Annotator(api, LOCAL_IP, known.annotated.__contains__, known.connected.__contains__)
    task = asyncio.ensure_future(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def short_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a cache be behind for a moment only."""
    monkeypatch.setattr(annotator, "CACHE_LAG_S", LAG_S)


async def annotation(api: KubeApi) -> str:
    """Return the annotation of Node e1, empty when it has none."""
    found: str = orjson.loads(await api.get(NODE, "", "e1"))["metadata"].get("annotations", {}).get("cloudcore", "")
    return found


async def test_a_node_that_has_the_annotation_is_not_written_again(api: KubeApi) -> None:
    known = Known()
    known.annotated.add("e1")
    async with running(api, known) as made:
        made.annotate("e1")
        await asyncio.sleep(4 * LAG_S)
        assert await annotation(api) == ""


async def test_a_cache_that_was_behind_is_made_good(api: KubeApi) -> None:
    known = Known()
    known.annotated.add("e1")
    async with running(api, known) as made:
        made.annotate("e1")
        known.annotated.clear()
        for _ in range(int(WAIT_S / LAG_S)):
            if await annotation(api):
                break
            await asyncio.sleep(LAG_S)
        assert await annotation(api) == LOCAL_IP


async def test_a_node_that_has_left_meanwhile_is_left_to_its_new_cloudcore(api: KubeApi) -> None:
    known = Known()
    known.annotated.add("e1")
    async with running(api, known) as made:
        made.annotate("e1")
        known.annotated.clear()
        known.connected.clear()
        await asyncio.sleep(4 * LAG_S)
        assert await annotation(api) == ""
