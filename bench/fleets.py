"""A fleet of nodes (bench/fleet.py) shared between a few processes, so that no single core plays them all."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any

import uvloop

from bench.fleet import Counts, Fleet
from bench.processes import total_cpu_s
from kubeedge.demo import configuration
from kubeedge.pki.authority import Authority
from kubeedge.pki.tls import client_context
from tests.sites import Site

FLEET_PROCESSES = 2
STOP_TIMEOUT_S = 20
POLL_S = 0.25


class FleetProcess:
    """A fleet in a process of its own; it ends with this one, however that ends."""

    def __init__(
        self, url: str, authority: Authority, names: list[str], *, is_quiet: bool = False, is_known: bool = False
    ) -> None:
        """See Fleet."""
        self._pipe, self._theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_play,
            args=(self._theirs, url, authority.certificate, authority.key, names, is_quiet, is_known),
            daemon=True,
        )

    async def start(self) -> None:
        """Start it; it makes the certificates of its nodes and connects them all. Raises EOFError when it fails."""
        await asyncio.to_thread(self._process.start)
        # Ours alone now: the end of the other process is the end of the pipe.
        self._theirs.close()
        await asyncio.to_thread(self._pipe.recv)

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process.pid is not None
        return self._process.pid

    async def reset(self) -> None:
        """Let it count anew."""
        await self._ask("reset")

    async def work(self) -> None:
        """Let its nodes be quiet no longer."""
        await self._ask("work")

    async def counts(self) -> Counts:
        """Return what it has counted."""
        found: Counts = await self._ask("counts")
        return found

    async def _ask(self, question: str) -> Any:
        self._pipe.send(question)
        return await asyncio.to_thread(self._pipe.recv)

    def stop(self) -> None:
        """End it."""
        if self._process.pid is not None:
            self._process.terminate()
            self._process.join(STOP_TIMEOUT_S)


def _play(pipe: Pipe, url: str, ca: bytes, key: bytes, names: list[str], is_quiet: bool, is_known: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    authority = Authority.from_der(ca, key)
    contexts = {}
    for name in names:
        pair = authority.issue_client(f"system:node:{name}", ["system:nodes"])
        contexts[name] = client_context(authority.certificate_pem, pair.certificate_pem, pair.key_pem)

    async def main() -> None:
        fleet = Fleet(url, contexts, is_quiet=is_quiet, is_known=is_known)
        running = asyncio.ensure_future(fleet.run())
        pipe.send("playing")

        def asked() -> None:
            try:
                question = pipe.recv()
            except (EOFError, ConnectionError):
                # Nobody wants to know any more.
                running.cancel()
                return
            if question == "counts":
                pipe.send(fleet.counts)
            else:
                (fleet.work if question == "work" else fleet.reset)()
                pipe.send(None)

        asyncio.get_running_loop().add_reader(pipe.fileno(), asked)
        await running

    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(main())


def node_names(nodes: int) -> list[str]:
    """Return the names of that many nodes."""
    return [f"fleet-{number:05d}" for number in range(nodes)]


class Fleets:
    """All nodes, shared between a few processes."""

    def __init__(
        self, site: Site, authority: Authority, nodes: int, *, is_quiet: bool = False, is_known: bool = False
    ) -> None:
        """See bench.fleet.Fleet for what quiet and known nodes are."""
        names = node_names(nodes)
        url = f"wss://{configuration.LOOPBACK}:{site.ports.hub}"
        self.names = names
        self._processes = [
            FleetProcess(url, authority, names[part::FLEET_PROCESSES], is_quiet=is_quiet, is_known=is_known)
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

    async def work(self) -> None:
        """Let all nodes be quiet no longer."""
        await asyncio.gather(*(process.work() for process in self._processes))

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
        return total_cpu_s(process.pid for process in self._processes)

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
