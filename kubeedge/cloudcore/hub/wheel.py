"""Timers of many items on one wheel: setting one costs two dictionary entries, and the loop has one timer for all."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class TimerWheel(Generic[Item]):
    """Keeps one time for each item, in seconds of the caller's clock, rounded up to whole ticks."""

    def __init__(self, tick_s: float, now_s: float) -> None:
        self._tick_s = tick_s
        self._turned_to = math.floor(now_s / tick_s)
        self._slots: dict[int, dict[Item, None]] = {}
        self._ticks: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._ticks)

    def set(self, item: Item, at_s: float) -> None:
        """Let item be due at that time, instead of any time set before; a time gone by means the next tick."""
        tick = max(math.ceil(at_s / self._tick_s), self._turned_to + 1)
        old = self._ticks.get(item)
        if old == tick:
            return
        if old is not None:
            self._remove(item, old)
        self._ticks[item] = tick
        self._slots.setdefault(tick, {})[item] = None

    def set_earlier(self, item: Item, at_s: float) -> None:
        """Let item be due at that time unless it is due before."""
        old = self._ticks.get(item)
        if old is None or at_s < old * self._tick_s:
            self.set(item, at_s)

    def discard(self, item: Item) -> None:
        """Forget item; it may be unknown."""
        tick = self._ticks.pop(item, None)
        if tick is not None:
            self._remove(item, tick)

    def due(self, now_s: float) -> list[Item]:
        """Take out what is due by now, in the order of the ticks."""
        items: list[Item] = []
        now = math.floor(now_s / self._tick_s)
        while self._turned_to < now:
            self._turned_to += 1
            slot = self._slots.pop(self._turned_to, None)
            if slot is not None:
                for item in slot:
                    del self._ticks[item]
                items += slot
        return items

    def _remove(self, item: Item, tick: int) -> None:
        slot = self._slots[tick]
        del slot[item]
        if not slot:
            del self._slots[tick]
