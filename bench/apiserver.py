"""What a call of the embedded API costs: CPU time of its process over TLS, memory, and one write told to many watches.

`python -m bench.apiserver [--calls N] [--watches N]` starts kubeedge-apiserver on a free port and prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson

from bench.processes import cpu_s, rss_kb
from bench.report import middle_and_last_percent, publish
from bench.site import run
from kubeedge.kube import kubeconfig
from kubeedge.kube.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import CONFIG_MAP, POD
from tests.sites import Site

NAMESPACE = "kubeedge"
SETTLE_S = 2.0


class Process:
    """The measured program."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu_s(self) -> float:
        """CPU time used so far, user and system."""
        return cpu_s(self._pid)

    def rss_mib(self) -> float:
        """Memory in RAM."""
        return round(rss_kb(self._pid) / 1024, 1)


def pod(name: str) -> bytes:
    """Return a pod of usual size."""
    env = [{"name": f"VARIABLE_{number}", "value": "value"} for number in range(10)]
    container = {"name": "c", "image": "busybox:1", "env": env, "resources": {"limits": {"cpu": "1"}}}
    return orjson.dumps({"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": {"containers": [container]}})


async def measure(process: Process, calls: int, call: Callable[[int], Awaitable[object]]) -> dict[str, float]:
    """Make calls one after the other on one connection; return what one takes."""
    waits_ms = []
    cpu_s = process.cpu_s()
    for number in range(calls):
        began_s = time.perf_counter()
        await call(number)
        waits_ms.append((time.perf_counter() - began_s) * 1e3)
    used_s = process.cpu_s() - cpu_s
    p50_ms, p99_ms = middle_and_last_percent(waits_ms)
    return {"cpu_us": round(used_s / calls * 1e6), "p50_ms": p50_ms, "p99_ms": p99_ms}


async def fan_out(api: HttpApi, process: Process, watches: int) -> dict[str, float]:
    """Open watches on one object, write it, wait until the last has heard of it."""
    version = (await api.list(CONFIG_MAP, NAMESPACE)).resource_version
    heard = 0
    all_heard = asyncio.Event()

    async def follow() -> None:
        nonlocal heard
        events = api.watch(CONFIG_MAP, NAMESPACE, resource_version=version, field_selector="metadata.name=fan")
        async with aclosing(events):
            async for event in events:
                if event.type == "BOOKMARK":
                    continue
                heard += 1
                if heard % watches == 0:
                    all_heard.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow()) for _ in range(watches)]
        # All of them are open when one request more is answered after a pause.
        await asyncio.sleep(1 + watches / 500)
        rss_mib = process.rss_mib()
        took_s = []
        for number in range(5):
            all_heard.clear()
            started_s = time.perf_counter()
            body = orjson.dumps({"metadata": {"name": "fan"}, "data": {"n": str(number)}})
            if number:
                await api.patch(CONFIG_MAP, NAMESPACE, "fan", body, MERGE_PATCH)
            else:
                await api.create(CONFIG_MAP, NAMESPACE, body)
            await all_heard.wait()
            took_s.append(time.perf_counter() - started_s)
        for task in tasks:
            task.cancel()
    return {"watches": watches, "best_ms": round(min(took_s) * 1e3, 1), "rss_mib": rss_mib}


async def run_all(site: Site, calls: int, watches: int) -> dict[str, Any]:
    """Start the program and measure it."""
    await site.start_api()
    process = Process(site.api_program.pid)
    api = HttpApi(kubeconfig.load(site.kubeconfig), max_connections=watches + 10)
    try:
        await asyncio.sleep(SETTLE_S)
        return {"rss_mib_idle": process.rss_mib(), **await measure_calls(api, process, calls, watches)}
    finally:
        api.close()


async def measure_calls(api: HttpApi, process: Process, calls: int, watches: int) -> dict[str, Any]:
    """Make each call so many times, then one write with so many watches."""
    calls_of: dict[str, dict[str, float]] = {}
    data = {"k": "v" * 200}

    def config_map(number: int) -> Awaitable[object]:
        body = orjson.dumps({"metadata": {"name": f"c{number}"}, "data": data})
        return api.create(CONFIG_MAP, NAMESPACE, body)

    def merge(number: int) -> Awaitable[object]:
        body = orjson.dumps({"data": {"n": str(number)}})
        return api.patch(CONFIG_MAP, NAMESPACE, f"c{number}", body, MERGE_PATCH)

    def status(number: int) -> Awaitable[object]:
        body = b'{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
        return api.patch(POD, NAMESPACE, f"p{number}", body, STRATEGIC_MERGE_PATCH, subresource="status")

    for name, call in {
        "create config map": config_map,
        "get config map": lambda number: api.get(CONFIG_MAP, NAMESPACE, f"c{number}"),
        "merge patch config map": merge,
        "create pod": lambda number: api.create(POD, NAMESPACE, pod(f"p{number}")),
        "get pod": lambda number: api.get(POD, NAMESPACE, f"p{number}"),
        "strategic patch pod status": status,
        "delete config map": lambda number: api.delete(CONFIG_MAP, NAMESPACE, f"c{number}"),
    }.items():
        calls_of[name] = await measure(process, calls, call)
    rss_mib = process.rss_mib()
    fanned = await fan_out(api, process, watches)
    return {"calls": calls_of, "rss_mib_with_objects": rss_mib, "one write to many watches": fanned}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--watches", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    publish("apiserver", run(lambda site: run_all(site, options.calls, options.watches)), options.json)


if __name__ == "__main__":
    main()
