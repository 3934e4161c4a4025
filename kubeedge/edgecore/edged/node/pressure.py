"""Signs that the machine runs out of memory or disk, as conditions of the node (spec 05 §5.10)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from kubeedge.edgecore.edged.node import hardware

MEMORY, DISK, PID = "MemoryPressure", "DiskPressure", "PIDPressure"


class Pressure:
    """Looks at the machine against the hard eviction thresholds.

    A condition stays until transition_s seconds after its sign was last seen, so that pods are not sent to and fro.
    """

    def __init__(
        self, root: Path, thresholds: Mapping[str, str], now: Callable[[], float], *, transition_s: float = 300.0
    ) -> None:
        self._root = root
        self._thresholds = thresholds
        self._now = now
        self._transition_s = transition_s
        self._seen_at: dict[str, float] = {}

    def look(self) -> frozenset[str]:
        """Return the conditions that hold now."""
        now = self._now()
        for name in self._signs():
            self._seen_at[name] = now
        self._seen_at = {name: at for name, at in self._seen_at.items() if now - at <= self._transition_s}
        return frozenset(self._seen_at)

    def _signs(self) -> set[str]:
        signs: set[str] = set()
        sizes = hardware.memory()
        if self._is_below("memory.available", sizes["MemAvailable"], sizes["MemTotal"]):
            signs.add(MEMORY)
        disk = os.statvfs(self._root)
        block = disk.f_frsize
        if self._is_below("nodefs.available", disk.f_bavail * block, disk.f_blocks * block):
            signs.add(DISK)
        # Some file systems do not count their inodes.
        if disk.f_files and self._is_below("nodefs.inodesFree", disk.f_favail, disk.f_files):
            signs.add(DISK)
        return signs

    def _is_below(self, signal: str, available: int, whole: int) -> bool:
        threshold = self._thresholds.get(signal)
        return threshold is not None and available < hardware.threshold_bytes(threshold, whole)
