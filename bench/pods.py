"""Ten pods on a container engine: how soon they are Running, and what edgecore needs for them.

`python -m tests.containerd python -m bench.pods` measures on a containerd of its own, `python -m bench.pods
--endpoint unix:///run/containerd/containerd.sock` on that of the machine, `--endpoint ""` with local processes. Prints
JSON: seconds from the first creation until the API shows the last pod Running, edgecore's CPU time in between, its
memory and CPU time a second at rest with one pod and with ten. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from bench.processes import cpu_s, memory_kb
from bench.report import publish
from bench.site import run
from kubeedge.demo.configuration import NODE_NAME
from kubeedge.kube.api import ApiError
from kubeedge.kube.kinds import POD, SERVICE_ACCOUNT
from tests.sites import Site

PODS = 10
MAX_RUNNING_S = 4.0
MAX_RSS_KB = 46_000
MAX_START_CPU_MS = 480
MAX_REST_CPU_PERCENT = 0.7

NAMESPACE = "default"
READY_TIMEOUT_S = 30
RUNNING_TIMEOUT_S = 60
POLL_S = 0.05
# Long enough for a few leases and status reports, and a round of housekeeping.
REST_S = 30


def pod(name: str) -> bytes:
    """Return a pod that sleeps."""
    container = {"name": "main", "image": "busybox:1.36", "command": ["sleep", "infinity"]}
    spec = {"nodeName": NODE_NAME, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return orjson.dumps({"metadata": {"name": name}, "spec": spec})


class Bench:
    """One site and what is measured on it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self) -> dict[str, Any]:
        """Return the figures."""
        await self._site.start_api()
        await self._site.start_cloudcore()
        await self._site.start_edgecore()
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await self._is_ready():  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(POLL_S)
        result: dict[str, Any] = {"runtime": await self._site.containers.name()}
        result["1 pod"] = await self._create(1) | await self._rest()
        await self._delete()
        result[f"{PODS} pods"] = await self._create(PODS) | await self._rest()
        return result

    async def _is_ready(self) -> bool:
        try:
            await self._site.get(SERVICE_ACCOUNT, NAMESPACE, "default")
            return await self._site.is_ready(NODE_NAME)
        except ApiError:
            return False

    async def _create(self, count: int) -> dict[str, Any]:
        pid = self._site.edgecore.pid
        cpu, started = cpu_s(pid), time.monotonic()
        for number in range(count):
            await self._site.api.create(POD, NAMESPACE, pod(f"p{number}"))
        async with asyncio.timeout(RUNNING_TIMEOUT_S):
            while any(one["status"].get("phase") != "Running" for one in await self._site.objects(POD, NAMESPACE)):
                self._site.check_running()
                await asyncio.sleep(POLL_S)
        return {
            "running_s": round(time.monotonic() - started, 2),
            "cpu_ms": round((cpu_s(pid) - cpu) * 1e3),
        }

    async def _rest(self) -> dict[str, Any]:
        pid = self._site.edgecore.pid
        await asyncio.sleep(1)
        cpu, started = cpu_s(pid), time.monotonic()
        await asyncio.sleep(REST_S)
        percent = 100 * (cpu_s(pid) - cpu) / (time.monotonic() - started)
        return {"rest_cpu_percent": round(percent, 2), "kB": memory_kb(pid)}

    async def _delete(self) -> None:
        for one in await self._site.objects(POD, NAMESPACE):
            await self._site.api.delete(POD, NAMESPACE, one["metadata"]["name"])
        async with asyncio.timeout(RUNNING_TIMEOUT_S):
            while await self._site.objects(POD, NAMESPACE):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", default=os.environ.get("CONTAINER_RUNTIME_ENDPOINT", ""))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(lambda site: Bench(site).run(), options.endpoint)
    publish("pods", result, options.json)
    many = result[f"{PODS} pods"]
    is_good = (
        many["running_s"] <= MAX_RUNNING_S
        and many["cpu_ms"] <= MAX_START_CPU_MS
        and many["rest_cpu_percent"] <= MAX_REST_CPU_PERCENT
        and many["kB"]["rss"] <= MAX_RSS_KB
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
