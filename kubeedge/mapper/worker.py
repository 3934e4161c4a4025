"""One device at work: connected, read in its cycles, written when a value is desired, missed when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeedge.mapper.calling import Caller
from kubeedge.mapper.description import STREAM, Device, Property
from kubeedge.mapper.driver import Driver
from kubeedge.mapper.health import Health
from kubeedge.mapper.outbox import Outbox, Reading
from kubeedge.mapper.schedule import SLACK, Schedule
from kubeedge.mapper.values import check_range, from_text, plain, to_text
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.mapper.device")

# Each is a trip to the device and back; a slow bus may need some seconds.
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 10.0
DISCONNECT_TIMEOUT_S = 5.0
# Pauses between attempts to connect double from the first to the last.
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 10.0

_reads = Counter("kubeedge_mapper_reads_total", "Reads of properties by outcome", ("outcome",))
_writes = Counter("kubeedge_mapper_writes_total", "Writes of properties by outcome", ("outcome",))
_altered = Counter("kubeedge_mapper_altered_values_total", "Values with characters that the edge does not take")

# Takes the device, the property, and the value as text with its time in ms, to send them the property's own way.
Push = Callable[[Device, Property, str, int], None]


class DeviceError(Exception):
    """Why a value cannot be read or written, for who asked for it."""


@dataclass(slots=True)
class _Track:
    """What is remembered of one property: the wish that the device has taken, the value of the last one that it took,
    and the property as it was when its wish was refused."""

    settled: tuple[str, str] | None = None
    observed: str = ""
    refused: Property | None = None
    reported_at: float = float("-inf")
    problems: dict[str, str] = field(default_factory=dict)
    is_told: bool = False


class Worker:
    """Runs one device until cancelled. `update` gives it another description at any time."""

    def __init__(
        self,
        device: Device,
        make_driver: Callable[[Device], Driver],
        outbox: Outbox,
        push: Push,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.device = device
        self.health = Health()
        self._make_driver = make_driver
        self._outbox = outbox
        self._push = push
        self._clock = clock
        self._caller = Caller(f"device {device.key}")
        self._changed = asyncio.Event()
        # One call of the driver at a time; there is none while there is no connection.
        self._busy = asyncio.Lock()
        self._driver: Driver | None = None
        self._tracks: dict[str, _Track] = {}
        self._is_proved = False
        self._trouble = ""
        self._state_told = ""
        self._state_told_at = float("-inf")

    def update(self, device: Device) -> None:
        """Take another description. Only another way to the device connects it anew."""
        if device != self.device:
            self.device = device
            self._tracks = {name: track for name, track in self._tracks.items() if name in device.properties}
            self._outbox.retain(device.key, device.properties)
            self._changed.set()

    async def run(self) -> None:
        """Work until cancelled; a device that cannot be reached is tried again for ever."""
        failures = 0
        try:
            while True:
                self._changed.clear()
                self._is_proved = False
                await self._connect_and_serve()
                if self._is_proved or self._changed.is_set():
                    failures = 0
                    continue
                await self._pause(min(FIRST_PAUSE_S * 2**failures, LAST_PAUSE_S))
                failures += 1
        finally:
            self._caller.close()

    async def _connect_and_serve(self) -> None:
        try:
            driver = self._make_driver(self.device)
        except Exception as error:
            self._unreachable(error)
            return
        driver.caller = self._caller
        try:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._caller.call(driver.connect)
            except Exception as error:
                self._unreachable(error)
                return
            for track in self._tracks.values():
                # A device that was away may have forgotten what was desired of it.
                track.settled = None
            self._driver = driver
            await self._serve(driver)
        except OSError as error:
            self._unreachable(error)
        finally:
            self._driver = None
            async with self._busy:
                await self._disconnect(driver)

    async def _disconnect(self, driver: Driver) -> None:
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT_S):
                await self._caller.call(driver.disconnect)
        except Exception as error:
            log.debug("disconnecting failed device=%s reason=%r", self.device.key, error)

    async def _serve(self, driver: Driver) -> None:
        """Go through the cycles until the way to the device is another one. Raises OSError when it is lost."""
        loop = asyncio.get_running_loop()
        schedule = Schedule({}, loop.time())
        while (self.device.protocol, self.device.config) == (driver.device.protocol, driver.device.config):
            driver.device = device = self.device
            self._changed.clear()
            schedule = Schedule(_cycles(device), loop.time(), schedule)
            if schedule.next() is None:
                # Nothing to read: connected is all that there is to know.
                self._is_proved = True
                self._become(self.health.end_round((), (), ()))
            schedule.hasten((one.name for one in device.properties.values() if self._is_desired(one)), loop.time())
            while not self._changed.is_set():
                names = schedule.take(loop.time())
                if names:
                    async with self._busy:
                        await self._collect(driver, device, [device.properties[name] for name in names])
                self._tell_state()
                await self._until(schedule.next())

    async def _pause(self, pause_s: float) -> None:
        """Wait before the next attempt; another description may be the repair and ends it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + pause_s
        while loop.time() < end and not self._changed.is_set():
            self._tell_state()
            await self._until(end)

    async def _until(self, at: float | None) -> None:
        """Wait until this time (of the loop), the next report of the state, or another description."""
        times = [] if at is None else [at]
        if self.device.state_cycle_s and self.health.state:
            times.append(self._state_told_at + self.device.state_cycle_s)
        try:
            async with asyncio.timeout_at(min(times, default=None)):
                await self._changed.wait()
        except TimeoutError:
            pass

    # One round.

    async def _collect(self, driver: Driver, device: Device, properties: Sequence[Property]) -> None:
        """Write what is desired of these properties, read them, report. Raises OSError when the device is away."""
        written = set()
        for one in properties:
            if self._is_desired(one) and await self._write_desired(driver, one):
                written.add(one.name)
        results = await self._read(driver, properties)
        now_ms = int(self._clock() * 1000)
        good: dict[str, str] = {}
        bad: dict[str, Exception] = {}
        for one, result in zip(properties, results, strict=True):
            if isinstance(result, Exception):
                bad[one.name] = result
            else:
                good[one.name] = to_text(result)
        self._note(good, bad)
        self._report(device, good, written, now_ms)
        if not good and (lost := next((error for error in bad.values() if isinstance(error, OSError)), None)):
            raise lost
        others = device.properties.keys() - good.keys() - bad.keys()
        self._become(self.health.end_round(good.keys(), bad.keys(), _readable(device) & others))

    async def _read(self, driver: Driver, properties: Sequence[Property]) -> list[Any]:
        results: list[Any]
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                results = list(await driver.read_many(properties))
            if len(results) != len(properties):
                raise ValueError(f"the driver read {len(results)} values instead of {len(properties)}")
        except Exception as error:
            results = [error] * len(properties)
        for result in results:
            _reads.inc("failed" if isinstance(result, Exception) else "ok")
        return results

    def _is_desired(self, one: Property) -> bool:
        """Tell whether somebody desires a value of a property that has not been dealt with."""
        track = self._track(one.name)
        return one.desired != "" and track.settled != _wish(one) and track.refused != one

    async def _write_desired(self, driver: Driver, one: Property) -> bool:
        """Return whether the device took the value. Raises OSError when the device is away."""
        track = self._track(one.name)
        try:
            await self._write(driver, one, one.desired)
        except DeviceError as error:
            # Nothing that waiting repairs; another wish or another model may.
            track.refused = one
            log.warning("desired value refused device=%s property=%s reason=%s", self.device.key, one.name, error)
            return False
        except OSError:
            raise
        except Exception as error:
            self._complain(one.name, error, "writing")
            return False
        track.problems.pop("writing", "")
        track.settled = _wish(one)
        track.observed = one.desired
        return True

    async def _write(self, driver: Driver, one: Property, text: str) -> None:
        """Write a value given as text. Raises DeviceError for one that cannot be, and what the driver raises."""
        if not one.is_writable:
            why = "is read-only" if one.type else "is not in the model of the device"
            raise DeviceError(f"{one.name} {why}")
        try:
            value = from_text(text, one.type)
            check_range(value, one.minimum, one.maximum)
        except ValueError as error:
            _writes.inc("refused")
            raise DeviceError(f"{one.name}: {error}") from None
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._caller.call(driver.write, one, value)
        except Exception:
            _writes.inc("failed")
            raise
        _writes.inc("ok")

    def _report(self, device: Device, values: dict[str, str], written: set[str], now_ms: int) -> None:
        now = asyncio.get_running_loop().time()
        readings = {}
        for name, text in values.items():
            one = device.properties[name]
            track = self._track(one.name)
            if name not in written and now - track.reported_at < one.report_cycle_s * (1 - SLACK):
                continue
            track.reported_at = now
            if one.push is not None:
                self._push(device, one, text, now_ms)
            if one.report_to_cloud:
                readings[name] = Reading(self._plain(one, text), one.type, plain(track.observed), now_ms)
        self._outbox.put(device.key, readings)

    def _plain(self, one: Property, text: str) -> str:
        shown = plain(text)
        if shown != text:
            _altered.inc()
            track = self._track(one.name)
            if not track.is_told:
                track.is_told = True
                words = "value altered, the edge takes only letters, digits and _.,:/@#- device=%s property=%s"
                log.warning(words, self.device.key, one.name)
        return shown

    def _track(self, name: str) -> _Track:
        return self._tracks.setdefault(name, _Track())

    # What went wrong, said once.

    def _note(self, good: dict[str, str], bad: dict[str, Exception]) -> None:
        self._is_proved = self._is_proved or bool(good)
        if good:
            self._trouble = ""
        for name in good:
            track = self._track(name)
            if track.problems.pop("reading", ""):
                log.info("property works again device=%s property=%s", self.device.key, name)
        for name, error in bad.items():
            if not isinstance(error, OSError) or good:
                self._complain(name, error, "reading")

    def _complain(self, name: str, error: Exception, what: str) -> None:
        track = self._track(name)
        reason = _said(error)
        if track.problems.get(what) != reason:
            track.problems[what] = reason
            log.warning("%s a property fails device=%s property=%s reason=%s", what, self.device.key, name, reason)

    def _unreachable(self, error: Exception) -> None:
        reason = _said(error)
        if reason != self._trouble:
            self._trouble = reason
            log.warning("device cannot be reached device=%s reason=%s", self.device.key, reason)
        self._become(self.health.unreachable(_readable(self.device)), reason)

    def _become(self, state: str, reason: str = "") -> None:
        if state != self._state_told:
            self._state_told = state
            self._state_told_at = float("-inf")
            log.info("device is %s device=%s%s", state, self.device.key, f" reason={reason}" if reason else "")
        self._tell_state()

    def _tell_state(self) -> None:
        """Report the state when it is another one and once in its cycle, if the device is to report it."""
        now = asyncio.get_running_loop().time()
        cycle_s = self.device.state_cycle_s
        if cycle_s and self.health.state and now - self._state_told_at >= cycle_s * (1 - SLACK):
            self._state_told_at = now
            self._outbox.put_state(self.device.key, self.health.state)

    # For who asks at this moment.

    async def read_now(self, name: str) -> str:
        """Read a property. Raises DeviceError."""
        async with self._ready() as driver:
            one = self._property(name)
            (result,) = await self._read(driver, [one])
        if isinstance(result, Exception):
            raise DeviceError(f"{name}: {_said(result)}")
        return to_text(result)

    async def write_now(self, name: str, text: str) -> None:
        """Write a property, and report what it then has. Raises DeviceError."""
        async with self._ready() as driver:
            one = self._property(name)
            try:
                await self._write(driver, one, text)
            except DeviceError:
                raise
            except Exception as error:
                raise DeviceError(f"{name}: {_said(error)}") from None
            (result,) = await self._read(driver, [one])
            if not isinstance(result, Exception):
                self._report(self.device, {name: to_text(result)}, {name}, int(self._clock() * 1000))

    def _property(self, name: str) -> Property:
        one = self.device.properties.get(name)
        if one is None:
            raise DeviceError(f"the device {self.device.key} has no property {name}")
        return one

    @contextlib.asynccontextmanager
    async def _ready(self) -> AsyncIterator[Driver]:
        async with self._busy:
            if self._driver is None:
                raise DeviceError(f"the device {self.device.key} is not connected")
            yield self._driver


def _wish(one: Property) -> tuple[str, str]:
    return one.desired, one.desired_id


def _readable(device: Device) -> set[str]:
    return {name for name, one in device.properties.items() if one.type != STREAM}


def _cycles(device: Device) -> dict[str, float]:
    return {name: device.properties[name].collect_cycle_s for name in _readable(device)}


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return str(error) or repr(error)
