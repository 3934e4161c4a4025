"""Things that come close together, done together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# No node notices so much of a delay. At 1,000 leases a second it makes groups of ten, which halves what each costs here
# and in the API: code and data are in the processor's caches, and wake-ups and commits are shared. Longer beats would
# save more, and lose more when cloudcore is killed: a node waits a minute for an answer that it does not get.
BEAT_S = 0.01


class Beat(Generic[T]):
    """Calls do for each thing added: at once after a rest of BEAT_S, else together with others at the next beat."""

    __slots__ = ("_do", "_last_s", "_loop", "_timer", "_waiting")

    def __init__(self, do: Callable[[T], None]) -> None:
        """do must not raise."""
        self._do = do
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time() - BEAT_S
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[T] = []

    def add(self, thing: T) -> None:
        """Have something done soon."""
        if self._timer is None:
            now_s = self._loop.time()
            if now_s - self._last_s >= BEAT_S:
                self._last_s = now_s
                self._do(thing)
                return
            self._timer = self._loop.call_at(self._last_s + BEAT_S, self._strike)
        self._waiting.append(thing)

    def _strike(self) -> None:
        self._timer = None
        self._last_s = self._loop.time()
        waiting, self._waiting = self._waiting, []
        for thing in waiting:
            self._do(thing)

    def stop(self) -> None:
        """Do nothing more; what waits is dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
