"""Thousands of nodes on one cloudcore: memory, CPU, the storm after a restart, one ConfigMap for all of them.

The embedded API, cloudcore and the nodes (bench/fleet.py) are processes of their own on this machine. What is counted
of each is its CPU time and memory as /proc shows them, so it does not matter that they share the cores; only the
times of the storm and of the push are longer for it.

    python -m bench.scale [--nodes 10000] [--idle 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import yaml

from bench.fleet import Counts, FleetProcess, raise_file_limit
from bench.processes import cpu_s, rss_kb
from kubeedge import __version__
from kubeedge._speedups import BUILD
from kubeedge.demo import configuration
from kubeedge.kube.api import MERGE_PATCH, ApiError, Kind
from kubeedge.kube.kinds import CONFIG_MAP, POD
from tests.sites import Site

FLEET_PROCESSES = 2
FILES_A_NODE = 1
OTHER_FILES = 1024
# Nodes that are made known to the API at a time.
WRITERS = 16
POLL_S = 0.25
STORM_TIMEOUT_S = 300.0
PUSH_TIMEOUT_S = 300.0


class Fleets:
    """All nodes, shared between a few processes."""

    def __init__(self, site: Site, authority: Any, nodes: int, *, is_quiet: bool = False) -> None:
        """is_quiet leaves out leases and statuses once all have come."""
        names = [f"fleet-{number:05d}" for number in range(nodes)]
        url = f"wss://{configuration.LOOPBACK}:{site.ports.hub}"
        self.names = names
        self._processes = [
            FleetProcess(url, authority, names[part::FLEET_PROCESSES], is_quiet=is_quiet)
            for part in range(FLEET_PROCESSES)
        ]

    async def start(self) -> None:
        """Start them; all connect."""
        await asyncio.gather(*(process.start() for process in self._processes))

    async def counts(self) -> Counts:
        """Return what all have counted together."""
        total = Counts()
        for one in await asyncio.gather(*(process.counts() for process in self._processes)):
            for name in ("connected", "ready", "replies", "errors", "pushes", "connects", "failures"):
                setattr(total, name, getattr(total, name) + getattr(one, name))
            for name in ("connected_after_s", "ready_after_s", "pushed_at_s"):
                getattr(total, name).extend(getattr(one, name))
            total.first_error = total.first_error or one.first_error
        return total

    async def reset(self) -> None:
        """Count anew."""
        await asyncio.gather(*(process.reset() for process in self._processes))

    async def until(self, condition: Callable[[Counts], bool], timeout_s: float) -> Counts:
        """Wait for a condition. Raises TimeoutError with what is there."""
        deadline = time.monotonic() + timeout_s
        while not condition(counts := await self.counts()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout_s:g} s: {summary(counts)}")
            await asyncio.sleep(POLL_S)
        return counts

    def cpu_s(self) -> float:
        """Return the CPU time of all of them."""
        return sum(cpu_s(process.pid) for process in self._processes)

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.stop()


def summary(counts: Counts) -> dict[str, Any]:
    """Return the numbers without the times."""
    names = ("connected", "ready", "replies", "errors", "pushes", "connects", "failures", "first_error")
    return {name: getattr(counts, name) for name in names}


def quantiles(times_s: list[float]) -> dict[str, float]:
    """Return the middle, the 99th part and the last of some times."""
    if len(times_s) < 2:
        return {}
    cuts = statistics.quantiles(times_s, n=100)
    return {"p50_s": round(cuts[49], 2), "p99_s": round(cuts[98], 2), "last_s": round(max(times_s), 2)}


class Meter:
    """CPU time of cloudcore, the API and the nodes since it was made."""

    def __init__(self, site: Site, fleets: Fleets) -> None:
        self._site, self._fleets = site, fleets
        self._before, self._began_s = self._read(), time.monotonic()

    def _read(self) -> dict[str, float]:
        return {
            "cloudcore": cpu_s(self._site.cloudcore.pid),
            "api": cpu_s(self._site.api_program.pid),
            "nodes": self._fleets.cpu_s(),
        }

    def read(self) -> dict[str, float]:
        """Return the CPU seconds of each, and the seconds that passed."""
        now = self._read()
        used = {f"{name}_cpu_s": round(now[name] - before, 2) for name, before in self._before.items()}
        return {**used, "wall_s": round(time.monotonic() - self._began_s, 1)}


async def create(site: Site, kind: Kind, objects: list[dict[str, Any]]) -> None:
    """Create objects, some at a time."""
    waiting = iter(objects)

    async def work() -> None:
        for document in waiting:
            namespace = document["metadata"].get("namespace", "")
            await site.api.create(kind, namespace, orjson.dumps(document))

    await asyncio.gather(*(work() for _ in range(WRITERS)))


def pod(node: str, config_map: str) -> dict[str, Any]:
    """Return a pod of a node that reads a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{config_map}-{node}", "namespace": "default"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "busybox"}],
            "volumes": [{"name": "settings", "configMap": {"name": config_map}}],
        },
    }


