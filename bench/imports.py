"""What importing each daemon costs: CPU time and memory of a fresh interpreter (`python -m bench.imports`)."""

from __future__ import annotations

import json
import subprocess
import sys

DAEMONS = ("kubeedge.edgecore.app", "kubeedge.cloudcore.app", "kubeedge.apiserver.app")
RUNS = 3
TIMEOUT_S = 60
PROGRAM = """
import sys, importlib, time
before = len(sys.modules); cpu_s = time.process_time()
importlib.import_module(sys.argv[1])
cpu_s = time.process_time() - cpu_s
with open("/proc/self/statm") as statm:
    pages = int(statm.read().split()[1])
print(round(cpu_s * 1e3, 1), pages * 4, len(sys.modules) - before)
"""


def measure(module: str) -> dict[str, float]:
    """Import module in interpreters of their own; the best counts, for files may be cold the first time."""
    best: list[float] = []
    for _ in range(RUNS):
        command = [sys.executable, "-c", PROGRAM, module]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
        figures = [float(word) for word in done.stdout.split()]
        best = min(best, figures) if best else figures
    return {"cpu_ms": best[0], "rss_kb": best[1], "modules": best[2]}


if __name__ == "__main__":
    print(json.dumps({module: measure(module) for module in DAEMONS}, indent=2))
