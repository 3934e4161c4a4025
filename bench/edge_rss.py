"""Memory of an edge node with one pod: edgecore, and the supervisor of all containers (`python -m bench.edge_rss`).

Starts the demo's cloud and edge, runs one pod, lets the node settle and prints resident (RSS) and proportional (PSS)
memory as JSON. Exits with 1 when edgecore has more than MAX_EDGECORE_KB or the supervisor more than MAX_SUPERVISOR_KB.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import tempfile
from pathlib import Path

from bench.processes import memory_kb
from kubeedge import __version__
from kubeedge._speedups import BUILD
from kubeedge.demo.containers import ProcessContainers
from kubeedge.demo.site import Site
from kubeedge.kube.kinds import POD

MAX_EDGECORE_KB = 46 * 1024
MAX_SUPERVISOR_KB = 12 * 1024
RUNNING_TIMEOUT_S = 60
# Long enough for a lease, a status report and a round of housekeeping.
SETTLE_S = 15

POD_YAML = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  nodeName: edge-1
  containers: [{name: main, image: busybox, command: [sleep, infinity]}]
"""


async def measure() -> dict[str, dict[str, int]]:
    """Run one pod on a node and return the memory of its programs."""
    site = Site(Path(tempfile.mkdtemp(prefix="kubeedge-bench-")))
    try:
        await site.start_api()
        await site.start_cloudcore()
        await site.start_edgecore()
        manifest = site.folder / "pod.yaml"
        manifest.write_text(POD_YAML)
        await site.kubectl("apply", "-f", str(manifest))
        async with asyncio.timeout(RUNNING_TIMEOUT_S):
            while (await site.get(POD, "default", "one")).get("status", {}).get("phase") != "Running":
                site.check_running()
                await asyncio.sleep(0.2)
        await asyncio.sleep(SETTLE_S)
        assert isinstance(site.containers, ProcessContainers)
        pids = {program.name: program.pid for program in site.programs}
        pids["supervisor"] = site.containers.supervisor_pid()
        return {name: memory_kb(pid) for name, pid in pids.items()}
    finally:
        await site.clean_up()


def main() -> int:
    """Measure, print, judge."""
    memory = asyncio.run(measure())
    machine = {"python": platform.python_version(), "machine": platform.machine(), "kernel": platform.release()}
    print(json.dumps({"version": __version__, "build": BUILD, **machine, "pods": 1, "kB": memory}, indent=2))
    is_small = memory["edgecore"]["rss"] <= MAX_EDGECORE_KB and memory["supervisor"]["rss"] <= MAX_SUPERVISOR_KB
    return 0 if is_small else 1


if __name__ == "__main__":
    sys.exit(main())
