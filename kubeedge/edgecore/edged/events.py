"""Events of the node's pods, told to the cloud: counted, limited, kept while the cloud cannot be reached.

Upstream's cloud makes an Event of the message `insert <ns>/event/<name>` and overwrites it for `update`, in the default
configuration and whatever its DynamicController does (spec 03 §2.3, §2.8). It never answers, so what was sent is taken
as told; the same event a second time goes out as `update` of the first with a higher count.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from kubeedge.edgecore.edged import clock
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.kube.instants import timestamp, unix_time
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

# Different events that the node remembers and keeps while it is offline; the oldest are dropped first.
MAX_KEPT = 512
# After this long an event that comes again is a new one (the API forgets events after an hour by itself).
MAX_AGE_S = 3000.0
# Repetitions are gathered this long before the count goes out, so that a crash loop does not fill the link.
GATHER_S = 1.0
REPEAT_PAUSE_S = 15.0
# For one object, as Kubernetes limits it: this many at once, then one in that many seconds.
BURST = 25
REFILL_S = 300.0
MAX_MESSAGE = 1024

COMPONENT = "kubelet"

_recorded = Counter("kubeedge_edged_events_total", "Events of pods", ("type", "reason"))
_dropped = Counter("kubeedge_edged_events_dropped_total", "Events that were not told", ("why",))


class EventClient(Protocol):
    """Sends an event to the cloud; MetaClient is one."""

    def event(self, operation: str, event: Object) -> None: ...


class _Entry:
    """One event, however often it came. sent_count 0: the cloud has not been told yet."""

    __slots__ = ("event", "not_before", "sent_count")

    def __init__(self, event: Object) -> None:
        self.event = event
        self.sent_count = 0
        self.not_before = 0.0

    @property
    def is_due(self) -> bool:
        return bool(self.event["count"] > self.sent_count)


class _Bucket:
    """Tokens of one object."""

    __slots__ = ("level", "seen_at")

    def __init__(self, now: float) -> None:
        self.level = float(BURST)
        self.seen_at = now

    def take(self, now: float) -> bool:
        self.level = min(float(BURST), self.level + max(now - self.seen_at, 0.0) / REFILL_S)
        self.seen_at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Events:
    """Records events at once and sends them from one task. now gives Unix time in seconds."""

    def __init__(self, client: EventClient, node_name: str, now: Callable[[], float]) -> None:
        self._client = client
        self._node_name = node_name
        self._now = now
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._buckets: dict[str, _Bucket] = {}
        self._wake = asyncio.Event()
        self._online = False
        self._sequence = 0

    def pod(self, pod: Pod, type_: str, reason: str, message: str, field_path: str = "") -> None:
        """Record an event of a pod; field_path names a container (`spec.containers{main}`)."""
        self._record(
            {
                "kind": "Pod",
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
                "apiVersion": "v1",
                "resourceVersion": str(pod.metadata.get("resourceVersion") or ""),
                **({"fieldPath": field_path} if field_path else {}),
            },
            type_,
            reason,
            message,
        )

    def node(self, type_: str, reason: str, message: str) -> None:
        """Record an event of the node; like Kubernetes' node agent it uses the name as uid."""
        self._record({"kind": "Node", "name": self._node_name, "uid": self._node_name}, type_, reason, message)

    def _record(self, about: Object, type_: str, reason: str, message: str) -> None:
        message = message[:MAX_MESSAGE]
        now = self._now()
        _recorded.inc(type_, reason)
        key = (about["uid"], about.get("fieldPath", ""), type_, reason, message)
        entry = self._entries.get(key)
        if entry is not None and now - unix_time(entry.event["firstTimestamp"], 0.0) > MAX_AGE_S:
            del self._entries[key]
            entry = None
        if entry is None:
            bucket = self._buckets.setdefault(about["uid"], _Bucket(now))
            if not bucket.take(now):
                _dropped.inc("limit")
                return
            entry = self._entries[key] = _Entry(self._new(about, type_, reason, message, now))
            self._drop_oldest()
        else:
            entry.event["count"] += 1
            entry.event["lastTimestamp"] = timestamp(now)
            self._entries.move_to_end(key)
        self._wake.set()

    def _drop_oldest(self) -> None:
        while len(self._entries) > MAX_KEPT:
            _, entry = self._entries.popitem(last=False)
            if not entry.sent_count:
                _dropped.inc("full")

    def _new(self, about: Object, type_: str, reason: str, message: str, now: float) -> Object:
        self._sequence += 1
        stamp = timestamp(now)
        # Unique also for two events of the same nanosecond, and over restarts.
        name = f"{about['name']}.{int(now * clock.NANOSECOND) + self._sequence:x}"
        return {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": about.get("namespace") or "default"},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "source": {"component": COMPONENT, "host": self._node_name},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": type_,
            "eventTime": None,
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node_name,
        }

    def forget_pod(self, uid: str) -> None:
        """A pod is gone: its limit is not needed any more, what was recorded of it is still told."""
        self._buckets.pop(uid, None)

    def connected(self, online: bool) -> None:
        """The cloud can be reached, or not any more."""
        self._online = online
        self._wake.set()

    async def run(self) -> None:
        """Send what was recorded, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(GATHER_S)
            if self._online:
                due_at = self._send_due()
                if due_at is not None:
                    try:
                        async with asyncio.timeout(max(due_at - self._now(), GATHER_S)):
                            await self._wake.wait()
                    except TimeoutError:
                        self._wake.set()

    def _send_due(self) -> float | None:
        """Send what may be sent; return when the next may."""
        now = self._now()
        waits: list[float] = []
        for entry in list(self._entries.values()):
            if not entry.is_due:
                continue
            if entry.not_before > now:
                waits.append(entry.not_before)
                continue
            try:
                self._client.event("update" if entry.sent_count else "insert", entry.event)
            except MetaError as error:
                log.warning("event not sent reason=%s", error.message)
                return now + REPEAT_PAUSE_S
            entry.sent_count = entry.event["count"]
            entry.not_before = now + REPEAT_PAUSE_S
        return min(waits, default=None)
