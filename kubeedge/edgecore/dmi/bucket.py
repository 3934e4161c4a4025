"""A token bucket: how much comes in over a time, and how much at once."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """Holds up to burst tokens and gets rate_per_s new ones each second; a rate of 0 or less is no limit at all."""

    def __init__(self, rate_per_s: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(burst, 1)
        self._clock = clock
        self._tokens = float(self._burst)
        self._filled_at = clock()

    def take(self) -> bool:
        """Take one token; False when there is none."""
        if self._rate_per_s <= 0:
            return True
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate_per_s, self._burst)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
