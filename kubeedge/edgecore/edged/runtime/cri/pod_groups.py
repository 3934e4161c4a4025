"""Control groups of pods around those of their containers (spec 05 §5.8), version 1 or 2, driver cgroupfs.

A runtime makes the groups of containers below the pod's, with limits of their own; the pod's own limits, the order
between classes of pods, and the removal of empty groups are the node's. Where systemd keeps the groups they are its.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from kubeedge.edgecore.edged.runtime.interface import Resources

log = logging.getLogger("kubeedge.edged.cri")

DEFAULT_PERIOD_US = 100_000
MIN_SHARES = 2
MAX_SHARES = 262_144
MAX_WEIGHT = 10_000

_CLASSES = ("", "burstable", "besteffort")


class PodGroups:
    """The groups `<root>/kubepods[/<class>]/pod<uid>`. mounts is the text of /proc/self/mounts."""

    def __init__(self, root: str, mounts: str) -> None:
        self._kubepods = f"{root.rstrip('/')}/kubepods"
        # Where each controller of version 1 is mounted; a hierarchy without controllers counts by its name.
        self._folders: dict[str, Path] = {}
        unified: Path | None = None
        for line in mounts.splitlines():
            _, folder, kind, options, *_ = line.split(" ")
            if kind == "cgroup2":
                unified = Path(folder)
            elif kind == "cgroup":
                self._folders.update((word, Path(folder)) for word in options.split(","))
        self._is_v2 = unified is not None and "memory" not in self._folders and "cpu" not in self._folders
        self._hierarchies = [Path(folder) for folder in dict.fromkeys(self._folders.values())]
        if unified is not None:
            self._hierarchies.append(unified)
        if self._is_v2 and unified is not None:
            self._folders = {"cpu": unified, "memory": unified}

    def make(self, group: str, resources: Resources) -> None:
        """Make a pod's group with its limits before anything runs in it. Raises OSError."""
        for folder in dict.fromkeys(self._folders[name] for name in ("cpu", "memory") if name in self._folders):
            path = folder / group.strip("/")
            if self._is_v2:
                self._enable(folder, path)
            path.mkdir(parents=True, exist_ok=True)
        for controller, file, value in self._limits(resources):
            (self._folders[controller] / group.strip("/") / file).write_text(value)
        self._rank()

    def remove(self, uid: str) -> bool:
        """Remove the group of a pod of which nothing runs any more; False when something still does."""
        name = f"pod{uid}"
        for hierarchy in self._hierarchies:
            for folder in self._classes(hierarchy):
                try:
                    (folder / name).rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    return False
        self._rank()
        return True

    def uids(self) -> set[str]:
        """Return the pods that have a group."""
        found: set[str] = set()
        for hierarchy in self._hierarchies:
            for folder in self._classes(hierarchy):
                try:
                    names = os.listdir(folder)
                except OSError:
                    continue
                found.update(name.removeprefix("pod") for name in names if name.startswith("pod"))
        return found

    def _classes(self, hierarchy: Path) -> Iterator[Path]:
        for name in _CLASSES:
            yield hierarchy / self._kubepods.strip("/") / name

    def _limits(self, resources: Resources) -> Iterable[tuple[str, str, str]]:
        """Give controller, file and value of each limit."""
        limits: list[tuple[str, str, str]] = []
        period = resources.cpu_period or DEFAULT_PERIOD_US
        if "cpu" in self._folders:
            limits.append(self._share(resources.cpu_shares))
            if resources.cpu_quota > 0 and self._is_v2:
                limits.append(("cpu", "cpu.max", f"{resources.cpu_quota} {period}"))
            elif resources.cpu_quota > 0:
                limits.append(("cpu", "cpu.cfs_period_us", str(period)))
                limits.append(("cpu", "cpu.cfs_quota_us", str(resources.cpu_quota)))
        if "memory" in self._folders and resources.memory_limit_bytes > 0:
            file = "memory.max" if self._is_v2 else "memory.limit_in_bytes"
            limits.append(("memory", file, str(resources.memory_limit_bytes)))
        return limits

    def _share(self, shares: int) -> tuple[str, str, str]:
        shares = max(MIN_SHARES, min(shares, MAX_SHARES))
        if not self._is_v2:
            return "cpu", "cpu.shares", str(shares)
        # The mapping of 2..262144 shares to 1..10000 that every runtime uses.
        return "cpu", "cpu.weight", str(1 + (shares - MIN_SHARES) * (MAX_WEIGHT - 1) // (MAX_SHARES - MIN_SHARES))

    def _rank(self) -> None:
        """Give pods that asked for CPU what they asked for together, before those that asked for nothing."""
        if "cpu" not in self._folders:
            return
        folder = self._folders["cpu"] / self._kubepods.strip("/")
        file, highest = ("cpu.weight", MAX_WEIGHT) if self._is_v2 else ("cpu.shares", MAX_SHARES)
        lowest = "1" if self._is_v2 else str(MIN_SHARES)
        asked = sum(int(path.read_text()) for path in folder.glob(f"burstable/pod*/{file}"))
        for name, value in (("burstable", str(min(max(asked, int(lowest)), highest))), ("besteffort", lowest)):
            try:
                (folder / name / file).write_text(value)
            except FileNotFoundError:
                # No pod of that class yet.
                continue

    @staticmethod
    def _enable(root: Path, path: Path) -> None:
        """Let the group at path have the controllers that there are: each group above has to pass them on."""
        offered = (root / "cgroup.controllers").read_text().split()
        folder = root
        for part in path.relative_to(root).parts:
            passed = (folder / "cgroup.subtree_control").read_text().split()
            missing = [f"+{name}" for name in ("cpu", "memory") if name in offered and name not in passed]
            if missing:
                (folder / "cgroup.subtree_control").write_text(" ".join(missing))
            folder /= part
            folder.mkdir(exist_ok=True)


def find(root: str) -> PodGroups:
    """Look for the control groups of this machine; this blocks for a moment."""
    return PodGroups(root, Path("/proc/self/mounts").read_text())
