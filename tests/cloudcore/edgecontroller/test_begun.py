"""Frequent requests, whose calls are begun without a worker: what happens when that does not go well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.controller import EdgeController
from kubeedge.cloudcore.edgecontroller.node import by_node
from kubeedge.cloudcore.edgecontroller.queue import MAX_RUNNING_PER_NODE, MAX_WAITING_PER_NODE
from kubeedge.kube.client import HttpApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import CONFIG_MAP, NODE, POD, SECRET
from kubeedge.message import Message, new_message
from tests.cloudcore.conftest import Hub
from tests.kube.scripted import Script, answer, scripted

RESOURCE = "kube-node-lease/lease/e1"
LEASE = b'{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"e1"},"spec":{}}'
WRITTEN = b'{"Object":{"metadata":{"name":"e1"},"spec":{}},"Err":null}'


class Node:
    """Node e1 at a controller whose API answers as it is told."""

    def __init__(self, bus: Bus, hub: Hub, script: Script) -> None:
        self.script = script
        self.hub = hub
        self._bus = bus

    def send(self, operation: str, content: bytes = LEASE, resource: str = RESOURCE) -> Message:
        """Send a request."""
        request = new_message("edged", "meta", operation, f"node/e1/{resource}", content)
        self._bus.send_group("edgecontroller", request)
        return request

    async def ask(self, operation: str, content: bytes = LEASE, resource: str = RESOURCE) -> bytes:
        """Send a request and return the content of its answer."""
        return (await self.hub.answer(self.send(operation, content, resource))).content

    def methods(self) -> list[bytes]:
        """Return the methods of the calls that the API has seen."""
        return [request.partition(b" ")[0] for request in self.script.requests]


@asynccontextmanager
async def node(bus: Bus, hub: Hub, *answers: bytes | None) -> AsyncIterator[Node]:
    """Run a controller with one idle connection to the API, which answers so."""
    async with scripted(answer(200, b"{}"), *answers) as script:
        api = HttpApi(script.access, max_connections=1)
        pods = Informer(api, POD, indexes={"node": by_node})
        informers = [Informer(api, kind) for kind in (CONFIG_MAP, SECRET)]
        controller = EdgeController(bus, api, Informer(api, NODE), pods, *informers, local_ip="192.0.2.7")
        running = asyncio.ensure_future(controller.run())
        await api.get(NODE, "", "e1")
        await asyncio.sleep(0)
        script.requests.clear()
        try:
            yield Node(bus, hub, script)
        finally:
            running.cancel()
            await asyncio.wait([running])
            api.close()


def failure(content: bytes) -> dict[str, Any]:
    """Return the Status in an answer."""
    found: dict[str, Any] = orjson.loads(content)["Err"]["ErrStatus"]
    return found


async def test_a_renewal_that_the_server_puts_off_is_made_again(bus: Bus, hub: Hub) -> None:
    async with node(bus, hub, answer(429, b"later", "Retry-After: 0"), answer(200, LEASE)) as e1:
        assert await e1.ask("update") == WRITTEN
        assert e1.methods() == [b"PUT", b"PUT"]


async def test_a_renewal_whose_connection_breaks_is_not_repeated(bus: Bus, hub: Hub) -> None:
    async with node(bus, hub, None, answer(200, LEASE)) as e1:
        assert failure(await e1.ask("update"))["reason"] == "ServiceUnavailable"
        assert e1.methods() == [b"PUT"]
        assert await e1.ask("update") == WRITTEN


async def test_a_query_whose_connection_was_closed_is_repeated(bus: Bus, hub: Hub) -> None:
    async with node(bus, hub, None, answer(200, LEASE)) as e1:
        assert await e1.ask("query", b"null") == b'{"Object":' + LEASE + b',"Err":null}'
        assert e1.methods() == [b"GET", b"GET"]


async def test_a_conflict_is_answered_with_its_status(bus: Bus, hub: Hub) -> None:
    status = {"kind": "Status", "status": "Failure", "message": "old", "reason": "Conflict", "code": 409}
    async with node(bus, hub, answer(409, orjson.dumps(status))) as e1:
        assert failure(await e1.ask("update"))["reason"] == "Conflict"


async def test_an_api_that_is_away_is_said_to_be_so(bus: Bus, hub: Hub) -> None:
    async with node(bus, hub, None, None) as e1:
        assert failure(await e1.ask("update"))["code"] == 503
        assert failure(await e1.ask("query", b"null"))["code"] == 503


async def test_two_renewals_at_once_are_made_one_after_the_other(bus: Bus, hub: Hub) -> None:
    bodies = [LEASE.replace(b'"spec":{}', b'"spec":{"leaseTransitions":%d}' % number) for number in range(4)]
    async with node(bus, hub, *(answer(200, body) for body in bodies)) as e1:
        requests = [e1.send("update", body) for body in bodies]
        for request, body in zip(requests, bodies, strict=True):
            assert orjson.loads((await hub.answer(request)).content)["Object"]["spec"] == orjson.loads(body)["spec"]
        assert [request.endswith(body) for request, body in zip(e1.script.requests, bodies, strict=True)] == [True] * 4


async def test_what_no_node_may_renew_is_refused_and_leaves_the_way_free(bus: Bus, hub: Hub) -> None:
    async with node(bus, hub, answer(200, LEASE)) as e1:
        other = await e1.ask("update", LEASE, "kube-node-lease/lease/e2")
        assert failure(other)["reason"] == "Forbidden"
        assert failure(await e1.ask("update", b"[]"))["reason"] == "BadRequest"
        assert failure(await e1.ask("update", LEASE, "a%b/lease/e1"))["reason"] == "BadRequest"
        assert await e1.ask("update") == WRITTEN
        assert len(e1.script.requests) == 1


async def test_a_flood_of_renewals_is_refused_past_a_bound(bus: Bus, hub: Hub) -> None:
    async with node(bus, hub) as e1:
        e1.script.delay_s = 5.0
        sent = [e1.send("update") for _ in range(MAX_WAITING_PER_NODE + MAX_RUNNING_PER_NODE)]
        assert failure((await hub.answer(sent[-1])).content)["reason"] == "TooManyRequests"
