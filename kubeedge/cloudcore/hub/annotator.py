"""The annotation on a Node that tells which cloudcore it is connected to (spec 01 §3.7)."""

from __future__ import annotations

import asyncio
import logging

import orjson

from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, KubeApi
from kubeedge.kube.kinds import NODE
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

ATTEMPTS = 3
PAUSE_S = 1.0
CALL_TIMEOUT_S = 30.0
# Nodes at a time: after a restart all of them come at once, and nothing waits for the annotation.
WRITERS = 4

failures = Counter("kubeedge_cloudhub_node_annotation_failures_total", "Nodes that could not be annotated")


class Annotator:
    """Writes annotation `cloudcore` with this cloudcore's address on each Node that connects.

    At first the Node may not exist; whoever creates it then sets the same annotation, so failure is no matter. Nodes
    that wait for it are kept once each.
    """

    def __init__(self, api: KubeApi, local_ip: str) -> None:
        self._api = api
        self._body = orjson.dumps({"metadata": {"annotations": {"cloudcore": local_ip}}})
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()

    def annotate(self, node: str) -> None:
        """Let node be annotated soon."""
        self._waiting[node] = None
        self._wake.set()

    async def run(self) -> None:
        """Annotate until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while self._waiting:
                node = next(iter(self._waiting))
                del self._waiting[node]
                await self._annotate(node)
            self._wake.clear()
            await self._wake.wait()

    async def _annotate(self, node: str) -> None:
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._api.patch(NODE, "", node, self._body, MERGE_PATCH)
                return
            except (ApiError, ApiUnavailableError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
        failures.inc()
        log.info("node not annotated node=%s reason=%s", node, reason)
