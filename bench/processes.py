"""What a process has used, from /proc: the figures that every benchmark takes."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, user and system, in seconds."""
    # The name in parentheses may hold anything; the state is the first field behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_kb(pid: int) -> dict[str, int]:
    """Return the memory of a process, in kB: resident, its share of that, and that of no file."""
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    found = {name.rstrip(":").lower(): int(value) for name, value, *_ in fields}
    return {name: found[name] for name in ("rss", "pss", "anonymous")}


def rss_kb(pid: int) -> int:
    """Return the resident memory of a process in kB."""
    return memory_kb(pid)["rss"]
