"""What cloudcore does for one lease, one status and one connection of a node, at rates as nodes have them.

The embedded API and cloudcore are processes of their own; the nodes are played here. Requests are spread evenly over
the time, so that each comes alone as those of real nodes do: in a burst they would share wake-ups and writes. Beside
them stand a ping, what the link alone costs, and a request that is answered from a cache: all but the call to the API.
What both processes use at rest is taken off.

    python -m bench.leases [--nodes 300] [--rate 300] [--seconds 10] [--json FILE] [NAME...]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bench.fleet import HANDSHAKE_TIMEOUT_S, _document, _lease, _micro_stamp, _status, raise_file_limit
from bench.processes import cpu_s
from bench.report import progress, publish
from bench.site import FILES_A_NODE, OTHER_FILES, create, pod, run, start_cloudcore
from kubeedge.kube.kinds import CONFIG_MAP, LEASE, NODE, POD
from kubeedge.link.client import ClientConnection, connect
from kubeedge.link.lane import Lane
from kubeedge.message import Message, encode, new_message, response_to
from kubeedge.pki.authority import Authority
from kubeedge.pki.tls import client_context
from tests.sites import Site

REST_S = 4.0
SETTLE_S = 4.0
TICK_S = 0.002
OPENING = 16
ANSWER_TIMEOUT_S = 60.0


class Node(Lane):
    """One node, which says what it is told to."""

    def __init__(self, name: str, connection: ClientConnection, answered: Callable[[Node, bytes], None]) -> None:
        super().__init__(connection)
        self.name = name
        self.lease: dict[str, Any] = {}
        self._answered = answered

    @property
    def peer_name(self) -> str:
        """See Lane."""
        return "cloud"

    def say(self, operation: str, resource: str, content: bytes) -> None:
        """Send a request."""
        self.connection.send(encode(new_message("edged", "meta", operation, resource, content)))

    def receive(self, message: Message) -> None:
        """See Lane."""
        if message.parent_id:
            self._answered(self, message.content)
        elif message.operation in ("insert", "update", "delete"):
            self.connection.send(encode(response_to(message)))

    def writable(self) -> None:
        """See Lane."""

    def closed(self, reason: str) -> None:
        """See Lane."""

    # What it says.

    def ping(self) -> None:
        """Ask what the link itself answers."""
        self.say("ping", "node", b"null")

    def read_lease(self) -> None:
        """Ask for the lease."""
        self.say("query", f"kube-node-lease/lease/{self.name}", b"null")

    def renew(self) -> None:
        """Renew the lease."""
        spec = {**self.lease["spec"], "renewTime": _micro_stamp()}
        self.say("update", f"kube-node-lease/lease/{self.name}", orjson.dumps({**self.lease, "spec": spec}))

    def read_node(self) -> None:
        """Ask for the Node, which cloudcore answers from its cache."""
        self.say("query", f"default/node/{self.name}", b"null")

    def report(self) -> None:
        """Report the status of the Node."""
        self.say("patch", f"default/nodepatch/{self.name}", orjson.dumps(orjson.dumps(_status()).decode()))

    def report_pod(self) -> None:
        """Report the status of a pod."""
        stamp = _micro_stamp()
        conditions = [{"type": "Ready", "status": "True", "lastProbeTime": stamp}]
        patch = orjson.dumps({"status": {"phase": "Running", "conditions": conditions}})
        self.say("patch", f"default/podpatch/settings-{self.name}", orjson.dumps(patch.decode()))


class Load:
    """All nodes, and how much they have said and heard."""

    def __init__(self, site: Site, authority: Authority, names: list[str]) -> None:
        self._url = f"wss://127.0.0.1:{site.ports.hub}"
        self._contexts = {}
        for name in names:
            pair = authority.issue_client(f"system:node:{name}", ["system:nodes"])
            self._contexts[name] = client_context(authority.certificate_pem, pair.certificate_pem, pair.key_pem)
        self.nodes: list[Node] = []
        self.answers = 0
        self._expected = 0
        self._all_answered = asyncio.Event()
        self.refused = b""

    async def connect(self) -> None:
        """Connect all, one after the other in a few lanes."""
        waiting = iter(self._contexts.items())

        async def work() -> None:
            for name, context in waiting:
                headers = [("Node_id", name), ("Project_id", "fleet"), ("Connectionuse", "msg")]
                await connect(
                    f"{self._url}/fleet/{name}/events",
                    context,
                    headers,
                    partial(self._opened, name),
                    handshake_timeout_s=HANDSHAKE_TIMEOUT_S,
                )

        await asyncio.gather(*(work() for _ in range(OPENING)))

    def _opened(self, name: str, connection: ClientConnection) -> Node:
        node = Node(name, connection, self._answered)
        self.nodes.append(node)
        return node

    def disconnect(self) -> None:
        """End all connections."""
        for node in self.nodes:
            node.connection.close()
        self.nodes.clear()

    def _answered(self, node: Node, content: bytes) -> None:
        self.answers += 1
        if self.answers == self._expected:
            self._all_answered.set()
        if content.startswith((b'{"Object":', b'{"ErrStatus"')):
            if b'"Err":null' not in content:
                self.refused = content
            elif b'"renewTime"' in content:
                node.lease = orjson.loads(content)["Object"]

    async def say(self, what: Callable[[Node], None], times: int, rate: float) -> None:
        """Let the nodes say something in turn, and wait for all answers."""
        self.answers, self._expected, said, began_s = 0, times, 0, time.monotonic()
        self._all_answered.clear()
        while said < times:
            due = min(times, int((time.monotonic() - began_s) * rate) + 1)
            for _ in range(due - said):
                what(self.nodes[said % len(self.nodes)])
                said += 1
            await asyncio.sleep(TICK_S)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._all_answered.wait()
        if self.refused:
            raise AssertionError(self.refused.decode(errors="replace"))


REQUESTS: dict[str, Callable[[Node], None]] = {
    "ping": Node.ping,
    "cached query": Node.read_node,
    "lease query": Node.read_lease,
    "lease update": Node.renew,
    "node status": Node.report,
    "pod status": Node.report_pod,
}


class Meter:
    """CPU time of cloudcore and the API beyond what they use at rest."""

    def __init__(self, site: Site) -> None:
        self._pids = {"cloudcore": site.cloudcore.pid, "api": site.api_program.pid}
        self._rest = dict.fromkeys(self._pids, 0.0)

    async def rest(self) -> None:
        """Watch both at rest."""
        self.start()
        await asyncio.sleep(REST_S)
        used = self.read(1)
        self._rest = {name: used[f"{name}_us"] / 1e6 / REST_S for name in self._pids}

    def start(self) -> None:
        """Begin to measure."""
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}
        self._began_s = time.monotonic()

    def read(self, times: int) -> dict[str, float]:
        """Return what one of that many operations took since then, in microseconds."""
        wall_s = time.monotonic() - self._began_s
        return {
            f"{name}_us": round((cpu_s(pid) - self._before[name] - self._rest[name] * wall_s) / times * 1e6, 1)
            for name, pid in self._pids.items()
        }


async def measure(site: Site, names: list[str], nodes: int, rate: float, seconds: float) -> dict[str, Any]:
    """Run all parts one after the other."""
    await site.start_api()
    await start_cloudcore(site, nodes)
    fleet = [f"fleet-{number:05d}" for number in range(nodes)]
    await create(site, NODE, [_document(name) for name in fleet])
    await create(site, LEASE, [orjson.loads(_lease(name)) for name in fleet])
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}
    await create(site, CONFIG_MAP, [settings])
    await create(site, POD, [pod(name, "settings") for name in fleet])
    load = Load(site, await site.authority(), fleet)
    await load.connect()
    await asyncio.sleep(SETTLE_S)
    meter = Meter(site)
    await meter.rest()
    report: dict[str, Any] = {}
    # Every node has its lease, and both processes are warm.
    await load.say(Node.read_lease, nodes, rate)
    times = int(rate * seconds)
    for name in names or REQUESTS:
        if name in REQUESTS:
            meter.start()
            await load.say(REQUESTS[name], times, rate)
            # The watch of Nodes and Pods may lag behind.
            await asyncio.sleep(0.5)
            report[name] = meter.read(times)
            progress(f"{name}: {report[name]}")
    if not names or "connection" in names:
        load.disconnect()
        await asyncio.sleep(SETTLE_S)
        meter.start()
        await load.connect()
        await asyncio.sleep(SETTLE_S)
        report["connection"] = meter.read(nodes)
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*REQUESTS, 'connection'])}")
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each request is measured")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raise_file_limit(options.nodes * FILES_A_NODE + OTHER_FILES)
    result = run(lambda site: measure(site, options.names, options.nodes, options.rate, options.seconds))
    publish("leases", {"nodes": options.nodes, "rate": options.rate, **result}, options.json)


if __name__ == "__main__":
    main()
