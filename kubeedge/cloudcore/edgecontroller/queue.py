"""The requests that wait for a worker: in order for each object, fair between nodes, bounded for each node."""

from __future__ import annotations

import asyncio
from collections import deque

from kubeedge.cloudcore.edgecontroller.request import Request

# An edge waits 60 s for an answer; more requests than these cannot be answered in that time, or it is no honest edge.
MAX_WAITING_PER_NODE = 512
MAX_RUNNING_PER_NODE = 16

_Key = tuple[str, str, str]


class _Node:
    """Requests of one node."""

    __slots__ = ("is_ready", "running", "waiting")

    def __init__(self) -> None:
        # Mostly empty, and then a deque would cost more than all else about a request that never waits.
        self.waiting: list[Request] = []
        self.running: set[_Key] = set()
        self.is_ready = False

    def take(self) -> Request | None:
        """Return the oldest request whose object nobody works on."""
        if len(self.running) >= MAX_RUNNING_PER_NODE:
            return None
        for index, request in enumerate(self.waiting):
            if request.key not in self.running:
                del self.waiting[index]
                self.running.add(request.key)
                return request
        return None


class RequestQueue:
    """Hands each worker the next request.

    Two requests about one object are never worked on at the same time and keep their order. Nodes take turns, so one
    with a flood of requests delays only itself; past MAX_WAITING_PER_NODE its requests are refused. A request that
    needs no worker is only noted here, so that none about its object overtakes it.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._ready: deque[tuple[str, _Node]] = deque()
        self._workers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return sum(len(node.waiting) for node in self._nodes.values())

    def put(self, request: Request) -> bool:
        """Queue request; False when its node has too many waiting already."""
        node = self._nodes.get(request.node)
        if node is None:
            node = self._nodes[request.node] = _Node()
        if len(node.waiting) >= MAX_WAITING_PER_NODE:
            return False
        node.waiting.append(request)
        self._make_ready(request.node, node)
        return True

    def start(self, request: Request) -> bool:
        """Note that request is worked on, by no worker, until done() or hand_over(); False when it has to wait."""
        node = self._nodes.get(request.node)
        if node is None:
            node = self._nodes[request.node] = _Node()
        elif node.waiting or request.key in node.running or len(node.running) >= MAX_RUNNING_PER_NODE:
            return False
        node.running.add(request.key)
        return True

    def hand_over(self, request: Request) -> None:
        """Give a request that was started to the next worker."""
        node = self._nodes[request.node]
        node.running.discard(request.key)
        node.waiting.insert(0, request)
        self._make_ready(request.node, node)

    async def take(self) -> Request:
        """Wait for a request; whoever takes it calls done() with it afterwards."""
        while True:
            while self._ready:
                name, node = self._ready.popleft()
                node.is_ready = False
                request = node.take()
                if request is not None:
                    if node.waiting:
                        self._make_ready(name, node)
                    return request
            worker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._workers.append(worker)
            try:
                await worker
            except asyncio.CancelledError:
                # It may have been woken just before, for a request that somebody else must take now.
                self._wake_one()
                raise

    def done(self, request: Request) -> None:
        """Let the next request about the same object run."""
        node = self._nodes[request.node]
        node.running.discard(request.key)
        if node.waiting:
            self._make_ready(request.node, node)
        elif not node.running:
            del self._nodes[request.node]

    def _make_ready(self, name: str, node: _Node) -> None:
        if not node.is_ready:
            node.is_ready = True
            self._ready.append((name, node))
        self._wake_one()

    def _wake_one(self) -> None:
        while self._workers:
            worker = self._workers.popleft()
            if not worker.done():
                worker.set_result(None)
                break
