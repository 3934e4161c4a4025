"""When the properties of a device are due: the wheel that lets one task do for many cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# What is due a little later is taken along, up to this part of its cycle: fewer trips to the device, fewer reports.
SLACK = 0.1


class Schedule:
    """Cycles by name. Everything is due at the start; a turn that was missed is left out, never made up for."""

    def __init__(self, cycles: Mapping[str, float], now: float, before: Schedule | None = None) -> None:
        """cycles are in seconds. What has the same cycle in the schedule before keeps its turn."""
        self._cycles = dict(cycles)
        self._next = dict.fromkeys(cycles, now)
        if before is not None:
            for name, cycle in cycles.items():
                if before._cycles.get(name) == cycle:
                    self._next[name] = before._next[name]

    def hasten(self, names: Iterable[str], now: float) -> None:
        """Make these due now."""
        self._next.update((name, now) for name in names if name in self._next)

    def next(self) -> float | None:
        """Return when the next one is due, None when there is none."""
        return min(self._next.values(), default=None)

    def take(self, now: float) -> list[str]:
        """Return the names that are due, and give each its next turn."""
        due = [name for name, at in self._next.items() if at <= now + SLACK * self._cycles[name]]
        for name in due:
            cycle = self._cycles[name]
            at = self._next[name] + cycle
            # A device that was slow or away: the rhythm starts anew instead of hurrying after what was missed.
            self._next[name] = at if at > now + SLACK * cycle else now + cycle
        return due
