"""What a process has used, from /proc: the figures that every benchmark takes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, user and system, in seconds."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_kb(pid: int) -> dict[str, int]:
    """Return the memory of a process, in kB: resident, its share of that, and that of no file."""
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    found = {name.rstrip(":").lower(): int(value) for name, value, *_ in fields}
    return {name: found[name] for name in ("rss", "pss", "anonymous")}


def rss_kb(pid: int) -> int:
    """Return the resident memory of a process in kB."""
    return memory_kb(pid)["rss"]


def written_bytes(pid: int) -> int:
    """Return what a process has given to the disk so far; files in memory (tmpfs) don't count."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def family(pid: int) -> list[int]:
    """Return a process and those below it, children of children included."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_stat(int(entry.name))[1])
            except OSError:
                # Ended since it was listed.
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def total_cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time of some processes so far, in seconds."""
    return sum(cpu_s(pid) for pid in pids)


def total_pss_kb(pids: Iterable[int]) -> int:
    """Return the memory of some processes in kB; what they share counts once."""
    return sum(memory_kb(pid)["pss"] for pid in pids)


def _stat(pid: int) -> list[str]:
    # The name in parentheses may hold anything; the state is the first field behind it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
