"""What this node publishes, kept from the module that says it until the broker has it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator

from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

# Sent and not acknowledged. A broker acknowledges at once, so this is what may be on its way at one time; the ids above
# are for subscriptions.
WINDOW = 1_024
# While so many wait behind the window the broker is slower than we are: no more is taken from it.
CONGESTED = 1_024
# A broker that is away: the latest are kept, up to this.
CAPACITY = 16_384
CAPACITY_BYTES = 8 << 20
# A message that a broker answers by closing the connection, so many times in a row, is not for this broker.
MAX_ATTEMPTS = 5

# First byte of PUBLISH at QoS 1 (MQTT 3.1.1 §3.3.1), and the bit that says it may have come before.
_PUBLISH = 0x32
_DUPLICATE = 0x08

dropped = Counter("kubeedge_eventbus_dropped_total", "Publications that were given up", ("reason",))

Done = Callable[[], None]


def _nothing() -> None:
    """Take the place of a done that nobody wants to hear."""


class Publication:
    """A PUBLISH packet without its id: what stands before and after it."""

    __slots__ = ("attempts", "done", "head", "payload")

    def __init__(self, topic: bytes, payload: bytes, done: Done | None) -> None:
        topic_size = len(topic)
        length = topic_size + len(payload) + 4
        self.head = b"%c%b%b%b" % (_PUBLISH, _varint(length), topic_size.to_bytes(2, "big"), topic)
        self.payload = payload
        self.done = done or _nothing
        self.attempts = 0

    @property
    def size(self) -> int:
        """Bytes that it takes here and on the wire, about."""
        return len(self.head) + len(self.payload)


def _varint(value: int) -> bytes:
    """Encode a remaining length (MQTT 3.1.1 §2.2.3)."""
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Outbox:
    """Publications in their order: first those sent and not acknowledged, then those that wait.

    Pure state: put() and acknowledged() change it, packets() says what to write. A new connection to the broker begins
    with resend(). Bounded in number and bytes: the oldest that waits makes room, what is sent is kept until it is
    acknowledged. Every drop is counted; done is called for what was dropped as well, since it will never be sent.
    """

    def __init__(self, *, window: int = WINDOW, capacity: int = CAPACITY, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._window = window
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._sent: dict[int, Publication] = {}
        self._waiting: deque[Publication] = deque()
        self._bytes = 0
        self._last_id = 0
        self._is_overflowing = False

    def __len__(self) -> int:
        return len(self._sent) + len(self._waiting)

    @property
    def is_congested(self) -> bool:
        """Tell whether the broker takes publications more slowly than they come."""
        return len(self._waiting) >= CONGESTED

    def put(self, publication: Publication) -> None:
        """Add a publication at the end."""
        self._waiting.append(publication)
        self._bytes += publication.size
        if len(self._waiting) > self._capacity or self._bytes > self._capacity_bytes:
            self._make_room()

    def _make_room(self) -> None:
        # The last is kept in any case: it may be large, and the broker ready for it.
        while len(self._waiting) > 1 and (len(self._waiting) > self._capacity or self._bytes > self._capacity_bytes):
            self._drop(self._waiting.popleft(), "queue is full")
            # One line for an overflow, however long it lasts.
            if not self._is_overflowing:
                self._is_overflowing = True
                log.warning(
                    "publications dropped reason=%r waiting=%d bytes=%d", "queue is full", len(self), self._bytes
                )

    def _drop(self, publication: Publication, reason: str) -> None:
        self._bytes -= publication.size
        dropped.inc(reason)
        publication.done()

    def packets(self) -> Iterator[bytes]:
        """Give what may be sent now, and count it as sent."""
        while self._waiting and len(self._sent) < self._window:
            yield self._send(self._waiting.popleft())
        if self._is_overflowing and not self._waiting:
            self._is_overflowing = False

    def _send(self, publication: Publication) -> bytes:
        # The window is much smaller than the range of ids, so the next free one is near.
        number = self._last_id % (4 * WINDOW) + 1
        while number in self._sent:
            number = number % (4 * WINDOW) + 1
        self._last_id = number
        self._sent[number] = publication
        return publication.head + number.to_bytes(2, "big") + publication.payload

    def acknowledged(self, number: int) -> None:
        """Forget what the broker has; an id that is not known is of a connection before."""
        publication = self._sent.pop(number, None)
        if publication is not None:
            self._bytes -= publication.size
            publication.done()

    def resend(self, *, is_session_kept: bool) -> Iterator[bytes]:
        """Give again what was sent before the connection was lost, in its order (MQTT 3.1.1 §4.4).

        is_session_kept is what the broker says: without a session it knows of none, and they are no duplicates.
        """
        first = next(iter(self._sent), None)
        if first is not None:
            publication = self._sent[first]
            publication.attempts += 1
            if publication.attempts > MAX_ATTEMPTS:
                log.error("publication given up reason=%r bytes=%d", "broker refuses it", publication.size)
                del self._sent[first]
                self._drop(publication, "broker refuses it")
        for number, publication in self._sent.items():
            head = publication.head
            if is_session_kept:
                head = bytes((head[0] | _DUPLICATE,)) + head[1:]
            yield head + number.to_bytes(2, "big") + publication.payload
