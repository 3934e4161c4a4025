"""What the broker has sent and is still to be told of: acknowledged in order, and only once it is in safe hands."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_PUBACK = b"\x40\x02"

# Publications handed to a module and not done: at the first number no more is read, until they are down to the second.
# A broker's own window for QoS 1 is far below that; it is those of QoS 0 that need a bound.
MOST_OPEN = 1_024
FEW_OPEN = 256


class Receipt:
    """One publication of the broker; calling it says that its receiver is done with it."""

    __slots__ = ("id", "is_done", "receipts")

    def __init__(self, receipts: Receipts, id_: bytes) -> None:
        self.receipts = receipts
        self.id = id_
        self.is_done = False

    def __call__(self) -> None:
        if not self.is_done:
            self.is_done = True
            self.receipts.settle()


class Receipts:
    """The publications of one connection that have no acknowledgement yet.

    They are acknowledged in the order in which they came (MQTT 3.1.1 §4.6), through write. While held they are not, and
    as a broker has only a few unacknowledged publications under way, it then stops sending. drained is called when
    is_full and few are open again.
    """

    def __init__(self, write: Callable[[bytes], None], drained: Callable[[], None]) -> None:
        self._write = write
        self._drained = drained
        self._order: deque[Receipt] = deque()
        self._open = 0
        self._is_full = False
        self._is_held = False

    def take(self, id_: bytes) -> Receipt:
        """Begin with a publication; id_ is empty at QoS 0."""
        receipt = Receipt(self, id_)
        self._open += 1
        if id_:
            self._order.append(receipt)
        return receipt

    def is_full(self) -> bool:
        """Tell whether so many are in the hands of modules that no more should be read until drained is called."""
        self._is_full = self._is_full or self._open >= MOST_OPEN
        return self._is_full

    def settle(self) -> None:
        """Acknowledge what may be, after one of them is done."""
        self._open -= 1
        if not self._is_held:
            self._release()
        if self._is_full and self._open <= FEW_OPEN:
            self._is_full = False
            self._drained()

    def hold(self, is_held: bool) -> None:
        """Acknowledge nothing from now on, or again."""
        self._is_held = is_held
        if not is_held:
            self._release()

    def _release(self) -> None:
        order = self._order
        while order and order[0].is_done:
            self._write(_PUBACK + order.popleft().id)
