"""The mapper's life with edgecore: registered, reporting, and registered again after a restart of either."""

from __future__ import annotations

import asyncio
import logging

from kubeedge.mapper.description import Key
from kubeedge.mapper.devices import Devices
from kubeedge.mapper.edge import AwayError, Edge, Identity, RefusedError, ThrottledError
from kubeedge.mapper.outbox import Outbox, Report
from kubeedge.proto import dmi_pb2 as dmi

log = logging.getLogger("kubeedge.mapper")

# Reports under way at a time. edgecore answers one when it is on its flash card, and writes many as fast as one.
REPORTERS = 8
# How often it is looked whether another edgecore listens, which the mapper has to tell about itself.
WATCH_S = 0.2
# Pauses while edgecore is away double from the first to the last.
FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 2.0
# Go's edge has one call a second for all its mappers (spec 04 §6.5).
THROTTLED_PAUSE_S = 1.0
# An edge that has let every call through for so long may be told several things at a time again.
CALM_S = 10.0


class Link:
    """Registers the mapper and delivers what is in the outbox, for ever.

    A report that edgecore did not take stays in the outbox, where only newer values replace it. After each registration
    everything is reported once more: an edgecore that was killed may have lost what it had taken.
    """

    def __init__(self, edge: Edge, mapper: dmi.MapperInfo, devices: Devices, outbox: Outbox) -> None:
        self._edge = edge
        self._mapper = mapper
        self._devices = devices
        self._outbox = outbox
        self._trouble = ""
        self._calm_at = float("-inf")
        # What the edge said last about a device whose report it does not take.
        self._refusals: dict[Key, str] = {}
        #: Set while the mapper is registered.
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Keep the mapper registered and its reports delivered until cancelled."""
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                identity = self._edge.identity()
                try:
                    await self._register()
                    pause_s = FIRST_PAUSE_S
                    await self._deliver(identity)
                except ThrottledError:
                    await asyncio.sleep(THROTTLED_PAUSE_S)
                except (AwayError, RefusedError) as error:
                    self._say_once(str(error))
                    await self._is_replaced(identity, pause_s)
                    pause_s = min(pause_s * 2, LAST_PAUSE_S)
                self.registered.clear()
        finally:
            self._edge.close()

    async def _is_replaced(self, identity: Identity | None, timeout_s: float) -> bool:
        """Wait, but not longer than until there is another edgecore; return whether there is."""
        for _ in range(round(timeout_s / WATCH_S)):
            if self._edge.identity() != identity:
                break
            await asyncio.sleep(WATCH_S)
        return self._edge.identity() != identity

    async def _register(self) -> None:
        self._devices.expect_list()
        answer = await self._edge.register(self._mapper)
        self._devices.take_list(answer.modelList, answer.deviceList)
        self._outbox.again()
        self._refusals.clear()
        self._trouble = ""
        self.registered.set()
        log.info("registered edgecore=%s devices=%d", self._edge.socket_path, len(self._devices))

    async def _deliver(self, identity: Identity | None) -> None:
        """Report until there is another edgecore. Raises AwayError."""
        try:
            async with asyncio.TaskGroup() as group:
                reporters = [group.create_task(self._report(is_first=not number)) for number in range(REPORTERS)]
                while not await self._is_replaced(identity, WATCH_S):
                    continue
                for reporter in reporters:
                    reporter.cancel()
        except* AwayError as errors:
            raise AwayError(str(errors.exceptions[0])) from None
        log.info("edgecore was restarted edgecore=%s", self._edge.socket_path)
        self._edge.close()

    async def _report(self, *, is_first: bool) -> None:
        """Tell what waits, for ever. Where calls are few the first does so alone."""
        loop = asyncio.get_running_loop()
        while True:
            if not is_first and (left := self._calm_at - loop.time()) > 0:
                await asyncio.sleep(left)
                continue
            report = await self._outbox.take()
            try:
                await self._tell(report)
            except ThrottledError:
                self._outbox.give_back(report)
                self._calm_at = loop.time() + CALM_S
                await asyncio.sleep(THROTTLED_PAUSE_S)
            except BaseException:
                self._outbox.give_back(report)
                raise
            else:
                self._outbox.told(report)

    async def _tell(self, report: Report) -> None:
        key = report.key
        try:
            if report.state:
                await self._edge.report_state(key, report.state)
            elif report.readings:
                await self._edge.report_readings(key, report.readings.items())
        except RefusedError as error:
            # It would be refused again.
            if self._refusals.get(key) != str(error):
                self._refusals[key] = str(error)
                log.warning("report refused device=%s reason=%s", key, error)

    def _say_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("edgecore does not answer edgecore=%s reason=%s", self._edge.socket_path, trouble)
