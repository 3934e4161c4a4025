"""The simulator: devices without hardware, to try a model, an application or the demo with.

A property follows a curve until it is written; a written one keeps its value.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from kubeedge.mapper.description import Device, Property
from kubeedge.mapper.driver import Driver
from kubeedge.mapper.settings import SettingsError, decode

Curve = Callable[[float, random.Random], float]

# Each takes the part of the period that is over (0 to 1) and gives a part of the range (0 to 1).
CURVES: dict[str, Curve] = {
    "sine": lambda part, _: 0.5 + 0.5 * math.sin(2 * math.pi * part),
    "ramp": lambda part, _: part,
    "square": lambda part, _: float(part >= 0.5),
    "random": lambda _, source: source.random(),
    "constant": lambda *_: 0.0,
}


class _Visitor(msgspec.Struct):
    """configData of a property. period is in seconds; digits after the point; value is what a text says."""

    function: str = ""
    minimum: float | None = None
    maximum: float | None = None
    period: float = 60
    digits: int = 1
    value: str = ""


class _Simulated(msgspec.Struct):
    """configData of the device: `offline: true` makes one that cannot be reached."""

    offline: bool = False


class SimulatorDriver(Driver):
    """Protocol `simulator`."""

    protocol = "simulator"

    def __init__(self, device: Device, *, clock: Callable[[], float] = time.time, seed: int | None = None) -> None:
        super().__init__(device)
        self._is_offline = decode(_Simulated, device.config).offline
        self._clock = clock
        self._random = random.Random(seed)
        self._written: dict[str, Any] = {}

    async def connect(self) -> None:
        if self._is_offline:
            raise ConnectionError("the device simulates being away")

    async def read(self, property: Property) -> Any:
        if property.name in self._written:
            return self._written[property.name]
        visitor = decode(_Visitor, property.config)
        if property.type in ("string", "bytes", "") and not visitor.function:
            return visitor.value
        number = self._number(property, visitor)
        match property.type:
            case "boolean":
                return number >= 0.5
            case "int" | "integer":
                return round(number)
        return round(number, visitor.digits)

    def _number(self, property: Property, visitor: _Visitor) -> float:
        curve = CURVES.get(visitor.function or ("square" if property.type == "boolean" else "sine"))
        if curve is None:
            raise SettingsError(f"function: expected one of {', '.join(CURVES)}, got {visitor.function!r}")
        if visitor.period <= 0:
            raise SettingsError("period: must be more than 0")
        low = _first(visitor.minimum, property.minimum, 0.0)
        high = _first(visitor.maximum, property.maximum, 1.0 if property.type == "boolean" else 100.0)
        return low + (high - low) * curve(self._clock() % visitor.period / visitor.period, self._random)

    async def write(self, property: Property, value: Any) -> None:
        self._written[property.name] = value


def _first(configured: float | None, limit: str, default: float) -> float:
    """Return what is configured, else the model's limit, else the default."""
    if configured is not None:
        return configured
    try:
        return float(limit)
    except ValueError:
        return default
