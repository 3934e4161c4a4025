"""The module itself: devices and models of the cloud on their way to mappers, mappers on their way in."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Collection, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Protocol, cast

from kubeedge.bus import Bus
from kubeedge.edgecore.dmi import mappers
from kubeedge.edgecore.dmi.bucket import Bucket
from kubeedge.edgecore.dmi.catalog import DEVICE, MODEL, Catalog, Object, ObjectError, parse, type_of
from kubeedge.edgecore.dmi.delivery import FIRST_PAUSE_S, Delivery
from kubeedge.edgecore.dmi.listener import Listener
from kubeedge.edgecore.dmi.mappers import Mapper
from kubeedge.edgecore.dmi.outcome import TooManyMappersError
from kubeedge.edgecore.dmi.reports import Reports
from kubeedge.message import EnvelopeError, Message, content_bytes
from kubeedge.metrics import Counter, Gauge
from kubeedge.store.database import Database, StoreError

if TYPE_CHECKING:
    from kubeedge.edgecore.dmi.service import Service

log = logging.getLogger("kubeedge.dmi")

NAME = "dmi"
GROUP = "dmi"

# Upstream's mappers together get 1 call a second, 100 at once (spec 04 Q31).
REQUESTS_PER_S = 2000.0
REQUEST_BURST = 4000
# Each has a row in the database and a queue; a node has a handful.
MAX_MAPPERS = 256
# A socket that cannot be made is tried again this often.
LISTEN_RETRY_S = 10.0

_OPERATIONS = frozenset({"insert", "update", "delete"})

_bad = Counter("kubeedge_dmi_bad_objects_total", "Devices and models that cannot be used", ("type",))
_known = Gauge("kubeedge_dmi_mappers", "Mappers that are registered")


class _Serving(Protocol):
    def __call__(self, listener: socket, service: Service) -> AbstractAsyncContextManager[None]: ...


class Dmi:
    """Keeps mappers informed of the devices of their protocol, and takes their reports.

    Registers itself on the bus as `dmi`, group `dmi`. A message is handed over once its object is stored in, or removed
    from, table `meta`. requests_per_second (0: no limit) and burst bound the calls of all mappers together.
    """

    def __init__(
        self,
        bus: Bus,
        database: Database,
        socket_path: Path,
        *,
        requests_per_second: float = REQUESTS_PER_S,
        burst: int = REQUEST_BURST,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._database = database
        self._socket_path = socket_path
        self._bucket = Bucket(requests_per_second, burst)
        self._reports = Reports(bus)
        self._first_pause_s = first_pause_s
        self._catalog = Catalog(database)
        self._early: list[Message] = []
        self._tasks: asyncio.TaskGroup | None = None
        #: What each protocol's mapper has to be told.
        self.deliveries: dict[str, Delivery] = {}
        bus.register(NAME, GROUP, self.receive)

    async def run(self) -> None:
        """Serve until cancelled. Raises StoreError when what is stored cannot be read."""
        self._catalog.load()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for mapper in mappers.stored(self._database):
                self._remember(mapper)
            for message in self._early:
                self._take(message)
            self._early.clear()
            await self._listen()

    async def _listen(self) -> None:
        trouble = ""
        while True:
            try:
                listener = Listener(self._socket_path)
            except OSError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    log.error("socket for mappers cannot be made socket=%s reason=%s", self._socket_path, error)
                await asyncio.sleep(LISTEN_RETRY_S)
                continue
            try:
                await self._serve(listener)
            finally:
                listener.close()

    async def _serve(self, listener: Listener) -> None:
        await listener.first_connection()
        # Loading gRPC takes long enough to be done beside the loop.
        module = await asyncio.to_thread(importlib.import_module, "kubeedge.edgecore.dmi.connections")
        service: Service = module.Service(self, self._reports, self._bucket)
        async with cast(_Serving, module.serving)(listener.socket, service):
            await asyncio.Event().wait()

    # What the cloud says

    def receive(self, message: Message) -> None:
        """Take a message about a device or a model, from wherever in the cloud it came (spec 04 Q8)."""
        if self._tasks is None:
            self._early.append(message)
        else:
            self._take(message)

    def _take(self, message: Message) -> None:
        key, operation = message.resource, message.operation
        type_ = type_of(key)
        if not type_ or operation not in _OPERATIONS:
            log.warning("message is about no device operation=%s resource=%s", operation, key)
            return
        if operation == "delete":
            self._delete(key)
            return
        try:
            found = parse(content_bytes(message))
            before, now = self._catalog.put(key, found)
        except (ObjectError, EnvelopeError) as error:
            self.refused(key, error)
            return
        if type_ == MODEL:
            self._put_model(key, now.protocol, is_changed=before != now)
            return
        if before is not None and before.protocol != now.protocol:
            self._put(before.protocol, key)
        delivery = self.deliveries.get(now.protocol)
        if delivery is None:
            log.info("no mapper yet for the device protocol=%s device=%s", now.protocol, key)
        elif before != now or key not in delivery.known:
            delivery.put(key, is_new=operation == "insert")

    def _put_model(self, key: str, protocol: str, *, is_changed: bool) -> None:
        for delivery in self.deliveries.values():
            if (delivery.mapper.protocol == protocol and key not in delivery.known) or (
                is_changed and (key in delivery.known or delivery.mapper.protocol == protocol)
            ):
                delivery.put(key)
        if is_changed:
            # What a device has of its model changes with it, and upstream's mappers look at a model only with a device.
            for device in self._catalog.devices(model=key):
                entry = self._catalog.entry(device)
                if entry is not None:
                    self._put(entry.protocol, device, is_new=True)

    def _delete(self, key: str) -> None:
        self._catalog.remove(key)
        # Also where the message says no protocol, as the cloud's corrections do (spec 04 Q8).
        for delivery in self.deliveries.values():
            if key in delivery.known:
                delivery.put(key)

    def _put(self, protocol: str, key: str, *, is_new: bool = False) -> None:
        delivery = self.deliveries.get(protocol)
        if delivery is not None:
            delivery.put(key, is_new=is_new)

    # What mappers say

    def listed(self, protocol: str) -> Iterator[tuple[str, Object, str, Object]]:
        """Give key and object of each device of a protocol, with key and object of its model (spec 04 §6.5)."""
        for key in list(self._catalog.devices(protocol=protocol)):
            entry = self._catalog.entry(key)
            try:
                device = self._catalog.read(key)
                model = self._catalog.read(entry.model) if entry is not None and entry.model else None
            except (ObjectError, StoreError) as error:
                self.refused(key, error)
                continue
            if entry is None or device is None:
                continue
            if model is None:
                log.warning("device waits for its model device=%s model=%s", key, entry.model or "none")
                continue
            yield key, device, entry.model, model

    def refused(self, key: str, error: Exception) -> None:
        """Take note of an object that cannot be used."""
        _bad.inc(type_of(key) or DEVICE)
        log.error("object not used key=%s reason=%s", key, error)

    def serial(self) -> int:
        """Return how many changes of objects there have been."""
        return self._catalog.serial

    async def register(self, mapper: Mapper, known: Collection[str] | None, since: int) -> None:
        """Take a mapper, in place of the one that its protocol had. Raises TooManyMappersError.

        known is what it is told of, None if it did not want to know; what has changed since then it hears afterwards.
        """
        delivery = self.deliveries.get(mapper.protocol)
        replaced = delivery.mapper.key if delivery is not None else mapper.key
        if delivery is None:
            if len(self.deliveries) >= MAX_MAPPERS:
                raise TooManyMappersError(f"there are {MAX_MAPPERS} mappers already")
            delivery = self._start(mapper)
        delivery.registered(mapper, None if known is None else set(known))
        for key in self._catalog.changed(since) if known is not None else ():
            entry = self._catalog.entry(key)
            if key in delivery.known or (entry is not None and entry.protocol == mapper.protocol):
                delivery.put(key, is_new=True)
        for key in [key for key in delivery.known if self._catalog.entry(key) is None]:
            delivery.put(key)
        log.info("mapper registered mapper=%s protocol=%s", mapper.name, mapper.protocol)
        try:
            await self._database.write(mappers.storing(mapper, replaced))
        except StoreError as error:
            # It is known until the next start; by then it will have to register again.
            log.error("mapper not stored mapper=%s reason=%s", mapper.name, error)

    def _remember(self, mapper: Mapper) -> None:
        delivery = self._start(mapper)
        devices = list(self._catalog.devices(protocol=mapper.protocol))
        models = {entry.model for device in devices if (entry := self._catalog.entry(device)) is not None}
        delivery.presume({*devices, *models})

    def _start(self, mapper: Mapper) -> Delivery:
        present = self.deliveries.get(mapper.protocol)
        if present is not None:
            present.mapper = mapper
            return present
        if self._tasks is None:
            raise RuntimeError("DMI does not run")
        delivery = Delivery(self._catalog, mapper, first_pause_s=self._first_pause_s)
        self.deliveries[mapper.protocol] = delivery
        self._tasks.create_task(delivery.run())
        _known.set(len(self.deliveries))
        return delivery
