"""DeviceStatuses: made for each device, written as its node reports (spec 04 §2.4, §2.5)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from kubeedge.cloudcore.devicecontroller.device import Device
from kubeedge.cloudcore.devicecontroller.reports import Report, merged
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, KubeApi, is_passing
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.kinds import DEVICE, DEVICE_STATUS
from kubeedge.kube.object import Object, is_newer
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

# Calls at a time: the API commits what comes together. 1,000 statuses took 3.4 s with 4 and 1.1 s with 16.
WRITERS = 16
CALL_TIMEOUT_S = 30.0
RETRY_S = 1.0
# Reports of one device that wait to be confirmed. Of more, which only come when the API is away for long, the oldest
# stay unconfirmed: their node repeats them.
MAX_UNCONFIRMED = 64

writes = Counter("kubeedge_devicecontroller_status_writes_total", "DeviceStatuses written", labels=("operation",))
failures = Counter("kubeedge_devicecontroller_status_failures_total", "Writes of DeviceStatuses that failed")

Key = tuple[str, str]
Written = Callable[[], None]


class _Pending:
    """What is to be written about one device, and whom to tell when it is."""

    __slots__ = ("node", "report", "written")

    def __init__(self) -> None:
        self.report = Report()
        self.written: deque[Written] = deque(maxlen=MAX_UNCONFIRMED)
        # In whose name a twin report is written where nodes are checked by the API, else empty.
        self.node = ""


class Statuses:
    """Writes DeviceStatuses, one call at a time for each; what comes meanwhile goes into the next call together.

    What cannot be written because the API is away waits, the latest value of each property only.
    """

    def __init__(self, api: KubeApi, devices: Informer, statuses: Informer) -> None:
        self._api = api
        self._devices = devices
        self._statuses = statuses
        self._pending: dict[Key, _Pending] = {}
        self._busy: set[Key] = set()
        # Whose writes the API refuses; the log has it.
        self._refused: set[Key] = set()
        self._jobs: asyncio.Queue[Key] = asyncio.Queue()
        # Written by us and not yet seen by the informer: its version, and the twins as they are since then.
        self._ahead: dict[Key, tuple[str, list[dict[str, Any]]]] = {}
        devices.on_event(self._on_device)
        statuses.on_event(self._on_status)

    async def run(self) -> None:
        """Write until cancelled."""
        # A status that is only not in the cache yet is not made once more.
        for informer in (self._devices, self._statuses):
            await informer.synced()
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._work())

    def report(self, device: Device, report: Report, node: str, written: Written) -> None:
        """Have a report written; written is called once it is, or when it is clear that it never will be."""
        pending = self._want((device.namespace, device.name))
        pending.report.add(report)
        pending.written.append(written)
        pending.node = node or pending.node

    def __len__(self) -> int:
        return len(self._pending)

    def _want(self, key: Key) -> _Pending:
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending()
            if key not in self._busy:
                self._jobs.put_nowait(key)
        return pending

    def _on_device(self, type_: EventType, new: Object, old: Object | None) -> None:
        if type_ == "ADDED" and self._statuses.get(new.namespace, new.name) is None:
            self._want((new.namespace, new.name))
        elif type_ == "DELETED":
            self._ahead.pop((new.namespace, new.name), None)
            self._refused.discard((new.namespace, new.name))

    def _on_status(self, type_: EventType, new: Object, old: Object | None) -> None:
        key = (new.namespace, new.name)
        ahead = self._ahead.get(key)
        if ahead is not None and (type_ == "DELETED" or not is_newer(ahead[0], new.resource_version)):
            del self._ahead[key]
        if type_ == "DELETED" and self._devices.get(*key) is not None:
            self._want(key)

    async def _work(self) -> None:
        while True:
            key = await self._jobs.get()
            pending = self._pending.pop(key, None)
            if pending is None:
                continue
            self._busy.add(key)
            try:
                is_done = await self._write(key, pending)
            finally:
                self._busy.discard(key)
            if is_done:
                for written in pending.written:
                    written()
                if key in self._pending:
                    self._jobs.put_nowait(key)
            else:
                self._put_back(key, pending)
                asyncio.get_running_loop().call_later(RETRY_S, self._jobs.put_nowait, key)

    def _put_back(self, key: Key, earlier: _Pending) -> None:
        later = self._pending.get(key)
        if later is not None:
            earlier.report.add(later.report)
            earlier.written += later.written
            earlier.node = later.node or earlier.node
        self._pending[key] = earlier

    async def _write(self, key: Key, pending: _Pending) -> bool:
        """Write what is pending; False when it has to be tried again."""
        object = self._devices.get(*key)
        if object is None:
            return True
        device = Device(object)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                if self._statuses.get(*key) is None and key not in self._ahead:
                    await self._create(device)
                if pending.written:
                    await self._patch(device, pending)
        except (ApiError, ApiUnavailableError, TimeoutError) as error:
            failures.inc()
            is_missing = isinstance(error, ApiError) and error.code == 404
            is_refused = not is_missing and not is_passing(error)
            if is_missing:
                # Deleted by hand, or with its namespace, since the cache was told: it is made again.
                self._ahead.pop(key, None)
            log.log(
                logging.WARNING if is_refused and key not in self._refused else logging.DEBUG,
                "device status not written device=%s reason=%s",
                device.id,
                str(error) or type(error).__name__,
            )
            if is_refused:
                self._refused.add(key)
            return is_refused
        self._refused.discard(key)
        return True

    async def _create(self, device: Device) -> None:
        document = {
            "kind": DEVICE_STATUS.kind,
            "apiVersion": DEVICE_STATUS.api_version,
            "metadata": {
                "name": device.name,
                "namespace": device.namespace,
                "ownerReferences": [
                    {
                        "apiVersion": DEVICE.api_version,
                        "kind": DEVICE.kind,
                        "name": device.name,
                        "uid": device.object.uid,
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": {},
            "status": {"extensions": None},
        }
        try:
            raw = await self._api.create(DEVICE_STATUS, device.namespace, orjson.dumps(document))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Another replica was faster than our cache: what it has written must not be written over.
            raw = await self._api.get(DEVICE_STATUS, device.namespace, device.name)
        else:
            writes.inc("create")
        made = Object.parse(raw)
        self._ahead[device.namespace, device.name] = (made.resource_version, _twins_of(made))

    async def _patch(self, device: Device, pending: _Pending) -> None:
        key = (device.namespace, device.name)
        report = pending.report
        status: dict[str, Any] = dict(report.state)
        properties = {each.name for each in device.properties}
        if any(name in properties for sides in (report.reported, report.observed) for name in sides):
            status["twins"] = merged(self._twins(key), report, properties)
        if not status:
            return
        raw = await self._api.patch(
            DEVICE_STATUS, *key, orjson.dumps({"status": status}), MERGE_PATCH, as_node=pending.node
        )
        writes.inc("patch")
        version = Object.parse(raw).resource_version
        known = self._statuses.get(*key)
        if "twins" in status and (known is None or is_newer(version, known.resource_version)):
            self._ahead[key] = (version, status["twins"])

    def _twins(self, key: Key) -> list[dict[str, Any]]:
        ahead = self._ahead.get(key)
        if ahead is not None:
            return ahead[1]
        object = self._statuses.get(*key)
        return _twins_of(object) if object is not None else []


def _twins_of(status: Object) -> list[dict[str, Any]]:
    twins = (status.data().get("status") or {}).get("twins")
    return twins if isinstance(twins, list) else []
