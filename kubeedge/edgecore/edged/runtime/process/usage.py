"""What running containers use, from their control groups, or from their processes where they have none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from kubeedge.edgecore.edged.runtime.interface import ContainerStats
from kubeedge.edgecore.edged.runtime.process import cgroups, disk
from kubeedge.edgecore.edged.runtime.process.cgroups import Cgroups

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Running(NamedTuple):
    """A running container: its first process, which leads a session, and its control group, empty for none."""

    id: str
    pid: int
    cgroup: str


class Memory(NamedTuple):
    """Sizes in bytes, as ContainerStats has them."""

    usage: int
    working_set: int
    rss: int


class Session(msgspec.Struct):
    """What the processes of one session use together, the ended children of the living included."""

    cpu_ns: int = 0
    rss: int = 0


def read(running: Sequence[Running]) -> list[ContainerStats]:
    """Read what these containers use. This blocks; /proc is gone through once, and only when a group lacks numbers."""
    groups = cgroups.find()
    sessions = _Sessions()
    return [_stats(one, groups, sessions) for one in running]


def group_cpu_ns(groups: Cgroups, name: str) -> int | None:
    """Return the time that a group ran, None where its hierarchy does not count it."""
    folder = _folder(groups, "cpu", name)
    if not groups.is_v2:
        spent = disk.read(f"{folder}/cpuacct.usage").strip()
        return int(spent) if spent else None
    spent_us = _table(disk.read(f"{folder}/cpu.stat")).get("usage_usec")
    return None if spent_us is None else spent_us * 1000


def group_memory(groups: Cgroups, name: str) -> Memory | None:
    """Return the memory of a group, None where it is not counted."""
    folder = _folder(groups, "memory", name)
    current, inactive, anonymous = (
        ("memory.current", "inactive_file", "anon")
        if groups.is_v2
        else ("memory.usage_in_bytes", "total_inactive_file", "total_rss")
    )
    used = disk.read(f"{folder}/{current}").strip()
    if not used:
        return None
    table = _table(disk.read(f"{folder}/memory.stat"))
    return Memory(int(used), max(int(used) - table.get(inactive, 0), 0), table.get(anonymous, 0))


def sum_sessions(stats: Iterator[str]) -> dict[int, Session]:
    """Add up the texts of /proc/PID/stat by session."""
    sessions: dict[int, Session] = {}
    for stat in stats:
        # The name in parentheses may hold anything; state is the first field behind it.
        fields = stat.rpartition(")")[2].split()
        if len(fields) < 22:
            continue
        session = sessions.setdefault(int(fields[3]), Session())
        session.cpu_ns += sum(map(int, fields[11:15])) * _TICK_NS
        session.rss += int(fields[21]) * _PAGE_BYTES
    return sessions


class _Sessions(msgspec.Struct):
    """The sessions of this machine, read when the first is asked for."""

    known: dict[int, Session] | None = None

    def of(self, pid: int) -> Session:
        if self.known is None:
            self.known = sum_sessions(disk.read(f"/proc/{name}/stat") for name in os.listdir("/proc") if name.isdigit())
        return self.known.get(pid) or Session()


def _stats(one: Running, groups: Cgroups, sessions: _Sessions) -> ContainerStats:
    cpu_ns = group_cpu_ns(groups, one.cgroup) if one.cgroup else None
    memory = group_memory(groups, one.cgroup) if one.cgroup else None
    if cpu_ns is None:
        cpu_ns = sessions.of(one.pid).cpu_ns
    if memory is None:
        memory = Memory(*[sessions.of(one.pid).rss] * 3)
    return ContainerStats(one.id, time.time_ns(), cpu_ns, *memory)


def _folder(groups: Cgroups, controller: str, name: str) -> str:
    return f"{groups.folders.get(controller, '')}/{name.strip('/')}"


def _table(text: str) -> dict[str, int]:
    lines = (line.split(" ") for line in text.splitlines())
    return {key: int(value) for key, value, *_ in lines}
