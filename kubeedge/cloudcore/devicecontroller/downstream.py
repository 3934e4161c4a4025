"""Devices and models to the nodes that they belong to (spec 04 §2.2, §2.3)."""

from __future__ import annotations

import time
from typing import Any

import orjson

from kubeedge import resources
from kubeedge.bus import Bus
from kubeedge.cloudcore.devicecontroller.device import Device, spec_of
from kubeedge.kube.api import Kind
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL
from kubeedge.kube.object import Object
from kubeedge.message import new_id, new_message

MODULE = "devicecontroller"
HUB = "cloudhub"
RESOURCE = "resource"
TWIN = "twin"

_OPERATIONS = {"ADDED": "insert", "MODIFIED": "update", "DELETED": "delete"}


class Downstream:
    """Turns what happens to devices into messages to CloudHub, which sends what the node has not acked yet.

    A model goes with the first device of a node that needs it and leaves with the last.

    devices must have the indexes `node`, `use` and `model` (device.by_node, device.by_use, device.by_model).
    """

    def __init__(self, bus: Bus, devices: Informer, models: Informer) -> None:
        self._bus = bus
        self._devices = devices
        self._models = models
        devices.on_event(self._on_device)
        models.on_event(self._on_model)

    def connected(self, node: str) -> None:
        """Offer node its models and devices: those that were bound while it was away have no ObjectSync yet."""
        sent: set[str] = set()
        for device in self._of_node(node):
            if device.use not in sent:
                sent.add(device.use)
                self._send_model("insert", device)
            self._send("insert", DEVICE, node, device.object)

    def membership(self, node: str) -> bytes:
        """Return all devices of a node, as the content of `membership/detail` (spec 04 §3.5, quirk Q7).

        The empty twins keep a Go edge from answering with an error for each device that it knows (quirk Q4).
        """
        devices = [{**device.membership(), "twin": {}} for device in self._of_node(node)]
        return orjson.dumps({"event_id": new_id(), "timestamp": _now_ms(), "devices": devices})

    def belongs(self, kind: Kind, object: Object, node: str) -> bool:
        """Tell whether a Device or DeviceModel is (still) for node; anything else is."""
        if kind == DEVICE:
            return Device(object).node == node
        if kind == DEVICE_MODEL:
            return bool(self._devices.by_index("use", f"{node}/{object.namespace}/{object.name}"))
        return True

    def _of_node(self, node: str) -> list[Device]:
        return [Device(object) for object in self._devices.by_index("node", node)]

    def _on_device(self, type_: EventType, new: Object, old: Object | None) -> None:
        device = Device(new)
        before = Device(old) if old is not None else None
        if type_ == "DELETED":
            self._removed(device)
        elif before is None:
            self._added(device)
        elif before.node != device.node:
            self._removed(before)
            self._added(device)
        elif device.node and before.spec != device.spec:
            if before.use != device.use:
                self._drop_model(before)
            self._send_model("update" if before.use == device.use else "insert", device)
            self._send("update", DEVICE, device.node, new)

    def _on_model(self, type_: EventType, new: Object, old: Object | None) -> None:
        """Tell each node that uses a model, whose devices may have waited for it, or need what is new (quirk Q33)."""
        if type_ != "MODIFIED" or old is None or spec_of(old) != spec_of(new):
            devices = map(Device, self._devices.by_index("model", f"{new.namespace}/{new.name}"))
            for node in dict.fromkeys(device.node for device in devices if device.node):
                self._send(_OPERATIONS[type_], DEVICE_MODEL, node, new)

    def _added(self, device: Device) -> None:
        if device.node:
            self._send_membership(device.node, added=device)
            self._send_model("insert", device)
            self._send("insert", DEVICE, device.node, device.object)

    def _removed(self, device: Device) -> None:
        if device.node:
            self._send_membership(device.node, removed=device)
            self._drop_model(device)
            self._send("delete", DEVICE, device.node, device.object)

    def _send_membership(self, node: str, *, added: Device | None = None, removed: Device | None = None) -> None:
        content: dict[str, Any] = {
            "event_id": new_id(),
            "timestamp": _now_ms(),
            "added_devices": [added.membership()] if added is not None else None,
            "removed_devices": [removed.membership()] if removed is not None else None,
        }
        resource = resources.for_node(node, "membership")
        self._bus.send(HUB, new_message(MODULE, TWIN, "update", resource, orjson.dumps(content)))

    def _send_model(self, operation: str, device: Device) -> None:
        """Send the model of a device; one that does not exist yet is sent when it does."""
        model = self._models.get(device.namespace, device.model) if device.model else None
        if model is not None:
            self._send(operation, DEVICE_MODEL, device.node, model)

    def _drop_model(self, device: Device) -> None:
        if device.model and not self._devices.by_index("use", device.use):
            model = self._models.get(device.namespace, device.model)
            if model is not None:
                self._send("delete", DEVICE_MODEL, device.node, model)

    def _send(self, operation: str, kind: Kind, node: str, object: Object) -> None:
        resource = resources.for_node(node, resources.build(object.namespace, kind.kind.lower(), object.name))
        self._bus.send(
            HUB,
            new_message(MODULE, RESOURCE, operation, resource, object.raw, resource_version=object.resource_version),
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
