"""Reliable pushes: what cloudcore does from a change in the API until each node's acknowledgement is in its ObjectSync.

The embedded API, cloudcore and the nodes (bench/fleet.py) are processes of their own. A ConfigMap that a pod of every
node reads changes again and again, each time after the change before is recorded for all: so every push is also
written down on its own, which in daily life several close together are not. Then one of a single node changes, one
change under way at a time. The nodes say nothing but keepalives and acknowledgements, and what cloudcore uses at rest
is taken off.

    python -m bench.push [--nodes 1000] [--changes 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import orjson

from bench.fleet import raise_file_limit
from bench.fleets import Fleets
from bench.processes import total_cpu_s, total_pss_kb
from bench.report import middle_and_last_percent, publish
from bench.site import FILES_A_NODE, OTHER_FILES, cloudcore_pids, config_map, create, pod, run, start_cloudcore
from kubeedge.kube.api import MERGE_PATCH
from kubeedge.kube.kinds import CONFIG_MAP, OBJECT_SYNC, POD
from tests.sites import Site

ALL, ONE = "settings", "own"
SINGLE_CHANGES = 200
SETTLE_S = 5.0
REST_S = 10.0
POLL_S = 0.2
SINGLE_PAUSE_S = 0.02
TIMEOUT_S = 120.0


async def change(site: Site, name: str, number: int) -> str:
    """Change a ConfigMap and return its new resourceVersion."""
    body = b'{"data":{"greeting":"number %d"}}' % number
    changed = await site.api.patch(CONFIG_MAP, "default", name, body, MERGE_PATCH)
    version: str = orjson.loads(changed)["metadata"]["resourceVersion"]
    return version


async def recorded(site: Site, version: str, nodes: int) -> None:
    """Wait until the ObjectSyncs of that many nodes say version."""
    said = b'"objectResourceVersion":"%s"' % version.encode()
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            syncs = await site.api.list(OBJECT_SYNC)
            if sum(said in sync for sync in syncs.items) >= nodes:
                return
            await asyncio.sleep(POLL_S)


async def measure(site: Site, nodes: int, changes: int) -> dict[str, Any]:
    """Run all parts one after the other."""
    await site.start_api()
    await start_cloudcore(site, nodes)
    pids = cloudcore_pids(site)
    before_kb = total_pss_kb(pids)
    fleets = Fleets(site, await site.authority(), nodes, is_quiet=True)
    await fleets.start()
    try:
        await fleets.until(lambda now: now.ready >= nodes, TIMEOUT_S)
        for name in (ALL, ONE):
            await create(site, CONFIG_MAP, [config_map(name)])
        await create(site, POD, [pod(name, ALL) for name in fleets.names] + [pod(fleets.names[0], ONE)])
        # The first push of an object to a node also makes its ObjectSync: not what is measured.
        await recorded(site, await change(site, ALL, 0), nodes)
        await recorded(site, await change(site, ONE, 0), 1)
        await asyncio.sleep(SETTLE_S)
        cpu_before_s = total_cpu_s(pids)
        await asyncio.sleep(REST_S)
        rest = (total_cpu_s(pids) - cpu_before_s) / REST_S
        return {
            "nodes": nodes,
            "changes": changes,
            "rest_cpu_percent": round(rest * 100, 2),
            "kb_per_node": round((total_pss_kb(pids) - before_kb) / nodes, 1),
            **await fan_out(site, fleets, pids, changes, rest),
            **await single(site, fleets),
        }
    finally:
        fleets.stop()


async def fan_out(site: Site, fleets: Fleets, pids: list[int], changes: int, rest: float) -> dict[str, Any]:
    """Change the object of all nodes; rest is the part of a core that cloudcore uses without."""
    nodes = len(fleets.names)
    delivered_s: list[float] = []
    each_ms: list[float] = []
    cpu_before_s, began_s = total_cpu_s(pids), time.monotonic()
    for number in range(1, changes + 1):
        await fleets.reset()
        changed_s = time.monotonic()
        await recorded(site, await change(site, ALL, number), nodes)
        pushed_at_s = (await fleets.counts()).pushed_at_s
        delivered_s.append(max(pushed_at_s) - changed_s)
        each_ms += [(at_s - changed_s) * 1e3 for at_s in pushed_at_s]
    used_s, wall_s = total_cpu_s(pids) - cpu_before_s, time.monotonic() - began_s
    p50_ms, p99_ms = middle_and_last_percent(each_ms, 1)
    return {
        "cpu_us_per_push": round((used_s - rest * wall_s) / (nodes * changes) * 1e6, 1),
        "fan_out_ms": round(statistics.median(delivered_s) * 1e3, 1),
        "fan_out_p50_ms": p50_ms,
        "fan_out_p99_ms": p99_ms,
    }


async def single(site: Site, fleets: Fleets) -> dict[str, float]:
    """Change the object of one node; return the time from the call to the API until the node acknowledges."""
    latencies_ms = []
    for number in range(1, SINGLE_CHANGES + 1):
        await fleets.reset()
        changed_s = time.monotonic()
        await change(site, ONE, number)
        answered_s = time.monotonic()
        # Not before it has surely arrived: the question would compete with it.
        await asyncio.sleep(SINGLE_PAUSE_S)
        counts = await fleets.until(lambda now: now.pushes > 0, TIMEOUT_S)
        latencies_ms.append(((counts.pushed_at_s[0] - changed_s) * 1e3, (answered_s - changed_s) * 1e3))
    p50_ms, p99_ms = middle_and_last_percent([latency_ms for latency_ms, _ in latencies_ms])
    return {
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "api_p50_ms": round(statistics.median(api_ms for _, api_ms in latencies_ms), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raise_file_limit(options.nodes * FILES_A_NODE + OTHER_FILES)
    publish("push", run(lambda site: measure(site, options.nodes, options.changes)), options.json)


if __name__ == "__main__":
    main()
