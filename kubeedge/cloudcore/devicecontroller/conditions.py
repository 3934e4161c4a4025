"""Tells at the Device itself what is wrong with it: a condition in its status, and an event."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import orjson

from kubeedge.cloudcore.devicecontroller.checks import Problem, problems
from kubeedge.cloudcore.devicecontroller.device import Device, model_properties
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, KubeApi, is_passing
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.instants import timestamp
from kubeedge.kube.kinds import DEVICE, EVENT
from kubeedge.kube.object import Object
from kubeedge.metrics import Gauge

log = logging.getLogger(__name__)

CONDITION = "Valid"
# `kubectl apply` of one file gives the device before its model, or just after it.
SETTLE_S = 1.0
RETRY_S = 5.0
CALL_TIMEOUT_S = 30.0
COMPONENT = "devicecontroller"

invalid_devices = Gauge("kubeedge_devicecontroller_invalid_devices", "Devices with a mistake in their specification")

Key = tuple[str, str]


class Conditions:
    """Looks at each device when it or its model changes, one after the other. A bad device stops no other.

    Only a device with mistakes gets the condition; once it has it, the condition says when it is well again.
    devices must have the index `model` (device.by_model).
    """

    def __init__(self, api: KubeApi, devices: Informer, models: Informer) -> None:
        self._api = api
        self._devices = devices
        self._models = models
        self._waiting: dict[Key, float] = {}
        self._invalid: set[Key] = set()
        self._wake = asyncio.Event()
        devices.on_event(self._on_device)
        models.on_event(self._on_model)
        invalid_devices.read_from(lambda: len(self._invalid))

    async def run(self) -> None:
        """Look at what has changed, for ever."""
        # A model that is only not in the cache yet is not missing.
        for informer in (self._devices, self._models):
            await informer.synced()
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            # Put in order of time, for each waits equally long but for the few that are tried again.
            key, at_s = next(iter(self._waiting.items()))
            pause_s = at_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            # Unless it was deleted meanwhile.
            if self._waiting.pop(key, None) is not None:
                await self._look_at(key)

    def _on_device(self, type_: EventType, new: Object, old: Object | None) -> None:
        key = (new.namespace, new.name)
        if type_ == "DELETED":
            self._waiting.pop(key, None)
            self._invalid.discard(key)
        elif old is None or Device(old).spec != Device(new).spec:
            self._look_later(key, SETTLE_S)

    def _on_model(self, type_: EventType, new: Object, old: Object | None) -> None:
        for device in self._devices.by_index("model", f"{new.namespace}/{new.name}"):
            self._look_later((device.namespace, device.name), SETTLE_S)

    def _look_later(self, key: Key, pause_s: float) -> None:
        self._waiting[key] = time.monotonic() + pause_s
        self._wake.set()

    async def _look_at(self, key: Key) -> None:
        object = self._devices.get(*key)
        if object is None:
            return
        device = Device(object)
        model = self._models.get(device.namespace, device.model)
        found = problems(device, model_properties(model) if model is not None else None)
        (self._invalid.add if found else self._invalid.discard)(key)
        known = _conditions(object)
        others = [each for each in known if each.get("type") != CONDITION]
        before = next((each for each in known if each.get("type") == CONDITION), None)
        if before is None and not found:
            return
        condition = _condition(found)
        if before is not None and all(before.get(name) == condition[name] for name in ("status", "reason", "message")):
            return
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                body = orjson.dumps({"status": {"conditions": [*others, condition]}})
                await self._api.patch(DEVICE, *key, body, MERGE_PATCH)
                if found:
                    await self._api.create(EVENT, device.namespace, orjson.dumps(_event(device, condition)))
        except (ApiError, ApiUnavailableError, TimeoutError) as error:
            may_retry = is_passing(error)
            level = logging.DEBUG if may_retry else logging.WARNING
            log.log(level, "condition not written device=%s reason=%s", device.id, str(error) or "time-out")
            if may_retry:
                self._look_later(key, RETRY_S)
            return
        log.info("device looked at device=%s valid=%s message=%s", device.id, not found, condition["message"])


def _conditions(device: Object) -> list[dict[str, Any]]:
    """Return what of the conditions has the shape of such; the schema lets through anything."""
    known = (device.data().get("status") or {}).get("conditions")
    return [each for each in known if isinstance(each, dict)] if isinstance(known, list) else []


def _condition(found: list[Problem]) -> dict[str, Any]:
    return {
        "type": CONDITION,
        "status": "False" if found else "True",
        "reason": found[0].reason if found else "SpecificationValid",
        "message": "; ".join(problem.message for problem in found),
        "lastTransitionTime": timestamp(time.time()),
    }


def _event(device: Device, condition: dict[str, Any]) -> dict[str, Any]:
    now = condition["lastTransitionTime"]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"generateName": f"{device.name}.", "namespace": device.namespace},
        "involvedObject": {
            "apiVersion": DEVICE.api_version,
            "kind": DEVICE.kind,
            "namespace": device.namespace,
            "name": device.name,
            "uid": device.object.uid,
        },
        "type": "Warning",
        "reason": condition["reason"],
        "message": condition["message"],
        "source": {"component": COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
