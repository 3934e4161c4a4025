"""What every benchmark says: progress on standard error, figures as JSON on standard output and in a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeedge import __version__
from kubeedge._speedups import BUILD

_BEGAN_S = time.monotonic()


def progress(text: str) -> None:
    """Tell the person who waits what is going on."""
    print(f"{time.monotonic() - _BEGAN_S:6.1f} s  {text}", file=sys.stderr, flush=True)


def about() -> dict[str, Any]:
    """Return what was measured, on what."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"{platform.system()} {platform.release()}"
    return {
        "version": __version__,
        "build": BUILD,
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {system}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def publish(name: str, figures: dict[str, Any], path: Path | None) -> None:
    """Print the figures of a benchmark with what they were measured on, and write them to path if there is one."""
    text = json.dumps({"bench": name, **about(), **figures}, indent=2) + "\n"
    sys.stdout.write(text)
    if path is not None:
        path.write_text(text)


def middle_and_last_percent(values: Sequence[float], digits: int = 2) -> tuple[float, float]:
    """Return the p50 and the p99 of at least two values."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return round(cuts[49], digits), round(cuts[98], digits)


def _processor() -> str:
    names = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return next(names, platform.machine()).rpartition(": ")[2]
