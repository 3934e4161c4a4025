"""DeviceTwin: takes what is said of devices, stores it in groups, and answers (spec 04 §3)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from kubeedge import resources, topics
from kubeedge._speedups.twinrequest import NO_SYNC, Request, RequestError, parse
from kubeedge._speedups.twinupdate import report, sync
from kubeedge.bus import Bus, Done
from kubeedge.edgecore.devicetwin import attributes, payloads, rows
from kubeedge.edgecore.devicetwin.batch import Batch, Devices, Publication
from kubeedge.edgecore.devicetwin.membership import Membership
from kubeedge.edgecore.devicetwin.payloads import PayloadError
from kubeedge.edgecore.devicetwin.reports import Reports
from kubeedge.edgecore.devicetwin.troubles import Troubles, dropped
from kubeedge.message import EnvelopeError, Message, content_bytes, new_id
from kubeedge.metrics import Counter
from kubeedge.store.database import Database, StoreError

log = logging.getLogger(__name__)

MODULE = "twin"
GROUP = "twin"
EVENT_BUS = "eventbus"
# The source of objects that MetaManager has stored.
META = "meta"

# Inputs that go into one transaction at most: what is left over waits for no more than a few milliseconds of work.
MAX_BATCH = 256
# Inputs that may wait. Those that somebody keeps until they are done are bounded by that somebody's window.
CAPACITY = 8192
# Marks of what the cloud has heard are taken away this long after: a property that changes often is marked once.
SETTLE_MS = 60_000
SWEEP_S = 60.0

NOT_FOUND = "update rejected due to the device is not existed"
BAD_REQUEST_CODE = 400
NOT_FOUND_CODE = 404
INTERNAL_ERROR_CODE = 500
# In upstream's answer to a request that cannot be read, the place of the device is empty (spec 04 Q3).
NO_DEVICE = ""
STATES = frozenset(("online", "offline", "ok", "unknown", "unhealthy"))
ONLINE = frozenset(("online", "ok"))

updates = Counter("kubeedge_devicetwin_updates_total", "Updates of twins that were stored")
lost = Counter("kubeedge_devicetwin_lost_total", "Inputs whose changes could not be stored")

Input = tuple[Callable[[Batch], None], Done | None]


def wall_clock_ms() -> int:
    """Return the time of now in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class DeviceTwin:
    """The module `twin`, group `twin`.

    What comes in while a transaction is on its way to the disk is handled together when that is done: one writes, the
    others gather. An input is done, and answered, when it is on disk.
    """

    def __init__(self, bus: Bus, database: Database, node: str, *, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        """database has the tables of schema.SCHEMA and is open while run() runs. node is the name of this node."""
        self._bus = bus
        self._database = database
        self._node = node
        self._now_ms = now_ms
        self._devices: Devices = {}
        self._reports = Reports(bus, node, self._devices, now_ms)
        self._troubles = Troubles()
        self._membership = Membership(node, self._devices, now_ms, self._reports.removed, self._troubles)
        self._state_marks: set[str] = set()
        self._queue: deque[Input] = deque()
        self._wake = asyncio.Event()
        bus.register(MODULE, GROUP, self.receive)
        bus.register_topics(MODULE, self.receive_publication)

    async def run(self) -> None:
        """Read what is stored and handle inputs until cancelled. Raises StoreError when it cannot be read."""
        loaded = rows.load(self._database)
        self._devices.update(loaded.devices)
        self._state_marks |= loaded.unsent_states
        self._reports.recall(loaded.devices.values(), loaded.unsent_states)
        # The connection may have come first.
        self._reports.pump()
        log.info("devices read count=%d", len(self._devices))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reports.run())
                group.create_task(self._sweep())
                group.create_task(self._work())
        finally:
            # What is confirmed now need not be sent again after a restart. The database writes what is queued.
            self._clear_marks(self._now_ms() + 1)

    # Inputs

    def receive_publication(self, topic: str, payload: bytes, done: Done | None) -> None:
        """Take a publication of a device or node topic; done is called when it is stored or needs not be."""
        if (found := topics.of_device(topic)) is not None:
            work = self._of_device(*found, payload)
        elif (found := topics.of_node(topic)) is not None:
            work = self._of_node(found[1], payload)
        else:
            work = None
        if work is None:
            # A topic without a namespace is among them: which one to take nobody can say (spec 04 Q5).
            self._troubles.drop("unknown topic", topic, "no such action, or a device without its namespace")
            if done is not None:
                done()
            return
        self._put(work, done)

    def receive(self, message: Message) -> None:
        """Take a message of the cloud or of EdgeHub (spec 04 §3.2)."""
        if message.parent_id:
            self._reports.confirmed(message.parent_id)
            return
        try:
            content = content_bytes(message)
        except EnvelopeError as error:
            self._troubles.drop("unreadable message", message.resource, str(error))
            return
        resource = message.resource
        if resource == "node/connection":
            self._connection(content)
        elif resource.endswith("membership/detail"):
            self._put(partial(self._change_membership, self._membership.replace, content), None)
        elif resource.endswith("membership"):
            self._put(partial(self._change_membership, self._membership.change, content), None)
        elif resource.startswith("device/") and resource.endswith(f"/{topics.TWIN_CLOUD_UPDATED}"):
            # Namespace and name, where upstream takes the namespace alone (spec 04 Q9).
            device_id = resource[len("device/") : -len(topics.TWIN_CLOUD_UPDATED) - 1]
            self._put(partial(self._sync, device_id, content), None)
        elif resource.startswith("device/") and "updated" in message.operation:
            self._put(partial(self._change_attributes, resource[len("device/") :], content), None)
        elif message.source == META and resources.parse(resource).type == "device":
            follow = partial(self._membership.follow, message.operation == "delete")
            self._put(partial(self._change_membership, follow, content), None)
        else:
            self._troubles.drop("unknown message", resource, f"operation {message.operation} is not known")

    def _of_device(self, device_id: str, action: str, payload: bytes) -> Callable[[Batch], None] | None:
        if action == topics.TWIN_UPDATE:
            # Read at once: that time passes anyway while others are written.
            try:
                return partial(self._update, device_id, parse(payload))
            except RequestError as error:
                return partial(self._refuse, device_id, error)
        if action == topics.TWIN_GET:
            return partial(self._get, device_id, payload)
        if action == topics.TWIN_CLOUD_UPDATED:
            return partial(self._sync, device_id, payload)
        if action == topics.STATE_UPDATE:
            return partial(self._change_state, device_id, payload)
        if action == topics.UPDATED:
            return partial(self._change_attributes, device_id, payload)
        return None

    def _of_node(self, action: str, payload: bytes) -> Callable[[Batch], None] | None:
        if action == topics.MEMBERSHIP_GET:
            return partial(self._list, payload)
        if action == topics.MEMBERSHIP_UPDATED:
            return partial(self._change_membership, self._membership.change, payload)
        if action == topics.MEMBERSHIP_DETAIL_RESULT:
            return partial(self._change_membership, self._membership.replace, payload)
        return None

    def _put(self, work: Callable[[Batch], None], done: Done | None) -> None:
        if len(self._queue) >= CAPACITY and done is None:
            dropped.inc("queue is full")
            return
        self._queue.append((work, done))
        self._wake.set()

    def _connection(self, content: bytes) -> None:
        if content == b"cloud_connected":
            self._reports.connected()
        elif content == b"cloud_disconnected":
            self._reports.disconnected()

    # Groups

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._handle_group()

    async def _handle_group(self) -> None:
        batch = Batch()
        count = min(len(self._queue), MAX_BATCH)
        for _ in range(count):
            work, done = self._queue.popleft()
            try:
                work(batch)
            except Exception:
                # A fault of ours in one input must not cost the others.
                dropped.inc("handler failed")
                log.exception("input not handled")
            if done is not None:
                batch.dones.append(done)
        failure = None
        if not batch.is_empty:
            self._reports.held = batch.touched
            try:
                batch.stored(await self._database.write(batch.writing().write))
            except Exception as error:
                # Also a value that SQLite cannot take: what is in memory must not differ from what is stored.
                failure = error.reason if isinstance(error, StoreError) else repr(error)
                log.error("changes of devices not stored inputs=%d reason=%s", count, failure)
                lost.inc(by=count)
                self._state_marks.difference_update(batch.state_marks)
                self._read_again(batch.touched)
            finally:
                self._reports.held = frozenset()
        try:
            for topic, payload in batch.publications(failure):
                self._bus.publish(EVENT_BUS, topic, payload)
            if failure is None:
                self._report(batch)
        except Exception:
            # A fault of a receiver must not end all answers.
            dropped.inc("receiver failed")
            log.exception("answers not handed on")
        for done in batch.dones:
            done()

    def _report(self, batch: Batch) -> None:
        for device_id in batch.news:
            self._reports.changed(device_id)
        for device_id, payload in batch.states.items():
            self._reports.state_changed(device_id, payload)
        self._reports.pump()

    def _read_again(self, device_ids: set[str]) -> None:
        """Let memory hold of these devices what the database does."""
        try:
            for device_id in device_ids:
                loaded = rows.load(self._database, device_id)
                self._devices.pop(device_id, None)
                self._devices.update(loaded.devices)
                self._reports.recall(loaded.devices.values(), loaded.unsent_states)
        except StoreError as error:
            # Memory stays ahead; the next transaction writes whole rows, so that they meet again.
            log.error("devices cannot be read again reason=%s", error.reason)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._clear_marks(self._now_ms() - SETTLE_MS)

    def _clear_marks(self, before_ms: int) -> None:
        """Forget the marks of what the cloud has had since before_ms, without waiting for it to be stored."""
        marks = [(twin.device, twin.name) for device in self._devices.values() for twin in device.settled(before_ms)]
        states = {one for one in self._state_marks - self._reports.held if self._reports.is_state_settled(one)}
        self._state_marks -= states
        marks += [(device_id, "") for device_id in states]
        if marks:
            try:
                future = self._database.submit(partial(rows.delete_marks, marks))
            except StoreError:
                return
            # One that stays only means a report more after a restart.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    # Twins

    def _update(self, device_id: str, request: Request, batch: Batch) -> None:
        device = self._devices.get(device_id)
        now_ms = self._now_ms()
        topic = topics.device_topic(device_id, topics.TWIN_UPDATE_RESULT)
        if device is None:
            self._troubles.refuse("update of an unknown device", device_id, NOT_FOUND)
            batch.say(topic, payloads.error(request.event_id, now_ms, NOT_FOUND_CODE, NOT_FOUND))
            return
        outcome = report(device, request, now_ms, new_id(), batch.changes)
        if outcome.reason:
            self._troubles.refuse("update", device_id, outcome.reason)
            batch.say(topic, payloads.error(request.event_id, now_ms, BAD_REQUEST_CODE, outcome.reason))
            return
        updates.inc()
        batch.tell(topic, outcome.result, partial(self._not_stored, topic, request.event_id))
        batch.take(device_id, outcome)

    def _not_stored(self, topic: str, event_id: str, reason: str) -> Publication:
        return topic, payloads.error(event_id, self._now_ms(), INTERNAL_ERROR_CODE, reason)

    def _refuse(self, device_id: str, error: RequestError, batch: Batch) -> None:
        """Answer a request that cannot be read on the device's own topic, and where upstream does (spec 04 Q3)."""
        self._troubles.refuse("update", device_id, error.reason)
        now_ms = self._now_ms()
        for place, event_id in ((NO_DEVICE, ""), (device_id, error.event_id)):
            topic = topics.device_topic(place, topics.TWIN_UPDATE_RESULT)
            batch.say(topic, payloads.error(event_id, now_ms, BAD_REQUEST_CODE, error.reason))

    def _get(self, device_id: str, payload: bytes, batch: Batch) -> None:
        batch.say_later(partial(self._twins, device_id, payload))

    def _twins(self, device_id: str, payload: bytes) -> Publication:
        topic = topics.device_topic(device_id, topics.TWIN_GET_RESULT)
        now_ms = self._now_ms()
        try:
            event_id = payloads.read_event_id(payload)
        except PayloadError as error:
            return topic, payloads.error("", now_ms, BAD_REQUEST_CODE, _unreadable("twin", payload, error))
        device = self._devices.get(device_id)
        if device is None:
            reason = f"Device {device_id} not found while getting twin"
            return topic, payloads.error(event_id, now_ms, NOT_FOUND_CODE, reason)
        return topic, device.twins_payload(event_id, now_ms)

    def _sync(self, device_id: str, payload: bytes, batch: Batch) -> None:
        """Take twins from the cloud (spec 04 §3.6, deal type 1)."""
        device = self._devices.get(device_id)
        if device is None:
            self._troubles.refuse("sync of an unknown device", device_id, NOT_FOUND)
            return
        try:
            request = parse(payload)
        except RequestError as error:
            self._refuse(device_id, RequestError(NO_SYNC, error.event_id), batch)
            return
        outcome = sync(device, request, self._now_ms(), new_id(), batch.changes)
        if outcome.reason:
            self._refuse(device_id, RequestError(outcome.reason, request.event_id), batch)
            return
        batch.take(device_id, outcome)

    # Devices

    def _change_membership(self, change: Callable[[bytes, Batch], None], payload: bytes, batch: Batch) -> None:
        try:
            change(payload, batch)
        except PayloadError as error:
            self._troubles.refuse("membership", self._node, str(error))

    def _list(self, payload: bytes, batch: Batch) -> None:
        batch.say_later(partial(self._members, payload))

    def _members(self, payload: bytes) -> Publication:
        topic = topics.node_topic(self._node, topics.MEMBERSHIP_GET_RESULT)
        now_ms = self._now_ms()
        try:
            event_id = payloads.read_event_id(payload)
        except PayloadError as error:
            reason = _unreadable("get membership", payload, error)
            return topic, payloads.error("", now_ms, BAD_REQUEST_CODE, reason)
        return topic, payloads.membership(event_id, now_ms, self._devices.values())

    def _change_state(self, device_id: str, payload: bytes, batch: Batch) -> None:
        """Store and tell the state of a device; what is wrong is not answered (spec 04 §3.9)."""
        try:
            state = payloads.member(payloads.read_object(payload), "state", str, "")
        except PayloadError as error:
            self._troubles.refuse("state", device_id, str(error))
            return
        device = self._devices.get(device_id)
        if device is None or state.lower() not in STATES:
            self._troubles.refuse("state", device_id, NOT_FOUND if device is None else f"state {state:.40} is unknown")
            return
        now_ms = self._now_ms()
        device.state = state
        is_online = state.lower() in ONLINE
        device.last_online = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms // 1000)) if is_online else ""
        told = payloads.state(device, new_id(), now_ms)
        batch.touched.add(device_id)
        batch.statements.append(rows.update_state(device))
        batch.states[device_id] = told
        if device_id not in self._state_marks:
            self._state_marks.add(device_id)
            batch.state_marks.append(device_id)
        batch.tell(topics.device_topic(device_id, topics.STATE_UPDATE_RESULT), told)

    def _change_attributes(self, device_id: str, payload: bytes, batch: Batch) -> None:
        try:
            document = payloads.read_object(payload)
            event_id = payloads.member(document, "event_id", str, "")
            wanted = payloads.member(document, "attributes", dict, {})
            device = self._devices.get(device_id)
            if device is None:
                raise PayloadError(NOT_FOUND)
            changed = attributes.change(device, wanted, batch, is_whole=False)
        except PayloadError as error:
            self._troubles.refuse("attributes", device_id, str(error))
            return
        if changed:
            told = payloads.attributes(event_id, self._now_ms(), changed)
            batch.tell(topics.device_topic(device_id, topics.UPDATED), told)


def _unreadable(what: str, payload: bytes, error: PayloadError) -> str:
    return f"Unmarshal {what} info {payload.decode(errors='replace')} failed , err: {error}"
