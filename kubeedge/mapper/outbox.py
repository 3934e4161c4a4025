"""What is to be told to the edge: of each property and of each device's state the latest, until it has been taken.

Bounded by the number of properties: what comes while the edge is away, or allows no more calls (spec 04 §6.5: Go's edge
takes one a second), replaces what waits. A device that waits keeps its place, so none is starved by a busier one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import dataclass, field

from kubeedge.mapper.description import Key


@dataclass(frozen=True, slots=True)
class Reading:
    """A value as it is reported. observed is the desired value that was written last, empty when none was."""

    value: str
    type: str
    observed: str
    timestamp_ms: int


@dataclass(slots=True)
class Report:
    """What is told with one call about one device: properties, or its state. turn says since when it waits."""

    key: Key
    readings: dict[str, Reading] = field(default_factory=dict)
    state: str = ""
    turn: int = 0


class Outbox:
    """The latest of everything, and which of it has not been taken yet."""

    def __init__(self) -> None:
        self._latest: dict[Key, Report] = {}
        # By device and whether it is the state. Each has its place: values that come all the time keep up no state.
        self._waiting: dict[tuple[Key, bool], Report] = {}
        # What has been taken and is being told: the next of its kind has to wait, else it could be overtaken.
        self._under_way: set[tuple[Key, bool]] = set()
        self._turns = 0
        self._some = asyncio.Event()

    def put(self, key: Key, readings: dict[str, Reading]) -> None:
        """Report these properties of a device."""
        if readings:
            self._latest.setdefault(key, Report(key)).readings.update(readings)
            self._wait(Report(key, readings))

    def put_state(self, key: Key, state: str) -> None:
        """Report the state of a device."""
        self._latest.setdefault(key, Report(key)).state = state
        self._wait(Report(key, state=state))

    def _wait(self, report: Report) -> None:
        self._some.set()
        place = report.key, bool(report.state)
        waiting = self._waiting.get(place)
        if waiting is None:
            self._turns += 1
            waiting = self._waiting[place] = Report(report.key, turn=self._turns)
        waiting.readings.update(report.readings)
        waiting.state = report.state

    def forget(self, key: Key) -> None:
        """Leave out a device that is gone."""
        self._latest.pop(key, None)
        for is_state in (False, True):
            self._waiting.pop((key, is_state), None)

    def retain(self, key: Key, names: Container[str]) -> None:
        """Leave out the properties of a device that it does not have any more."""
        for report in (self._latest.get(key), self._waiting.get((key, False))):
            if report is not None:
                report.readings = {name: one for name, one in report.readings.items() if name in names}
        if (key, False) in self._waiting and not self._waiting[key, False].readings:
            del self._waiting[key, False]

    def again(self) -> None:
        """Let everything wait again: the edge may have lost what it took before its restart."""
        for key, report in self._latest.items():
            self.put(key, dict(report.readings))
            if report.state:
                self.put_state(key, report.state)

    async def take(self) -> Report:
        """Wait for what has waited longest and return it. To be followed by told() or give_back()."""
        while True:
            for place in self._waiting:
                if place not in self._under_way:
                    self._under_way.add(place)
                    return self._waiting.pop(place)
            self._some.clear()
            await self._some.wait()

    def told(self, report: Report) -> None:
        """Take note that a report is where it belongs, or refused for good."""
        self._under_way.discard((report.key, bool(report.state)))
        self._some.set()

    def give_back(self, report: Report) -> None:
        """Let what could not be told wait again, in its old place, under what is newer, unless the device is gone."""
        self.told(report)
        latest = self._latest.get(report.key)
        if latest is None:
            return
        place = report.key, bool(report.state)
        newer = self._waiting.pop(place, None)
        if newer is not None:
            report.readings.update(newer.readings)
            report.state = newer.state
        report.readings = {name: one for name, one in report.readings.items() if name in latest.readings}
        if report.readings or report.state:
            self._waiting[place] = report
            self._waiting = dict(sorted(self._waiting.items(), key=lambda item: item[1].turn))

    def __len__(self) -> int:
        """Return how many reports wait."""
        return len(self._waiting)
