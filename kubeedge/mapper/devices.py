"""All devices of the mapper: what edgecore says about them becomes workers, one for each (spec 04 §6.4, §7.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from kubeedge.mapper.description import Device, Key, describe, device_key, model_key
from kubeedge.mapper.driver import Driver
from kubeedge.mapper.outbox import Outbox
from kubeedge.mapper.worker import Push, Worker
from kubeedge.metrics import Gauge
from kubeedge.proto import dmi_pb2 as dmi

log = logging.getLogger("kubeedge.mapper")

# A worker that failed where it must not is started again after this pause.
RESTART_S = 5.0

_devices = Gauge("kubeedge_mapper_devices", "Devices that the mapper has")


class Devices:
    """Models and devices by namespace and name, and their workers, which live in `run`."""

    def __init__(self, make_driver: Callable[[Device], Driver], outbox: Outbox, push: Push) -> None:
        self._make_driver = make_driver
        self._outbox = outbox
        self._push = push
        self._group: asyncio.TaskGroup | None = None
        self._models: dict[Key, dmi.DeviceModel] = {}
        self._devices: dict[Key, dmi.Device] = {}
        self._workers: dict[Key, tuple[Worker, asyncio.Task[None]]] = {}
        # The end of a worker whose device was removed, which a new one of the same name waits for.
        self._ending: dict[Key, asyncio.Task[None]] = {}
        self._problems: dict[Key, list[str]] = {}
        # What edgecore said by itself since its list was asked for, which is newer than the list.
        self._newer: set[Key] = set()

    async def run(self) -> None:
        """Let the workers work until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for key in list(self._devices):
                    self._refresh(key)
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._workers.clear()

    def put_model(self, model: dmi.DeviceModel) -> None:
        """Take a model that is new or has changed; the devices that refer to it follow."""
        key = Key(model.namespace, model.name)
        if self._models.get(key) == model:
            return
        self._models[key] = model
        for device in list(self._devices.values()):
            if model_key(device) == key:
                self._refresh(device_key(device))

    def remove_model(self, key: Key) -> None:
        """Drop a model. Its devices go on as they are: their own removal is what follows (spec 04 §6.6)."""
        self._models.pop(key, None)

    def put(self, device: dmi.Device) -> None:
        """Take a device that is new or has changed."""
        key = device_key(device)
        self._newer.add(key)
        self._put(key, device)

    def remove(self, key: Key) -> None:
        """Drop a device; nothing happens when there is none."""
        self._newer.add(key)
        self._remove(key)

    def expect_list(self) -> None:
        """Note that edgecore is being asked for its list: what it says from now on is newer."""
        self._newer.clear()

    def take_list(self, models: Iterable[dmi.DeviceModel], devices: Iterable[dmi.Device]) -> None:
        """Have exactly the devices of a list that edgecore gave, but for what it said since it was asked for it."""
        for model in models:
            self.put_model(model)
        listed = {device_key(device): device for device in devices}
        for key, device in listed.items():
            if key not in self._newer:
                self._put(key, device)
        for key in self._devices.keys() - listed.keys() - self._newer:
            self._remove(key)

    def worker(self, key: Key) -> Worker | None:
        """Return the worker of a device."""
        entry = self._workers.get(key)
        return entry[0] if entry is not None else None

    def device(self, key: Key) -> dmi.Device | None:
        """Return a device as edgecore gave it."""
        return self._devices.get(key)

    def __len__(self) -> int:
        """Return how many devices there are."""
        return len(self._devices)

    def _put(self, key: Key, device: dmi.Device) -> None:
        if self._devices.get(key) != device:
            self._devices[key] = device
            self._refresh(key)
        _devices.set(len(self._devices))

    def _remove(self, key: Key) -> None:
        self._problems.pop(key, None)
        if self._devices.pop(key, None) is not None:
            log.info("device removed device=%s", key)
        entry = self._workers.pop(key, None)
        if entry is not None:
            entry[1].cancel()
            self._ending[key] = entry[1]
            entry[1].add_done_callback(lambda task: self._forget(key, task))
        self._outbox.forget(key)
        _devices.set(len(self._devices))

    def _forget(self, key: Key, ended: asyncio.Task[None]) -> None:
        if self._ending.get(key) is ended:
            del self._ending[key]

    def _refresh(self, key: Key) -> None:
        """Give a device and its model to its worker, a new one if there is none."""
        if self._group is None:
            return
        instance = self._devices[key]
        device, problems = describe(instance, self._models.get(model_key(instance)))
        if problems != self._problems.get(key, []):
            self._problems[key] = problems
            for problem in problems:
                log.warning("device with a problem device=%s problem=%s", key, problem)
        if key in self._workers:
            self._workers[key][0].update(device)
            return
        log.info("device added device=%s properties=%d", key, len(device.properties))
        worker = Worker(device, self._make_driver, self._outbox, self._push)
        self._workers[key] = worker, self._group.create_task(self._work(worker, self._ending.get(key)), name=str(key))

    async def _work(self, worker: Worker, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        while True:
            try:
                await worker.run()
            except Exception:
                log.exception("worker failed device=%s", worker.device.key)
            await asyncio.sleep(RESTART_S)
