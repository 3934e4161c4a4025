"""The state of a device, from what could be read of it."""

from __future__ import annotations

from collections.abc import Collection

# States that the edge knows (spec 04 §6.6).
ONLINE = "online"
OFFLINE = "offline"
UNHEALTHY = "unhealthy"

# One failure is often a glitch: a device is offline after so many rounds in which nothing could be read.
OFFLINE_AFTER = 2


class Health:
    """Follows one device. state is empty until something is known of it."""

    def __init__(self) -> None:
        self.state = ""
        self._failing: set[str] = set()
        self._barren_rounds = 0

    def end_round(self, good: Collection[str], bad: Collection[str], others: Collection[str]) -> str:
        """Take what could be read and what could not, of a device that has these other properties beside; return the
        state: online when all that was read last could be, unhealthy when only some could, offline when none could."""
        self._failing = (self._failing & {*bad, *others}) | set(bad)
        if good:
            self._barren_rounds = 0
        elif bad:
            self._barren_rounds += 1
        working = bool(good) or bool(set(others) - self._failing)
        if not self._failing:
            self.state = ONLINE
        elif working:
            self.state = UNHEALTHY
        elif self._barren_rounds >= OFFLINE_AFTER or not self.state:
            self.state = OFFLINE
        return self.state

    def unreachable(self, properties: Collection[str]) -> str:
        """Take a connection that could not be made, or was lost, as a round in which nothing could be read."""
        self._failing = set(properties)
        self._barren_rounds += 1
        if self._barren_rounds >= OFFLINE_AFTER or not self.state:
            self.state = OFFLINE
        return self.state
