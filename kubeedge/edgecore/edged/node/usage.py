"""What the whole machine uses, from /proc: pure functions of its texts, and one that reads them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from kubeedge.edgecore.edged.node import hardware

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Filesystem(msgspec.Struct):
    """A file system; sizes in bytes."""

    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int


class Interface(msgspec.Struct):
    """A network interface since the start of the machine."""

    name: str
    received_bytes: int
    received_errors: int
    sent_bytes: int
    sent_errors: int


class NodeStats(msgspec.Struct):
    """A reading: read_at in nanoseconds, started_at in seconds of Unix time, sizes in bytes, the rest since the start.

    working_set: what is used without what the kernel can take back at once; rss: of no file.
    """

    read_at: int
    started_at: int
    cpu_ns: int
    memory_usage: int
    working_set: int
    available: int
    rss: int
    page_faults: int
    major_page_faults: int
    filesystem: Filesystem
    interfaces: list[Interface]


def read(root: Path) -> NodeStats:
    """Read the machine; root lies on the file system that counts as the node's. Raises OSError."""
    stat, faults = _table(Path("/proc/stat").read_text()), _table(Path("/proc/vmstat").read_text())
    memory = hardware.memory()
    used = memory["MemTotal"] - memory.get("MemFree", 0)
    working_set = max(used - memory.get("Inactive(file)", 0), 0)
    disk = os.statvfs(root)
    return NodeStats(
        read_at=time.time_ns(),
        started_at=stat["btime"][0],
        cpu_ns=cpu_ns(stat["cpu"]),
        memory_usage=used,
        working_set=working_set,
        available=memory["MemTotal"] - working_set,
        rss=memory.get("AnonPages", 0),
        page_faults=faults.get("pgfault", [0])[0],
        major_page_faults=faults.get("pgmajfault", [0])[0],
        filesystem=Filesystem(
            capacity=disk.f_blocks * disk.f_frsize,
            available=disk.f_bavail * disk.f_frsize,
            used=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
            inodes=disk.f_files,
            inodes_free=disk.f_ffree,
        ),
        interfaces=interfaces(Path("/proc/net/dev").read_text()),
    )


def cpu_ns(ticks: list[int]) -> int:
    """Return the time that all processors worked, of the first line of /proc/stat.

    Its numbers: user nice system idle iowait irq softirq steal, and two that are in the first two already.
    """
    return (sum(ticks[:8]) - sum(ticks[3:5])) * _TICK_NS


def interfaces(text: str) -> list[Interface]:
    """Return what /proc/net/dev says of all interfaces but the loopback."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(number) for number in rest.split()]
        if name.strip() != "lo":
            found.append(Interface(name.strip(), numbers[0], numbers[2], numbers[8], numbers[10]))
    return found


def _table(text: str) -> dict[str, list[int]]:
    """Return lines of a name and numbers."""
    lines = (line.split() for line in text.splitlines())
    return {name: [int(number) for number in numbers if number.isdigit()] for name, *numbers in lines}
