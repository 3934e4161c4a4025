"""Control groups, version 1 or 2: limits, out-of-memory counts, what a container started (spec 05 §5.8)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROLLERS = ("memory", "cpu")

# Where the supervisor goes when it was started inside a service, so that stopping the service leaves containers alone.
OWN_GROUP = "kubeedge-containers"


class Cgroups:
    """The hierarchies of this machine. `folders` maps a controller to the mount point where it is."""

    __slots__ = ("folders", "is_v2", "process_folders")

    def __init__(self, mounts: str) -> None:
        """Take the text of /proc/self/mounts."""
        self.folders: dict[str, str] = {}
        self.process_folders: list[str] = []
        unified = ""
        for line in mounts.splitlines():
            _, folder, kind, options, *_ = line.split(" ")
            if kind == "cgroup2":
                unified = folder
                self.process_folders.append(folder)
            elif kind == "cgroup":
                words = options.split(",")
                if "name=systemd" in words:
                    self.process_folders.append(folder)
                for controller in CONTROLLERS:
                    if controller in words:
                        self.folders.setdefault(controller, folder)
        self.is_v2 = not self.folders and bool(unified)
        if self.is_v2:
            offered = _read(f"{unified}/cgroup.controllers").split()
            self.folders = {controller: unified for controller in CONTROLLERS if controller in offered}

    def usable(self) -> list[str]:
        """Return the controllers whose limits this process may set: what a trial group shows."""
        found = []
        name = f"{OWN_GROUP}-trial-{os.getpid()}"
        for controller, limit in (("memory", "memory.max"), ("cpu", "cpu.max")):
            if controller not in self.folders:
                continue
            if not self.is_v2:
                limit = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us"}[controller]
            group = f"{self.folders[controller]}/{name}"
            try:
                self._make(group)
                if os.access(f"{group}/{limit}", os.W_OK):
                    found.append(controller)
            except OSError:
                continue
            finally:
                _remove(group)
        return found

    def groups(self, name: str) -> list[str]:
        """Return the folders of the group called name (a path from the hierarchy's root), each once."""
        return list(dict.fromkeys(f"{folder}/{name.strip('/')}" for folder in self.folders.values()))

    def enter(self, name: str, limits: dict[str, int], unified: dict[str, str]) -> None:
        """Make the group, set its limits and move this process into it.

        limits has `memory` (bytes), `quota` and `period` (microseconds) and `shares`, 0 where there is none.
        Raises OSError when a limit cannot be set; a share that cannot is only a wish.
        """
        for group in self.groups(name):
            self._make(group)
        for controller, file, value, is_wish in self._settings(limits):
            try:
                _write(f"{self.folders[controller]}/{name.strip('/')}/{file}", value)
            except (OSError, KeyError):
                if not is_wish:
                    raise
        if self.is_v2:
            for file, value in unified.items():
                _write(f"{self.groups(name)[0]}/{file}", value)
        for group in self.groups(name):
            _write(f"{group}/cgroup.procs", "0")

    def join(self, name: str) -> None:
        """Move this process into a group that exists."""
        for group in self.groups(name):
            if os.path.isdir(group):
                _write(f"{group}/cgroup.procs", "0")

    def oom_kills(self, name: str) -> int:
        """Return how many processes of the group the kernel killed for memory."""
        if "memory" not in self.folders:
            return 0
        file = "memory.events" if self.is_v2 else "memory.oom_control"
        for line in _read(f"{self.folders['memory']}/{name.strip('/')}/{file}").splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return 0

    def processes(self, name: str) -> list[int]:
        """Return the processes in the group, as this process sees them."""
        return list(
            {int(pid) for group in self.groups(name) for pid in _read(f"{group}/cgroup.procs").split() if pid != "0"}
        )

    def remove(self, name: str) -> None:
        """Remove the group, and the pod's group above it when that is empty then."""
        for group in self.groups(name):
            if _remove(group):
                _remove(os.path.dirname(group))

    def leave_service(self, own: str) -> None:
        """Leave the service that this process was started in, where that is allowed; own is /proc/self/cgroup."""
        service = [
            line.split(":", 2)[2] for line in own.splitlines() if line.startswith("0::") or "name=systemd" in line
        ]
        for folder in self.process_folders:
            if not any(path.strip("/") for path in service):
                return
            try:
                os.makedirs(f"{folder}/{OWN_GROUP}", exist_ok=True)
                _write(f"{folder}/{OWN_GROUP}/cgroup.procs", "0")
            except OSError:
                continue

    def _settings(self, limits: dict[str, int]) -> Iterator[tuple[str, str, str, bool]]:
        memory, quota, period, shares = (limits.get(key, 0) for key in ("memory", "quota", "period", "shares"))
        period = period or 100_000
        if self.is_v2:
            if memory > 0:
                yield "memory", "memory.max", str(memory), False
            if quota > 0:
                yield "cpu", "cpu.max", f"{quota} {period}", False
            if shares > 0:
                # The mapping of 2..262144 shares to 1..10000 that every runtime uses.
                yield "cpu", "cpu.weight", str(1 + (max(shares, 2) - 2) * 9999 // 262142), True
            return
        if memory > 0:
            yield "memory", "memory.limit_in_bytes", str(memory), False
        if quota > 0:
            yield "cpu", "cpu.cfs_period_us", str(period), False
            yield "cpu", "cpu.cfs_quota_us", str(quota), False
        if shares > 0:
            yield "cpu", "cpu.shares", str(max(shares, 2)), True

    def _make(self, group: str) -> None:
        os.makedirs(group, exist_ok=True)
        if not self.is_v2:
            return
        root = next(iter(self.folders.values()))
        folder = root
        for part in os.path.relpath(group, root).split("/"):
            enabled = _read(f"{folder}/cgroup.subtree_control").split()
            missing = [f"+{controller}" for controller in self.folders if controller not in enabled]
            if missing:
                _write(f"{folder}/cgroup.subtree_control", " ".join(missing))
            folder = f"{folder}/{part}"


def find() -> Cgroups:
    """Look for the control groups of this machine."""
    return Cgroups(_read("/proc/self/mounts"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _remove(group: str) -> bool:
    try:
        os.rmdir(group)
    except OSError:
        return False
    return True
