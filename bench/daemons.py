"""The daemons at their start and at rest, and how soon a node is back when cloudcore was restarted.

All three run as they do by default; edgecore has its default modules, with local processes as runtime, and a real
mosquitto beside it. Its start lasts from the exec of the program until the API says that the node is Ready: joined
for the first time, with a certificate to be had first, and again, with the Node deleted meanwhile. What is read at
rest is the longest of all parts, and needs a machine that does nothing else.

    python -m bench.daemons [--rest 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml

from bench.processes import cpu_s, memory_kb, written_bytes
from bench.report import progress, publish
from bench.site import run
from kubeedge.demo import configuration
from kubeedge.demo.configuration import LOOPBACK, NODE_NAME
from kubeedge.demo.containers import ProcessContainers
from kubeedge.demo.program import Program
from kubeedge.kube.api import ApiError, ApiUnavailableError
from kubeedge.kube.kinds import NODE
from tests.mosquitto import mosquitto
from tests.sites import Site

STARTS = 5
JOINS = 3
RESTARTS = 3
# A connection that is lost sooner counts as a failure of the attempt, and the next attempt waits for longer.
GOOD_CONNECTION_S = 11.0
EXTERNAL_BROKER = 2
# Between a start and the next.
PAUSE_S = 0.5
# After that time a node that has become Ready is at rest.
SETTLE_S = 10.0
POLL_S = 0.005
TIMEOUT_S = 30.0


class Daemons:
    """What is measured on one site."""

    def __init__(self, site: Site, broker_url: str, rest_s: float) -> None:
        self._site, self._broker_url, self._rest_s = site, broker_url, rest_s

    async def run(self) -> dict[str, Any]:
        """Return the figures."""
        site = self._site
        starts: dict[str, list[float]] = {}
        await site.start_api()
        starts["apiserver"] = [await self._start(site.api_program, self._answers) for _ in range(STARTS)]
        await site.start_cloudcore()
        starts["cloudcore"] = [await self._start(site.cloudcore, self._lets_nodes_in) for _ in range(STARTS)]
        starts["edgecore joins"] = [await self._join(f"new-{number}") for number in range(JOINS)]
        await self._configure()
        # It joins as the others did.
        await self._until_ready()
        starts["edgecore"] = [await self._start_again() for _ in range(STARTS)]
        start_s = {name: round(statistics.median(times_s), 3) for name, times_s in starts.items()}
        progress(f"started: {start_s}")
        rest = await self._rest()
        progress(f"at rest: {rest}")
        away_s = [await self._restart_cloudcore() for _ in range(RESTARTS)]
        back_s = {"middle": round(statistics.median(away_s), 2), "last": round(max(away_s), 2)}
        return {"rest_s": self._rest_s, "start_s": start_s, "rest": rest, "back_s": back_s}

    async def _start(self, program: Program, is_up: Callable[[], Awaitable[bool]]) -> float:
        await program.stop()
        await asyncio.sleep(PAUSE_S)
        began_s = time.monotonic()
        await program.start()
        await self._until(is_up, program)
        return time.monotonic() - began_s

    async def _until(self, condition: Callable[[], Awaitable[bool]], program: Program) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not await condition():
                program.check_running()
                await asyncio.sleep(POLL_S)

    async def _answers(self) -> bool:
        try:
            await self._site.api.list(NODE)
        except (ApiError, ApiUnavailableError):
            return False
        return True

    async def _lets_nodes_in(self) -> bool:
        for port in (self._site.ports.hub, self._site.ports.certificates):
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                return False
            writer.close()
        return True

    async def _is_ready(self, name: str = NODE_NAME) -> bool:
        try:
            return await self._site.is_ready(name)
        except ApiError:
            return False

    async def _join(self, name: str) -> float:
        async with self._site.node(name) as node:
            began_s = time.monotonic()
            await node.start()
            await self._until(lambda: self._is_ready(name), node.program)
            return time.monotonic() - began_s

    async def _configure(self) -> None:
        """Write the configuration of a node with the default modules."""
        site = self._site
        folder = site.folder / "edge"
        document = configuration.edgecore(folder, site.ports, await site._join_token(), site.endpoint, has_devices=True)
        broker = {"mqttMode": EXTERNAL_BROKER, "mqttServerExternal": self._broker_url}
        document["modules"]["eventBus"] = {"enable": True, **broker}
        (folder / "edgecore.yaml").write_text(yaml.safe_dump(document))

    async def _until_ready(self) -> None:
        await self._site.start_edgecore()
        await self._until(self._is_ready, self._site.edgecore)

    async def _start_again(self) -> float:
        await self._site.edgecore.stop()
        await self._site.delete(NODE, NODE_NAME, "")
        await asyncio.sleep(PAUSE_S)
        began_s = time.monotonic()
        await self._until_ready()
        return time.monotonic() - began_s

    async def _rest(self) -> dict[str, dict[str, float]]:
        """Return memory, CPU time and bytes written of each while nothing is to be done."""
        site = self._site
        await asyncio.sleep(SETTLE_S)
        assert isinstance(site.containers, ProcessContainers)
        pids = {program.name: program.pid for program in (site.api_program, site.cloudcore, site.edgecore)}
        pids["supervisor"] = site.containers.supervisor_pid()
        before = {name: (cpu_s(pid), written_bytes(pid)) for name, pid in pids.items()}
        began_s = time.monotonic()
        await asyncio.sleep(self._rest_s)
        wall_s = time.monotonic() - began_s
        found: dict[str, dict[str, float]] = {}
        for name, pid in pids.items():
            used_s, written = cpu_s(pid) - before[name][0], written_bytes(pid) - before[name][1]
            found[name] = {
                "cpu_percent": round(used_s / wall_s * 100, 2),
                "written_kb_per_minute": round(written / wall_s * 60 / 1000, 1),
                **memory_kb(pid),
            }
        return found

    async def _restart_cloudcore(self) -> float:
        """Kill cloudcore and start it at once; return how long the node was without it."""
        site = self._site
        await asyncio.sleep(GOOD_CONNECTION_S)
        before = (await site.edge_metrics()).of("kubeedge_edgehub_connections_total")

        async def is_back() -> bool:
            with contextlib.suppress(OSError):
                return (await site.edge_metrics()).of("kubeedge_edgehub_connections_total") > before
            return False

        began_s = time.monotonic()
        await site.cloudcore.kill()
        await site.start_cloudcore()
        await self._until(is_back, site.edgecore)
        return time.monotonic() - began_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of watching them at rest")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kubeedge-bench-") as folder, mosquitto(Path(folder)) as broker:
        result = run(lambda site: Daemons(site, broker.url, options.rest).run())
    publish("daemons", result, options.json)


if __name__ == "__main__":
    main()
