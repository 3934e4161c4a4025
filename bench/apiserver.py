"""What a call of the embedded API costs: CPU time of its process over TLS, memory, and one write told to many watches.

`python -m bench.apiserver [--calls N] [--watches N]` starts kubeedge-apiserver on a free port and prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.processes import cpu_s, rss_kb
from kubeedge import __version__
from kubeedge.kube import kubeconfig
from kubeedge.kube.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import CONFIG_MAP, POD

NAMESPACE = "kubeedge"
START_TIMEOUT_S = 30


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


async def measure(process: Process, calls: int, call: Callable[[int], Awaitable[object]]) -> dict[str, int]:
    """Make calls one after the other on one connection; return microseconds a call."""
    cpu_s, wall_s = process.cpu_s(), time.perf_counter()
    for number in range(calls):
        await call(number)
    return {
        "cpu_us": round((process.cpu_s() - cpu_s) / calls * 1e6),
        "wall_us": round((time.perf_counter() - wall_s) / calls * 1e6),
    }


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


async def run(calls: int, watches: int) -> dict[str, Any]:
    """Start the program and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kubeconfig"
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kubeedge.apiserver", "--data-dir", f"{folder}/data", "--port", "0", "--kubeconfig", str(config)),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not config.exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            process = Process(program.pid)
            api = HttpApi(kubeconfig.load(config), max_connections=watches + 10)
            await asyncio.sleep(2)
            result: dict[str, Any] = {"rss_mib_idle": process.rss_mib()}
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
            }.items():
                result[name] = await measure(process, calls, call)
            result[f"rss_mib_with_{2 * calls}_objects"] = process.rss_mib()
            result["one write to many watches"] = await fan_out(api, process, watches)
            api.close()
            return result
        finally:
            program.terminate()
            await program.wait()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--watches", type=int, default=500)
    options = parser.parse_args()
    result = uvloop.run(run(options.calls, options.watches))
    about = {"version": __version__, "python": platform.python_version(), "machine": platform.machine()}
    about["method"] = "CPU time of the server's process from /proc, one call at a time, TLS on loopback"
    print(orjson.dumps({**about, **result}, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
