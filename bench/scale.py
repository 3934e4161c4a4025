"""Thousands of nodes on one cloudcore: memory, CPU, the storm after a restart, one ConfigMap for all of them.

The embedded API, cloudcore and the nodes (bench/fleet.py) are processes of their own on this machine. What is counted
of each is its CPU time and memory as /proc shows them, so it does not matter that they share the cores; only the
times of the storm and of the push are longer for it. Memory is the proportional share (PSS) of all processes of
cloudcore together. Nodes and leases are in the API before a node connects, as those of nodes that have been away for
long: what connections cost in memory is the growth from then on, and while the nodes say nothing but keepalives, nobody
writes about them.

    python -m bench.scale [--nodes 10000] [--idle 60] [--workers 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from bench.fleet import _document, _lease, raise_file_limit
from bench.fleets import Fleets, node_names, quantiles, summary
from bench.processes import cpu_s, memory_kb, total_cpu_s, total_pss_kb
from bench.report import progress, publish
from bench.site import FILES_A_NODE, OTHER_FILES, cloudcore_pids, config_map, create, pod, run, start_cloudcore
from kubeedge.kube.api import MERGE_PATCH
from kubeedge.kube.kinds import CONFIG_MAP, LEASE, NODE, POD
from tests.sites import Site

# Until what follows a change of phase is over.
SETTLE_S = 5.0
# All nodes that begin to work are called Ready within that time, and their taints are gone.
BEGIN_WORK_TIMEOUT_S = 180.0
TAINT_POLL_S = 3.0
RECORD_S = 10.0
STORM_TIMEOUT_S = 300.0
PUSH_TIMEOUT_S = 300.0


class Meter:
    """CPU time of cloudcore, the API and the nodes, and writes to the API, since it was made."""

    def __init__(self, site: Site, fleets: Fleets, version: int) -> None:
        self._site, self._fleets = site, fleets
        self._before, self._version, self._began_s = self._read(), version, time.monotonic()

    @classmethod
    async def start(cls, site: Site, fleets: Fleets) -> Meter:
        """Begin to measure."""
        await fleets.reset()
        return cls(site, fleets, await version(site))

    def _read(self) -> dict[str, float]:
        return {
            "cloudcore": total_cpu_s(cloudcore_pids(self._site)),
            "api": cpu_s(self._site.api_program.pid),
            "nodes": self._fleets.cpu_s(),
        }

    async def read(self) -> dict[str, float]:
        """Return the seconds that passed, CPU time of each in seconds and as part of one core, writes a second."""
        now, wall_s = self._read(), time.monotonic() - self._began_s
        used: dict[str, float] = {"wall_s": round(wall_s, 1)}
        for name, before in self._before.items():
            used[f"{name}_cpu_s"] = round(now[name] - before, 2)
            used[f"{name}_cpu_percent"] = round((now[name] - before) / wall_s * 100, 1)
        return {**used, "api_writes_per_s": round((await version(self._site) - self._version) / wall_s, 1)}


async def version(site: Site) -> int:
    """Return the version of the API's last write; each write is one more."""
    return int((await site.api.list(CONFIG_MAP, "kube-system")).resource_version)


def memory(site: Site) -> int:
    """Return the memory of cloudcore in kB."""
    return total_pss_kb(cloudcore_pids(site))


async def measure(site: Site, nodes: int, idle_s: float, workers: int) -> dict[str, Any]:
    """Run all parts one after the other."""
    report: dict[str, Any] = {"nodes": nodes, "workers": workers}

    def note(part: str, figures: dict[str, Any]) -> None:
        report[part] = figures
        progress(f"{part}: {json.dumps(figures)}")

    await site.start_api()
    await start_cloudcore(site, nodes, workers)
    await asyncio.sleep(SETTLE_S)
    empty_kb = memory(site)
    names = node_names(nodes)
    began_s = time.monotonic()
    await create(site, NODE, (unreachable(name) for name in names))
    await create(site, LEASE, (orjson.loads(_lease(name)) for name in names))
    created_s = time.monotonic() - began_s
    await asyncio.sleep(SETTLE_S)
    known_kb = memory(site)
    note(
        "known",
        {
            "created_s": round(created_s, 1),
            "cloudcore_kb": known_kb,
            "kb_per_known_node": round((known_kb - empty_kb) / nodes, 1),
        },
    )
    fleets = Fleets(site, await site.authority(), nodes, is_quiet=True, is_known=True)
    try:
        began_s = time.monotonic()
        await fleets.start()
        progress(f"certificates of all nodes made within {time.monotonic() - began_s:.1f} s")
        meter = await Meter.start(site, fleets)
        counts = await fleets.until(lambda now: now.connected >= nodes, STORM_TIMEOUT_S)
        figures = {**summary(counts), **await meter.read()}
        note("first_connect", {**figures, "connected": quantiles(counts.connected_after_s)})

        await asyncio.sleep(2 * SETTLE_S)
        note("quiet", {**await idle(site, fleets, idle_s), "kb_per_connection": per_node(site, known_kb, nodes)})

        await fleets.work()
        await all_reachable(site)
        note("idle", {**await idle(site, fleets, idle_s), "kb_per_connection": per_node(site, known_kb, nodes)})

        note("restart", await restart(site, fleets, nodes, workers))
        note("push", await push(site, fleets, nodes))
    finally:
        fleets.stop()
    return report


