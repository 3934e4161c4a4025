"""What mappers report, as publications to DeviceTwin: the same topics and payloads as over MQTT (spec 04 §6.5)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from kubeedge import topics
from kubeedge.bus import Bus
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.dmi")

TWIN = "twin"

# How long DeviceTwin may take to store a report.
STORE_TIMEOUT_S = 10.0
# What a twin takes (spec 04 §3.6); the rest of a report is not held back by what it does not.
_KEY = re.compile(r"[a-zA-Z0-9_.,:/@#-]{1,128}")
_VALUE = re.compile(r"[a-zA-Z0-9_.,:/@#-]{0,512}")
# Names as they can stand in a topic, each one segment of it.
_NAME = re.compile(r"[^/+#\0]+")
# Properties whose trouble has been said; more are only counted.
_MAX_SAID = 1024

_refused = Counter("kubeedge_dmi_refused_values_total", "Reported values that no twin can take")


class ReportError(Exception):
    """The report cannot be taken; the text says why."""


class UndeliveredError(Exception):
    """DeviceTwin has not taken the report."""


class Property(NamedTuple):
    """One reported property: what the device should have, as the mapper knows it, and what it has."""

    name: str
    desired: str
    reported: str


class Reports:
    """Hands reports over; a call returns once everything of it is stored."""

    def __init__(self, bus: Bus, *, now: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._now = now
        self._said: set[str] = set()

    async def values(self, namespace: str, name: str, properties: Sequence[Property]) -> None:
        """Report properties of a device, each for itself.

        Raises ReportError for what a twin cannot take, after the rest was reported, and UndeliveredError.
        """
        topic = _topic(namespace, name, topics.TWIN_UPDATE)
        bad = [one.name for one in properties if not _is_plain(one)]
        payloads = [
            self._payload("twin", {one.name: {"expected": {"value": one.desired}, "actual": {"value": one.reported}}})
            for one in properties
        ]
        await self._publish(topic, payloads)
        if bad:
            self._say(f"{namespace}/{name}", bad)
            raise ReportError(
                f"properties {', '.join(bad)} of device {namespace}/{name} are not stored: names and values have only "
                "letters, digits and - _ . , : / @ #, names up to 128 and values up to 512 of them"
            )

    async def state(self, namespace: str, name: str, state: str) -> None:
        """Report the state of a device. Raises ReportError, UndeliveredError."""
        await self._publish(_topic(namespace, name, topics.STATE_UPDATE), [self._payload("State", state)])

    def _payload(self, key: str, value: object) -> bytes:
        return orjson.dumps({"event_id": "", "timestamp": int(self._now() * 1000), key: value})

    async def _publish(self, topic: str, payloads: list[bytes]) -> None:
        stored = asyncio.Event()
        missing = len(payloads)

        def done() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                stored.set()

        for payload in payloads:
            if not self._bus.publish(TWIN, topic, payload, done):
                raise UndeliveredError("this node has no DeviceTwin")
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await stored.wait()
        except TimeoutError:
            raise UndeliveredError(f"the report was not stored within {STORE_TIMEOUT_S:g} s") from None

    def _say(self, device: str, names: list[str]) -> None:
        """Log each property once: it will be reported again and again."""
        _refused.inc(by=len(names))
        for name in names:
            which = f"{device} {name[:128]}"
            if which not in self._said and len(self._said) < _MAX_SAID:
                self._said.add(which)
                log.warning("reported value cannot be stored device=%s property=%r", device, name[:128])


def _topic(namespace: str, name: str, action: str) -> str:
    if not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
        raise ReportError(f"{namespace!r} and {name!r} are not namespace and name of a device")
    return topics.device_topic(f"{namespace}/{name}", action)


def _is_plain(one: Property) -> bool:
    return all((_KEY.fullmatch(one.name), _VALUE.fullmatch(one.desired), _VALUE.fullmatch(one.reported)))
