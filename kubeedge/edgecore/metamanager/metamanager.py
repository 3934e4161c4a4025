"""The module itself: one consumer that stores, acknowledges and routes (spec 05 §2.3-2.8)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import apsw
import msgspec

from kubeedge import metrics
from kubeedge.bus import Bus
from kubeedge.edgecore.metamanager import keys, rows, tokens
from kubeedge.edgecore.metamanager.cloud import MODULE, Cloud
from kubeedge.edgecore.metamanager.content import failure, identify_content, is_failure, rows_content
from kubeedge.message import EnvelopeError, Message, content_bytes, error_to, response_to
from kubeedge.store.database import Database, StoreError, Work

log = logging.getLogger(__name__)

NAME = "metamanager"
GROUP = "meta"
EDGED = "edged"
# Who takes objects of devices, and the group that upstream gives them.
DMI = "dmi"
TWIN_GROUP = "twin"

# Messages whose rows may share one commit; more wait for the next, so that the first acks are not held up.
MAX_BATCH = 256
# How long edged may take for a volume operation of the CSI driver.
VOLUME_TIMEOUT_S = 60

NOT_CONNECTED = "failed to process remote: not connected"
CONNECTION_LOST = "connection lost between EdgeCore and CloudCore"

# Kinds that edged reads from the store and, where that has nothing, from the cloud.
STORED_FIRST = frozenset({"configmap", "secret", keys.NODE})
# Kinds that the cloud is asked for as long as it is there; the store answers offline.
CLOUD_FIRST = frozenset(
    {"persistentvolume", "persistentvolumeclaim", "volumeattachment", keys.LEASE, "certificatesigningrequest"}
)
DEVICE_TYPES = frozenset({"device", "devicemodel"})
VOLUME_OPERATIONS = frozenset({"createvolume", "deletevolume", "controllerpublishvolume", "controllerunpublishvolume"})

_OPERATIONS = VOLUME_OPERATIONS | {"insert", "update", "patch", "delete", "query", "response", "connect"}

_messages = metrics.Counter("kubeedge_metamanager_messages_total", "Messages taken by MetaManager", ("operation",))
_refusals = metrics.Counter("kubeedge_metamanager_refused_total", "Messages MetaManager refused", ("operation",))

After = Callable[[], None]


class _Step:
    """A message, the work in the database that it needs, and what follows once that is on disk."""

    __slots__ = ("after", "message", "work")

    def __init__(self, message: Message, after: After, work: Work[None] | None = None) -> None:
        self.message = message
        self.after = after
        self.work = work


class MetaManager:
    """Keeps the tables `meta` and `meta_v2` and answers for them.

    Registers itself on the bus as `metamanager`, group `meta`. Messages are handled in the order of their arrival;
    those that wait together are committed together. The queue has no bound of its own: the cloud has only so many
    unacknowledged messages under way, and edged waits for its answers.

    connected tells whether the cloud is there right now. remote_query_timeout_s limits each question to it.
    """

    def __init__(
        self,
        bus: Bus,
        database: Database,
        connected: Callable[[], bool],
        *,
        remote_query_timeout_s: float = 60,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._database = database
        self._connected = connected
        self._now = now
        self._cloud = Cloud(bus, database, remote_query_timeout_s)
        self._queue: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        bus.register(NAME, GROUP, self.receive)

    def receive(self, message: Message) -> None:
        """Take a message from the bus."""
        _messages.inc(_operation(message))
        self._queue.append(message)
        self._wake.set()

    async def run(self) -> None:
        """Handle messages until cancelled. What had been received but not stored is not acknowledged."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._handle_batch()

    async def _handle_batch(self) -> None:
        steps = [self._plan(self._queue.popleft()) for _ in range(min(len(self._queue), MAX_BATCH))]
        # All work is handed over before anything is awaited, so the writer finds it together and commits it together.
        commits = [self._submit(step.work) if step.work is not None else None for step in steps]
        for step, commit in zip(steps, commits, strict=True):
            try:
                if commit is not None:
                    await commit
                step.after()
            except (StoreError, apsw.Error) as error:
                self._refuse(step.message, str(error))
            except Exception as error:
                log.exception("message failed resource=%s", step.message.resource)
                self._refuse(step.message, repr(error))

    def _submit(self, work: Work[None]) -> asyncio.Future[None]:
        try:
            return self._database.submit(work)
        except StoreError as error:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _plan(self, message: Message) -> _Step:
        """Decide what a message needs; a message that cannot be understood is refused without touching the store."""
        try:
            match message.operation:
                case "insert":
                    return self._plan_insert(message)
                case "update":
                    return self._plan_update(message)
                case "patch":
                    return self._plan_patch(message)
                case "delete":
                    return self._plan_delete(message)
                case "query":
                    return _Step(message, lambda: self._query(message))
                case "response":
                    return self._plan_response(message)
                case operation if operation in VOLUME_OPERATIONS:
                    return _Step(message, lambda: self._spawn_volume(message))
                case "connect":
                    return _Step(message, _nothing)
                case _:
                    return _Step(message, lambda: self._unsupported(message))
        except (EnvelopeError, msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = f"content of {message.resource} cannot be read: {error}"
            return _Step(message, lambda: self._refuse(message, reason))

    # Operations

    def _plan_insert(self, message: Message) -> _Step:
        if keys.type_of(message.resource) == keys.EVENT:
            return _Step(message, lambda: self._up(message))
        if message.source == EDGED:
            return _Step(message, lambda: self._ask_or_refuse(message, NOT_CONNECTED))
        return _Step(message, lambda: self._deliver_push(message), _storing(message))

    def _plan_update(self, message: Message) -> _Step:
        type_ = keys.type_of(message.resource)
        if type_ == keys.EVENT:
            return _Step(message, lambda: self._up(message))
        if message.source != EDGED:
            return _Step(message, lambda: self._deliver_push(message), _storing(message))
        if type_ == keys.LEASE:
            return _Step(message, lambda: self._ask_or_refuse(message, NOT_CONNECTED))
        return _Step(message, lambda: self._confirm_own_update(message), _storing_value(message))

    def _plan_patch(self, message: Message) -> _Step:
        if keys.type_of(message.resource) == keys.EVENT:
            return _Step(message, lambda: self._up(message))
        return _Step(message, lambda: self._ask_or_refuse(message, CONNECTION_LOST), _storing_value(message))

    def _plan_delete(self, message: Message) -> _Step:
        if message.source == EDGED and keys.type_of(message.resource) == keys.POD:
            # The row stays until the cloud's own delete comes; the answer goes straight to edged.
            return _Step(message, lambda: self._forward_or_refuse(message))
        identity = identify_content(message)
        resource = message.resource
        return _Step(
            message,
            lambda: self._deliver_push(message),
            lambda connection: rows.delete(connection, resource, identity),
        )

    def _plan_response(self, message: Message) -> _Step:
        """Keep an answer that nobody waits for any more: the cloud sends it again until it is acknowledged."""
        if message.parent_id:
            return _Step(message, lambda: self._spawn(message, self._cloud.keep_late(message)))
        after = self._to_edged if message.source == "edgecontroller" else self._up
        return _Step(message, lambda: after(message), _storing_value(message))

    def _confirm_own_update(self, message: Message) -> None:
        self._up(message)
        self._bus.resolve(response_to(message))

    def _deliver_push(self, message: Message) -> None:
        """Acknowledge an object of the cloud, now that it is stored, and hand it to whom it concerns (01 §6.7)."""
        type_ = keys.type_of(message.resource)
        source, operation = message.source, message.operation
        if source == NAME:
            # MetaServer's edit of a device waits for its answer in this process.
            self._bus.resolve(response_to(message))
            self._send(DMI, _rerouted(message))
            return
        if source == "devicecontroller" or type_ in DEVICE_TYPES:
            for_mappers = _rerouted(message)
            self._ack(message if operation == "update" else for_mappers)
            self._send(DMI, for_mappers)
            if type_ == "device":
                # A cloud that does not repair memberships tells of a missed device in no other way (spec 04 Q7).
                self._bus.send_group(TWIN_GROUP, for_mappers)
            return
        self._ack(message)
        stays_here = source == "policycontroller" or (operation == "update" and type_ == keys.NODE)
        if not stays_here:
            self._to_edged(message)

    def _query(self, message: Message) -> None:
        type_, name = keys.type_of(message.resource), keys.name_of(message.resource)
        if type_ == keys.TOKEN and name:
            self._spawn(message, self._token(message))
        elif type_ in CLOUD_FIRST and self._connected():
            self._spawn(message, self._cloud.ask_for_object(message))
        else:
            where, value = ("key", message.resource) if name else ("type", type_)
            found = self._database.read(f"SELECT value FROM meta WHERE {where} = ? ORDER BY key", (value,))
            values = [row for (row,) in found if not is_failure(row)]
            if values or not name or type_ not in STORED_FIRST | CLOUD_FIRST:
                self._answer(message, rows_content(values))
            elif self._connected():
                self._spawn(message, self._cloud.ask_for_object(message))
            else:
                self._answer(message, _unavailable(type_, message.resource))

    async def _token(self, message: Message) -> None:
        """Answer with the stored token while it is fresh, else with a new one; without the cloud while it lives."""
        namespace, _, account = message.resource.split("/")
        request = tokens.decode(content_bytes(message))
        stored = tokens.find(self._database, namespace, account, request)
        if stored is not None:
            key, value = stored
            life = tokens.Life(tokens.decode(value)) if not is_failure(value) else None
            if life is not None and self._now() < life.renew_at:
                self._answer(message, rows_content([value]))
                return
            if life is None or self._now() >= life.ends_at:
                await self._database.write(lambda connection: rows.delete_token(connection, key))
                stored = None
        if self._connected() and await self._cloud.ask(
            message, token_request=keys.token_key(namespace, account, request), keep_failure=stored is not None
        ):
            return
        if stored is not None:
            log.warning("token not renewed resource=%s", message.resource)
            self._answer(message, rows_content([stored[1]]))
        elif not self._connected():
            self._answer(message, _unavailable(keys.TOKEN, message.resource))

    async def _volume(self, message: Message) -> None:
        content = b"null"
        if self._bus.has(EDGED):
            try:
                content = (await self._bus.request(EDGED, message, VOLUME_TIMEOUT_S)).content
            except TimeoutError:
                log.warning("volume operation not answered operation=%s", message.operation)
        self._up(response_to(message, content))

    # Ways out

    def _ask_or_refuse(self, message: Message, reason: str) -> None:
        if self._connected():
            self._spawn(message, self._cloud.ask(message))
        else:
            self._refuse(message, reason)

    def _forward_or_refuse(self, message: Message) -> None:
        if self._connected():
            self._up(message)
        else:
            self._refuse(message, CONNECTION_LOST)

    def _spawn_volume(self, message: Message) -> None:
        self._spawn(message, self._volume(message))

    def _spawn(self, message: Message, handling: Coroutine[Any, Any, object]) -> None:
        if self._tasks is None:
            raise RuntimeError("MetaManager does not run")
        self._tasks.create_task(self._guard(message, handling))

    async def _guard(self, message: Message, handling: Coroutine[Any, Any, object]) -> None:
        """Let a question that goes wrong cost its asker an error, and nobody else anything."""
        try:
            await handling
        except (StoreError, EnvelopeError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._refuse(message, str(error))
        except Exception as error:
            log.exception("message failed resource=%s", message.resource)
            self._refuse(message, repr(error))

    def _answer(self, message: Message, content: bytes) -> None:
        self._bus.resolve(response_to(message, content, source=NAME))

    def _ack(self, message: Message) -> None:
        self._up(response_to(message))

    def _up(self, message: Message) -> None:
        self._send(MODULE, message)

    def _to_edged(self, message: Message) -> None:
        self._send(EDGED, message)

    def _send(self, module: str, message: Message) -> None:
        if self._bus.has(module):
            self._bus.send(module, message)
        else:
            log.debug("no such module module=%s resource=%s", module, message.resource)

    def _refuse(self, message: Message, reason: str) -> None:
        """Tell the sender that nothing was done; towards the cloud this is no acknowledgement, it will try again."""
        log.warning("message refused operation=%s resource=%s reason=%s", message.operation, message.resource, reason)
        _refusals.inc(_operation(message))
        reply = error_to(message, reason, source=NAME, group=message.group)
        if message.source in (EDGED, NAME):
            self._bus.resolve(reply)
        else:
            self._up(reply)

    def _unsupported(self, message: Message) -> None:
        log.warning("operation not supported operation=%s resource=%s", message.operation, message.resource)
        _refusals.inc(_operation(message))


def _operation(message: Message) -> str:
    """Return the operation as a metric's label: a peer's words must not make it grow."""
    return message.operation if message.operation in _OPERATIONS else "other"


def _nothing() -> None:
    """Follow nothing: connection messages only matter to others."""


def _storing(message: Message) -> Work[None]:
    resource, identity, value = message.resource, identify_content(message), content_bytes(message).decode()
    return lambda connection: rows.put_object(connection, resource, value, identity)


def _storing_value(message: Message) -> Work[None]:
    resource, value = message.resource, content_bytes(message).decode()
    return lambda connection: rows.put(connection, resource, value)


def _rerouted(message: Message) -> Message:
    """Return message on its way to mappers and twins; the same message, also by id (spec 05 Q6b)."""
    return Message(
        message.id,
        message.parent_id,
        message.timestamp_ms,
        message.resource_version,
        GROUP,
        TWIN_GROUP,
        message.operation,
        message.resource,
        message.content,
        message.destination,
    )


def _unavailable(type_: str, resource: str) -> bytes:
    name = keys.name_of(resource)
    text = f'{type_} "{name}" is not stored on this node and the cloud is not connected'
    return failure(503, "ServiceUnavailable", text, keys.plural_of(type_), name)
