"""The annotation on a Node that tells which cloudcore it is connected to (spec 01 §3.7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

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
# A cache that says that an annotation is written may be behind another cloudcore, which the node has just left. Once to
# twice this time later it is not.
CACHE_LAG_S = 5.0

# Asked about a node by its name.
Tells = Callable[[str], bool]

failures = Counter("kubeedge_cloudhub_node_annotation_failures_total", "Nodes that could not be annotated")


class Annotator:
    """Writes annotation `cloudcore` with this cloudcore's address on each Node that connects.

    At first the Node may not exist; whoever creates it then sets the same annotation, so failure is no matter. Nodes
    that wait for it are kept once each. A Node that has the annotation as far as is known, as after a restart all have,
    is only looked at once more.
    """

    def __init__(self, api: KubeApi, local_ip: str, is_annotated: Tells, is_connected: Tells) -> None:
        """is_annotated looks into a cache of Nodes; is_connected tells whether a node is connected to us."""
        self._api = api
        self._is_annotated = is_annotated
        self._is_connected = is_connected
        # To be looked at again, those of the present span of CACHE_LAG_S apart.
        self._doubtful: dict[str, None] = {}
        self._settling: dict[str, None] = {}
        self._body = orjson.dumps({"metadata": {"annotations": {"cloudcore": local_ip}}})
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()

    def annotate(self, node: str) -> None:
        """Let node be annotated soon."""
        if self._is_annotated(node):
            self._doubtful[node] = None
        else:
            self._waiting[node] = None
            self._wake.set()

    async def run(self) -> None:
        """Annotate until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._work())
            while True:
                await asyncio.sleep(CACHE_LAG_S)
                settled, self._settling, self._doubtful = self._settling, self._doubtful, {}
                for node in settled:
                    if self._is_connected(node) and not self._is_annotated(node):
                        self._waiting[node] = None
                        self._wake.set()

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
