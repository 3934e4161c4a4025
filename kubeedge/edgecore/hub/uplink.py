"""What goes up: a bounded queue that outlives connections, and the rate at which it empties (spec 01 §4.6)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from kubeedge import resources
from kubeedge.link.lane import Lane
from kubeedge.message import Message
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

CAPACITY = 1024
# The resource type of a Kubernetes event.
EVENT = "event"

dropped = Counter("kubeedge_edgehub_dropped_messages_total", "Messages that were not handed on", labels=("reason",))


class TokenBucket:
    """Allows so many messages a second, and a burst after a pause. A bucket begins full."""

    __slots__ = ("_burst", "_filled_s", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_s = now_s

    def take(self, now_s: float) -> float:
        """Take a token and return 0, or return how many seconds are missing to the next one."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class Uplink:
    """Takes messages at any time and sends them while there is a lane: acknowledgements first, Kubernetes events last.

    Many pods that start at once have more to tell than the rate allows; what their containers wait for must not wait
    behind the story of it.

    It never blocks. When CAPACITY messages wait, the oldest event is dropped, else the oldest that is no
    acknowledgement: whoever waits for an answer to it has waited longest and times out. Acknowledgements of an earlier
    connection are dropped at the next one, where the cloud does not know them: it sends again what it has no
    acknowledgement for. All drops are counted.
    """

    def __init__(self, rate: float, burst: int, *, capacity: int = CAPACITY) -> None:
        """rate in messages a second (messageQPS), burst in messages (messageBurst)."""
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._acks: deque[Message] = deque()
        self._others: deque[Message] = deque()
        self._events: deque[Message] = deque()
        self._bucket: TokenBucket | None = None
        self._lane: Lane | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_overflowing = False

    def __len__(self) -> int:
        return len(self._acks) + len(self._others) + len(self._events)

    def put(self, message: Message) -> None:
        """Queue a message; it leaves at once if it may."""
        if len(self) >= self._capacity:
            self._drop_oldest()
        if message.operation == "response" and message.parent_id:
            self._acks.append(message)
        elif resources.parse(message.resource).type == EVENT:
            self._events.append(message)
        else:
            self._others.append(message)
        if self._timer is None:
            self.pump()

    def attach(self, lane: Lane) -> None:
        """Send through lane from now on."""
        self._lane = lane
        if self._acks:
            dropped.inc("acknowledgement of an earlier connection", by=len(self._acks))
            self._acks.clear()
        self.pump()

    def detach(self) -> None:
        """Keep what comes until there is a lane again."""
        self._lane = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pump(self) -> None:
        """Send what rate and connection allow."""
        lane = self._lane
        if lane is None:
            return
        loop = asyncio.get_running_loop()
        if self._bucket is None:
            self._bucket = TokenBucket(self._rate, self._burst, loop.time())
        while (queue := self._acks or self._others or self._events) and lane.connection.is_writable:
            wait_s = self._bucket.take(loop.time())
            if wait_s:
                self._timer = loop.call_later(wait_s, self._go_on)
                return
            lane.send(queue.popleft())
        self._is_overflowing = self._is_overflowing and bool(queue)

    def _go_on(self) -> None:
        self._timer = None
        self.pump()

    def _drop_oldest(self) -> None:
        queue = self._events or self._others or self._acks
        message = queue.popleft()
        dropped.inc("queue is full")
        # One line for an overflow, however long it lasts.
        if not self._is_overflowing:
            self._is_overflowing = True
            log.warning(
                "upstream queue is full capacity=%d dropped=%s resource=%s",
                self._capacity,
                message.operation,
                message.resource,
            )
