"""Events: what controllers tell users about objects, repeated ones counted instead of written again."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from kubeedge import metrics
from kubeedge.apiserver.controllers.views import Metadata
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, Kind, KubeApi
from kubeedge.kube.instants import micro_timestamp, timestamp
from kubeedge.kube.kinds import EVENT, POD

log = logging.getLogger(__name__)

# Events are a courtesy: when the API cannot take them as fast as they come, the newest are dropped and counted.
MAX_WAITING = 1_000
# How many different events are remembered for counting repetitions, and for how long.
MAX_REMEMBERED = 2_048
REMEMBERED_S = 600.0

_dropped = metrics.Counter("kubeedge_controller_events_dropped_total", "Events given up", ("reason",))


@dataclass(slots=True)
class _Seen:
    name: str
    count: int
    at_s: float


class Recorder:
    """Writes events from one task, in order; event() itself never waits."""

    def __init__(self, api: KubeApi, *, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._waiting: deque[tuple[str, str, tuple[object, ...], float, dict[str, Any]]] = deque()
        self._wake = asyncio.Event()
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()
        self._instance = f"default-scheduler-{socket.gethostname()}"
        self._last_ns = 0

    def event(
        self, component: str, kind: Kind, about: Metadata, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """Tell users something about an object in the name of component.

        reason is one word in CamelCase; the same event within REMEMBERED_S raises the count of the first.
        """
        self._record(component, kind, about, reason, message, "Warning" if warning else "Normal", "")

    def scheduling(self, about: Metadata, reason: str, message: str, action: str, *, warning: bool = False) -> None:
        """Tell users about the placement of a pod, in the newer form that schedulers use."""
        self._record("default-scheduler", POD, about, reason, message, "Warning" if warning else "Normal", action)

    def _record(
        self, component: str, kind: Kind, about: Metadata, reason: str, message: str, type_: str, action: str
    ) -> None:
        if len(self._waiting) >= MAX_WAITING:
            _dropped.inc("queue full")
            return
        now_s = self._clock()
        namespace = about.namespace or "default"
        involved: dict[str, Any] = {"kind": kind.kind, "name": about.name, "uid": about.uid}
        if about.namespace:
            involved["namespace"] = about.namespace
        involved["apiVersion"] = kind.api_version
        if about.resource_version:
            involved["resourceVersion"] = about.resource_version
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": type_,
            "reportingComponent": component,
        }
        if action:
            body |= {
                "eventTime": micro_timestamp(now_s),
                "action": action,
                "source": {},
                "reportingInstance": self._instance,
            }
        else:
            at = timestamp(now_s)
            body |= {"source": {"component": component}, "firstTimestamp": at, "lastTimestamp": at, "count": 1}
        identity = (component, kind.kind, about.uid, about.name, reason, message, type_)
        self._waiting.append((namespace, self._unique_name(about.name, now_s), identity, now_s, body))
        self._wake.set()

    def _unique_name(self, name: str, now_s: float) -> str:
        self._last_ns = max(self._last_ns + 1, int(now_s * 1e9))
        return f"{name}.{self._last_ns:x}"

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            while self._waiting:
                await self._write(*self._waiting.popleft())
            self._wake.clear()
            await self._wake.wait()

    async def _write(
        self, namespace: str, name: str, identity: tuple[object, ...], now_s: float, body: dict[str, Any]
    ) -> None:
        try:
            seen = self._seen.get(identity)
            if (
                seen is not None
                and now_s - seen.at_s < REMEMBERED_S
                and await self._count(namespace, seen, now_s, body)
            ):
                self._seen.move_to_end(identity)
                return
            body["metadata"]["name"] = name
            await self._api.create(EVENT, namespace, orjson.dumps(body))
            self._seen[identity] = _Seen(name, 1, now_s)
            self._seen.move_to_end(identity)
            if len(self._seen) > MAX_REMEMBERED:
                self._seen.popitem(last=False)
        except (ApiError, ApiUnavailableError) as error:
            # Most often the namespace is being deleted.
            _dropped.inc("refused")
            log.debug("event not written reason=%s namespace=%s error=%s", body["reason"], namespace, error)

    async def _count(self, namespace: str, seen: _Seen, now_s: float, body: dict[str, Any]) -> bool:
        """Raise the count of an event that stands in the API; tell whether it still did."""
        count = seen.count + 1
        if "action" in body:
            patch: dict[str, Any] = {"series": {"count": count, "lastObservedTime": micro_timestamp(now_s)}}
        else:
            patch = {"count": count, "lastTimestamp": timestamp(now_s)}
        try:
            await self._api.patch(EVENT, namespace, seen.name, orjson.dumps(patch), MERGE_PATCH)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        seen.count, seen.at_s = count, now_s
        return True