def unreachable(name: str) -> dict[str, Any]:
    """Return the Node of a node that has been away for long: nobody has to say any more that it is."""
    document = _document(name)
    for condition in document["status"]["conditions"]:
        condition |= {"status": "Unknown", "reason": "NodeStatusUnknown"}
    key, added = "node.kubernetes.io/unreachable", "2026-01-01T00:00:00Z"
    taints = [{"key": key, "effect": effect, "timeAdded": added} for effect in ("NoSchedule", "NoExecute")]
    return {**document, "spec": {"taints": taints}}


async def all_reachable(site: Site) -> None:
    """Wait until no Node has a taint any more."""
    async with asyncio.timeout(BEGIN_WORK_TIMEOUT_S):
        while any(b'"taints"' in item for item in (await site.api.list(NODE)).items):  # noqa: ASYNC110
            await asyncio.sleep(TAINT_POLL_S)
    await asyncio.sleep(SETTLE_S)


def per_node(site: Site, before_kb: int, nodes: int) -> float:
    """Return by how much each node has let cloudcore grow, in kB."""
    return round((memory(site) - before_kb) / nodes, 1)


async def idle(site: Site, fleets: Fleets, idle_s: float) -> dict[str, Any]:
    """Watch nodes that have nothing to do but what they do by the clock."""
    meter = await Meter.start(site, fleets)
    await asyncio.sleep(idle_s)
    used = await meter.read()
    api = memory_kb(site.api_program.pid)
    return {**summary(await fleets.counts()), **used, "cloudcore_kb": memory(site), "api_kb": api["rss"]}


async def restart(site: Site, fleets: Fleets, nodes: int, workers: int) -> dict[str, Any]:
    """Kill cloudcore, start it again, and wait until every node is connected and has renewed its lease."""
    await site.cloudcore.kill()
    await fleets.until(lambda now: now.connected == 0, STORM_TIMEOUT_S)
    began_s = time.monotonic()
    await start_cloudcore(site, nodes, workers)
    started_s = time.monotonic() - began_s
    meter = await Meter.start(site, fleets)
    counts = await fleets.until(lambda now: now.ready >= nodes, STORM_TIMEOUT_S)
    figures = {**summary(counts), **await meter.read(), "start_s": round(started_s, 2)}
    times = {"connected": quantiles(counts.connected_after_s), "ready": quantiles(counts.ready_after_s)}
    return {**figures, **times, "ready_in_the_api": await ready_in_the_api(site)}


async def ready_in_the_api(site: Site) -> int:
    """Return how many Nodes the API calls Ready."""
    return sum(
        is_ready(orjson.loads(item)["status"].get("conditions", ())) for item in (await site.api.list(NODE)).items
    )


def is_ready(conditions: Iterable[dict[str, str]]) -> bool:
    """Tell whether conditions of a Node say that it is Ready."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def push(site: Site, fleets: Fleets, nodes: int) -> dict[str, Any]:
    """Change a ConfigMap that a pod of every node reads; wait until every node has it."""
    await create(site, CONFIG_MAP, [config_map("settings")])
    await fleets.reset()
    await create(site, POD, (pod(name, "settings") for name in fleets.names))
    await fleets.until(lambda now: now.pushes >= nodes, PUSH_TIMEOUT_S)
    progress("all nodes have their pods")
    # What each node asks for with its pod; until then the cloud does not know that the ConfigMap is for that node.
    await asyncio.sleep(RECORD_S)
    meter = await Meter.start(site, fleets)
    changed_s = time.monotonic()
    await site.api.patch(CONFIG_MAP, "default", "settings", b'{"data":{"greeting":"bye"}}', MERGE_PATCH)
    counts = await fleets.until(lambda now: now.pushes >= nodes, PUSH_TIMEOUT_S)
    arrived = await meter.read()
    await asyncio.sleep(RECORD_S)
    used = await meter.read()
    return {
        **summary(counts),
        "arrived": quantiles([at_s - changed_s for at_s in counts.pushed_at_s]),
        "until_all_arrived": arrived,
        "until_all_recorded": used,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of watching idle nodes")
    parser.add_argument("--workers", type=int, default=1, help="processes of cloudcore that hold connections")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raise_file_limit(options.nodes * FILES_A_NODE + OTHER_FILES)
    publish("scale", run(lambda site: measure(site, options.nodes, options.idle, options.workers)), options.json)


if __name__ == "__main__":
    main()
