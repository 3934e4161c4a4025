"""CPU of cloudcore's hub for requests of edge nodes and their replies, over mutual TLS on loopback.

The hub runs in a process of its own with a controller that answers at once; this process plays the nodes. Counted is
the CPU time of the hub's process alone, so the nodes may share its cores.

A round trip takes from the call that sends a request to the call that hands over its answer.

    python -m bench.link_roundtrip [--nodes 10] [--messages 50000] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections import deque
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import cast

import uvloop

from bench.processes import cpu_s, rss_kb
from bench.report import middle_and_last_percent, publish
from kubeedge.bus import Bus
from kubeedge.cloudcore.hub.hub import CloudHub
from kubeedge.cloudcore.hub.workers import worker_nodes
from kubeedge.kube.api import ApiError, KubeApi
from kubeedge.link.client import ClientConnection, connect
from kubeedge.message import Message, encode, new_message, response_to
from kubeedge.pki.tls import HUB_CIPHERS
from tests.link.certificates import TestAuthority

# Nodes that connect before the others are counted.
WARM_UP = 50


class NoApi:
    """An API that has nothing; only the annotation of nodes asks."""

    async def patch(self, *args: object, **options: object) -> bytes:
        raise ApiError(404, "NotFound", "no such node", b"{}")


def serve(pipe: Pipe, authority: TestAuthority, workers: int = 1, *, is_late: bool = False) -> None:
    """Run a hub and a controller that answers at once, or if is_late in the next turn of the loop.

    Says the port, and then for each thing that comes how many nodes each worker has.
    """

    async def main() -> None:
        bus = Bus()
        reply = b'{"Object":{"metadata":{"name":"e1","resourceVersion":"1"}},"Err":null}'

        waiting: list[Message] = []

        def answer(message: Message) -> None:
            bus.send("cloudhub", response_to(message, reply, source="edgecontroller", group="resource"))

        def answer_all() -> None:
            some = waiting.copy()
            waiting.clear()
            for message in some:
                answer(message)

        def receive(message: Message) -> None:
            if message.operation.endswith("connected"):
                return
            if is_late:
                waiting.append(message)
                if len(waiting) == 1:
                    asyncio.get_running_loop().call_soon(answer_all)
            else:
                answer(message)

        bus.register("edgecontroller", "edgecontroller", receive)
        hub = CloudHub(
            bus,
            cast(KubeApi, NoApi()),
            # As in cloudcore: ciphers and tickets decide what a connection costs.
            authority.server_credentials(HUB_CIPHERS),
            lambda *_: None,
            host="127.0.0.1",
            port=0,
            node_limit=100_000,
            workers=workers,
        )
        pipe.send(hub.bind())

        def asked() -> None:
            pipe.recv()
            pipe.send([nodes for _, nodes in worker_nodes.samples()])

        asyncio.get_running_loop().add_reader(pipe.fileno(), asked)
        await hub.run()

    uvloop.run(main())


class Node:
    """Keeps a number of requests under way."""

    def __init__(self, connection: ClientConnection, messages: int, window: int) -> None:
        self.connection = connection
        self.left = messages
        self.window = window
        self.open = 0
        # Answers come in the order of their requests.
        self.sent_s: deque[float] = deque()
        self.latencies_ms: list[float] = []
        self.done = asyncio.get_running_loop().create_future()
        request = new_message("edged", "meta", "update", "kube-node-lease/lease/e1", b'{"spec":{"renewTime":"now"}}')
        self.request = encode(request)

    def fill(self) -> None:
        while self.left and self.open < self.window:
            self.left -= 1
            self.open += 1
            self.sent_s.append(time.perf_counter())
            self.connection.send(self.request)
        if not self.open and not self.done.done():
            self.done.set_result(None)

    def received(self, payload: bytes) -> None:
        self.open -= 1
        self.latencies_ms.append((time.perf_counter() - self.sent_s.popleft()) * 1e3)
        self.fill()

    def writable(self) -> None:
        """Never waits."""

    def closed(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))


async def play(
    port: int, pid: int, authority: TestAuthority, nodes: int, messages: int, window: int
) -> dict[str, float]:
    made: list[Node] = []
    warm_up = min(WARM_UP, nodes // 2)
    contexts = [authority.client_context(f"e{number}") for number in range(nodes)]
    before_kb, before_s = 0, 0.0
    opened_ms: list[float] = []

    def opened(connection: ClientConnection) -> Node:
        made.append(Node(connection, messages // nodes, window))
        return made[-1]

    for number, context in enumerate(contexts):
        if number == warm_up:
            # The first connections also pay for what all share: 1 MB of OpenSSL, pools, caches.
            before_kb, before_s = rss_kb(pid), cpu_s(pid)
        began = time.perf_counter()
        await connect(
            f"wss://127.0.0.1:{port}/p/e{number}/events",
            context,
            [("Node_id", f"e{number}"), ("Connectionuse", "msg")],
            opened,
        )
        opened_ms.append((time.perf_counter() - began) * 1e3)
    await asyncio.sleep(0.5)
    connect_s, node_kb = cpu_s(pid) - before_s, (rss_kb(pid) - before_kb) / (nodes - warm_up)
    before_s, began = cpu_s(pid), time.perf_counter()
    for node in made:
        node.fill()
    await asyncio.gather(*(node.done for node in made))
    took_s, used_s = time.perf_counter() - began, cpu_s(pid) - before_s
    total = messages // nodes * nodes
    p50_ms, p99_ms = middle_and_last_percent([latency for node in made for latency in node.latencies_ms], 3)
    connect_p50_ms, connect_p99_ms = middle_and_last_percent(opened_ms)
    return {
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "connect_p50_ms": connect_p50_ms,
        "connect_p99_ms": connect_p99_ms,
        "round_trips": total,
        "cpu_us_per_round_trip": round(used_s / total * 1e6, 2),
        "round_trips_per_s": round(total / took_s),
        "cpu_us_per_connection": round(connect_s / (nodes - warm_up) * 1e6),
        "rss_kb_per_node": round(node_kb, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--window", type=int, default=1, help="requests that a node has under way")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        authority = TestAuthority(Path(folder))
        mine, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, authority), daemon=True)
        server.start()
        try:
            result = uvloop.run(
                play(mine.recv(), server.pid or 0, authority, options.nodes, options.messages, options.window)
            )
        finally:
            server.terminate()
            server.join()
    publish("link_roundtrip", {"nodes": options.nodes, "window": options.window, **result}, options.json)


if __name__ == "__main__":
    main()
