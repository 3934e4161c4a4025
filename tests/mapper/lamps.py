"""A device that lives in the test, and its manifest."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml

from kubeedge.mapper import Device, Driver, Property

Object = dict[str, Any]


class Lamp(Driver):
    """Properties are kept by name in `values`, of all lamps of the test; what is in `broken` is raised."""

    protocol = "lamp"
    values: ClassVar[dict[str, Any]] = {}
    broken: ClassVar[dict[str, Exception]] = {}
    connects: ClassVar[list[str]] = []
    disconnects: ClassVar[list[str]] = []
    writes: ClassVar[list[tuple[str, Any]]] = []

    @classmethod
    def reset(cls, **values: Any) -> None:
        cls.values.clear()
        cls.values.update(values)
        for one in (cls.broken, cls.connects, cls.disconnects, cls.writes):
            one.clear()

    async def connect(self) -> None:
        self.connects.append(self.device.name)
        self._check("connect")

    async def disconnect(self) -> None:
        self.disconnects.append(self.device.name)

    async def read(self, property: Property) -> Any:
        self._check("read")
        self._check(property.name)
        return self.values[property.name]

    async def write(self, property: Property, value: Any) -> None:
        self._check("write")
        self.writes.append((property.name, value))
        self.values[property.name] = value

    def _check(self, what: str) -> None:
        if what in self.broken:
            raise self.broken[what]


class BlockingLamp(Lamp):
    """The same without asyncio."""

    def connect(self) -> None:  # type: ignore[override]
        self.connects.append(self.device.name)
        self._check("connect")

    def disconnect(self) -> None:  # type: ignore[override]
        self.disconnects.append(self.device.name)

    def read(self, property: Property) -> Any:  # type: ignore[override]
        self._check("read")
        self._check(property.name)
        return self.values[property.name]

    def write(self, property: Property, value: Any) -> None:  # type: ignore[override]
        self._check("write")
        self.writes.append((property.name, value))
        self.values[property.name] = value


MODEL: Object = {
    "kind": "DeviceModel",
    "metadata": {"name": "lamp", "namespace": "default"},
    "spec": {
        "protocol": "lamp",
        "properties": [
            {"name": "brightness", "type": "INT", "accessMode": "ReadWrite", "minimum": "0", "maximum": "100"},
            {"name": "power", "type": "FLOAT", "accessMode": "ReadOnly", "unit": "W"},
            {"name": "on", "type": "BOOLEAN", "accessMode": "ReadWrite"},
            {"name": "label", "type": "STRING", "accessMode": "ReadWrite"},
        ],
    },
}


def prop(name: str, desired: str = "", **fields: Any) -> Object:
    """Return a property of a device that is read every 50 ms and reported each time."""
    basis: Object = {"name": name, "collectCycle": 50, "reportToCloud": True, "visitors": {"configData": {}}}
    if desired:
        basis["desired"] = {"value": desired}
    return basis | fields


def lamp(*properties: Object, name: str = "l1", config: Object | None = None, **spec: Any) -> Object:
    """Return a lamp with these properties."""
    return {
        "kind": "Device",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "deviceModelRef": {"name": "lamp"},
            "protocol": {"protocolName": "lamp", "configData": config or {}},
            "properties": list(properties),
            "stateReport": {"reportToCloud": True, "reportCycle": 60_000},
            **spec,
        },
    }


def text(*documents: Object) -> str:
    """Return manifests as YAML."""
    return yaml.safe_dump_all(documents)


def device(**fields: Any) -> Device:
    """Return a device as a driver gets it."""
    return Device("default", "d1", **fields)
