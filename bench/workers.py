"""What it costs that worker processes hold the connections of nodes: CloudHub alone and with workers, in turns.

As bench/link_roundtrip.py: requests of nodes and the replies of a controller, mutual TLS on loopback. Counted is the
CPU time of all processes of the hub together. The nodes are one more process, which takes its share of the cores:
throughput is that of this machine with all of them on it.

The controller answers in the next turn of the loop: real ones ask the API first. With --at-once it answers inside the
call, which a hub alone then finishes while all of the connection is in the cache of the processor; workers cannot.

    python -m bench.workers [--workers 2] [--nodes 400] [--messages 60000] [--rounds 3] [--at-once] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import uvloop

from bench.link_roundtrip import Node, serve
from bench.processes import cpu_s, family
from bench.report import middle_and_last_percent, progress, publish
from kubeedge.link.client import ClientConnection, connect
from tests.link.certificates import TestAuthority

# Nodes that connect at a time.
OPENING = 32
# Until the last sessions are counted.
SETTLE_S = 1.0
END_TIMEOUT_S = 20


async def play(hub: Pipe, pid: int, authority: TestAuthority, nodes: int, messages: int) -> dict[str, Any]:
    """Connect all nodes; return what their round trips took, and the CPU of each process of the hub meanwhile."""
    port = hub.recv()
    made: list[Node] = []
    opening = asyncio.Semaphore(OPENING)

    def opened(connection: ClientConnection) -> Node:
        made.append(Node(connection, messages // nodes, 1))
        return made[-1]

    async def open_one(number: int) -> None:
        async with opening:
            await connect(
                f"wss://127.0.0.1:{port}/p/e{number}/events",
                authority.client_context(f"e{number}"),
                [("Node_id", f"e{number}"), ("Connectionuse", "msg")],
                opened,
            )

    await asyncio.gather(*(open_one(number) for number in range(nodes)))
    await asyncio.sleep(SETTLE_S)
    processes = family(pid)
    before_s, own_before_s, began = [cpu_s(one) for one in processes], time.process_time(), time.perf_counter()
    for node in made:
        node.fill()
    await asyncio.gather(*(node.done for node in made))
    took_s, own_s = time.perf_counter() - began, time.process_time() - own_before_s
    used_s = [cpu_s(one) - before for one, before in zip(processes, before_s, strict=True)]
    total = messages // nodes * nodes
    p50_ms, p99_ms = middle_and_last_percent([latency for node in made for latency in node.latencies_ms], 3)
    hub.send("nodes")
    return {
        "nodes_by_worker": hub.recv(),
        "cpu_us_per_round_trip": sum(used_s) / total * 1e6,
        "cpu_us_by_process": [round(one / total * 1e6, 2) for one in used_s],
        "round_trips_per_s": round(total / took_s),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "clients_share_of_cpu": round(own_s / (own_s + sum(used_s)), 2),
    }


def measure(authority: TestAuthority, workers: int, nodes: int, messages: int, *, is_late: bool) -> dict[str, Any]:
    """Measure a hub with so many workers once."""
    mine, theirs = multiprocessing.Pipe()
    # No daemon: that may not have children.
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(theirs, authority, workers), kwargs={"is_late": is_late}
    )
    server.start()
    try:
        return uvloop.run(play(mine, server.pid or 0, authority, nodes, messages))
    finally:
        server.terminate()
        server.join(END_TIMEOUT_S)


def imbalance(loads: list[float]) -> float:
    """Return by how much the load that is farthest from the mean differs from it, as a part of it."""
    mean = statistics.fmean(loads)
    return round(max(abs(load - mean) for load in loads) / mean, 3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=400)
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[int, list[dict[str, Any]]] = {1: [], options.workers: []}
    with tempfile.TemporaryDirectory() as folder:
        authority = TestAuthority(Path(folder))
        for _ in range(options.rounds):
            for workers, rounds in found.items():
                rounds.append(measure(authority, workers, options.nodes, options.messages, is_late=not options.at_once))
                progress(f"{workers} workers: {rounds[-1]}")
    figures: dict[str, Any] = {}
    for workers, rounds in found.items():
        # CPU of the least disturbed round; what others on the machine do only adds to it.
        best = min(rounds, key=lambda one: float(one["cpu_us_per_round_trip"]))
        best["round_trips_per_s"] = max(one["round_trips_per_s"] for one in rounds)
        best["cpu_us_per_round_trip"] = round(best["cpu_us_per_round_trip"], 2)
        figures[f"workers_{workers}"] = best
    many = figures[f"workers_{options.workers}"]
    ratio = many["cpu_us_per_round_trip"] / figures["workers_1"]["cpu_us_per_round_trip"]
    publish(
        "workers",
        {
            "nodes": options.nodes,
            "workers": options.workers,
            "cores": os.cpu_count(),
            "cpu_ratio": round(ratio, 3),
            "imbalance_of_nodes": imbalance(many["nodes_by_worker"]),
            # The first process is the hub itself.
            "imbalance_of_cpu": imbalance(many["cpu_us_by_process"][1:]),
            **figures,
        },
        options.json,
    )


if __name__ == "__main__":
    main()