async def start_cloudcore(site: Site, nodes: int) -> None:
    """Start cloudcore for that many nodes and wait until they can connect."""
    document = configuration.cloudcore(site.folder / "cloud", site.ports, site.kubeconfig)
    document["modules"]["cloudHub"]["nodeLimit"] = nodes + 100
    (site.folder / "cloud" / "cloudcore.yaml").write_text(yaml.safe_dump(document))
    await site.cloudcore.start()
    await site._answered(site.cloudcore, site.ports.certificates)


async def measure(site: Site, nodes: int, idle_s: float) -> dict[str, Any]:
    """Run all parts one after the other."""
    report: dict[str, Any] = {}
    await site.start_api()
    await start_cloudcore(site, nodes)
    await asyncio.sleep(2)
    empty_kb = rss_kb(site.cloudcore.pid)
    fleets = Fleets(site, await site.authority(), nodes)
    await fleets.start()
    try:
        await fleets.reset()
        meter = Meter(site, fleets)
        counts = await fleets.until(lambda now: now.ready >= nodes, STORM_TIMEOUT_S)
        report["first_connect"] = {**summary(counts), **meter.read(), "ready": quantiles(counts.ready_after_s)}
        print(json.dumps(report), flush=True)

        await asyncio.sleep(5)
        await fleets.reset()
        meter = Meter(site, fleets)
        await asyncio.sleep(idle_s)
        used = meter.read()
        report["idle"] = {
            **summary(await fleets.counts()),
            **used,
            "cloudcore_cpu_percent": round(used["cloudcore_cpu_s"] / used["wall_s"] * 100, 1),
            "api_cpu_percent": round(used["api_cpu_s"] / used["wall_s"] * 100, 1),
            "cloudcore_rss_kb": rss_kb(site.cloudcore.pid),
            "api_rss_kb": rss_kb(site.api_program.pid),
            "rss_kb_per_node": round((rss_kb(site.cloudcore.pid) - empty_kb) / nodes, 1),
        }
        print(json.dumps(report["idle"]), flush=True)

        report["restart"] = await restart(site, fleets, nodes)
        print(json.dumps(report["restart"]), flush=True)
        report["push"] = await push(site, fleets, nodes)
        print(json.dumps(report["push"]), flush=True)
    finally:
        fleets.stop()
    return report


async def restart(site: Site, fleets: Fleets, nodes: int) -> dict[str, Any]:
    """Kill cloudcore, start it again, and wait until every node has renewed its lease."""
    await site.cloudcore.kill()
    await fleets.until(lambda now: now.connected == 0, STORM_TIMEOUT_S)
    await fleets.reset()
    await start_cloudcore(site, nodes)
    meter = Meter(site, fleets)
    counts = await fleets.until(lambda now: now.ready >= nodes, STORM_TIMEOUT_S)
    return {
        **summary(counts),
        **meter.read(),
        "connected": quantiles(counts.connected_after_s),
        "ready": quantiles(counts.ready_after_s),
    }


async def push(site: Site, fleets: Fleets, nodes: int) -> dict[str, Any]:
    """Change a ConfigMap that a pod of every node reads; wait until every node has it."""
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}
    await create(site, CONFIG_MAP, [{**settings, "data": {"greeting": "hello"}}])
    await fleets.reset()
    await create(site, POD, [pod(name, "settings") for name in fleets.names])
    await fleets.until(lambda now: now.pushes >= nodes, PUSH_TIMEOUT_S)
    # What each node asks for with its pod; until then the cloud does not know that the ConfigMap is for that node.
    await asyncio.sleep(10)
    await fleets.reset()
    meter = Meter(site, fleets)
    changed_s = time.monotonic()
    await site.api.patch(CONFIG_MAP, "default", "settings", b'{"data":{"greeting":"bye"}}', MERGE_PATCH)
    counts = await fleets.until(lambda now: now.pushes >= nodes, PUSH_TIMEOUT_S)
    arrived = meter.read()
    await asyncio.sleep(10)
    used = meter.read()
    return {
        **summary(counts),
        "arrived": quantiles([at_s - changed_s for at_s in counts.pushed_at_s]),
        "until_all_arrived": arrived,
        "until_all_recorded": used,
        "cloudcore_cpu_us_per_delivery": round(used["cloudcore_cpu_s"] / nodes * 1e6),
    }


async def in_folder(measure: Callable[[Site], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Measure a site in a folder that is removed again."""
    folder = Path(tempfile.mkdtemp(prefix="kubeedge-scale-"))
    site = Site(folder)
    try:
        return await measure(site)
    except BaseException:
        for program in (site.cloudcore, site.api_program):
            print(program.last_words(40), file=sys.stderr)
        raise
    finally:
        with contextlib.suppress(ApiError):
            await site.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of watching idle nodes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raise_file_limit(options.nodes * FILES_A_NODE + OTHER_FILES)
    result = asyncio.run(in_folder(lambda site: measure(site, options.nodes, options.idle)))
    report = {
        "bench": "scale",
        "version": __version__,
        "build": BUILD,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "nodes": options.nodes,
        **result,
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
