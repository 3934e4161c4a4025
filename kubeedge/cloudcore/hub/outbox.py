"""Reliable messages on their way to one node, without I/O and without a clock of its own (spec 01 §6)."""

from __future__ import annotations

from typing import NamedTuple

from kubeedge._speedups.envelope import encode
from kubeedge._speedups.frames import TEXT, frame
from kubeedge.kube.object import is_newer
from kubeedge.message import Message

# An unacknowledged message is sent again after this time, five times in all; then the others have their turn.
RETRY_S = 5.0
MAX_SENDS = 5
# Messages under way at a time. Go's edge drops the oldest of 100 unread messages (spec 01 §2.1.6), so stay well below.
WINDOW = 32


class SyncRef(NamedTuple):
    """The ObjectSync of an object on a node; namespace is empty for a ClusterObjectSync."""

    node: str
    namespace: str
    uid: str

    @property
    def name(self) -> str:
        """Return the name of the ObjectSync."""
        return f"{self.node}.{self.uid}"


class Delivery:
    """One reliable message. resource is the one on the wire; sync is None when nothing is recorded about it.

    Two deliveries with one key are versions of one object: only the later one matters. is_final says that the object is
    gone or going, so its version decides nothing (spec 01 §6.3 rules 1 and 3). framed is the message in its frame where
    it comes like that from another process; its content is nowhere else then.
    """

    __slots__ = (
        "api_version",
        "due_s",
        "framed",
        "is_final",
        "key",
        "kind",
        "message",
        "name",
        "resource",
        "sends",
        "sync",
        "version",
    )

    def __init__(
        self,
        message: Message,
        resource: str,
        key: str,
        sync: SyncRef | None,
        version: str,
        *,
        is_final: bool,
        api_version: str = "",
        kind: str = "",
        name: str = "",
        framed: bytes = b"",
    ) -> None:
        self.message = message
        self.resource = resource
        self.key = key
        self.sync = sync
        self.version = version
        self.is_final = is_final
        self.api_version = api_version
        self.kind = kind
        self.name = name
        self.framed = framed
        self.sends = 0
        self.due_s = 0.0

    def to(self, node: str) -> Delivery:
        """Return the delivery of the same message to another node."""
        sync = self.sync
        return Delivery(
            self.message,
            self.resource,
            self.key,
            None if sync is None else SyncRef(node, sync.namespace, sync.uid),
            self.version,
            is_final=self.is_final,
            api_version=self.api_version,
            kind=self.kind,
            name=self.name,
            framed=self.framed,
        )

    @property
    def is_response(self) -> bool:
        """Tell whether somebody on the node waits for this very message."""
        return self.message.operation == "response"

    @property
    def removes_sync(self) -> bool:
        """Tell whether the node's acknowledgement means that it no longer has the object."""
        return self.message.operation == "delete"

    def supersedes(self, older: Delivery) -> bool:
        """Tell whether this one makes an earlier delivery of the same key pointless (spec 01 §6.3 rules 3 and 4).

        An object that left a node may come back to it: a device is bound to it again, a model needed again.
        """
        if older.is_final and not self.is_final:
            return older.removes_sync and self.message.operation == "insert"
        return self.is_final or is_newer(self.version, older.version)


class Framer:
    """Puts messages into frames; what goes to many nodes one after the other, only once."""

    def __init__(self) -> None:
        self._message: Message | None = None
        self._resource = ""
        self._frame = b""

    def frame(self, message: Message, resource: str) -> bytes:
        """Return message in its frame, with that resource."""
        if message is not self._message or resource != self._resource:
            self._frame = frame(TEXT, encode(message, resource))
            self._message = message
            self._resource = resource
        return self._frame

    def framed(self, delivery: Delivery) -> bytes:
        """Return the message of delivery in its frame."""
        return delivery.framed or self.frame(delivery.message, delivery.resource)


class Outbox:
    """Deliveries that wait, first come first served, and those under way, in the order of their next repetition.

    Of one key at most one waits, the latest, at the place of the first; and at most one is under way. So the size is
    bounded by the number of objects.
    """

    __slots__ = ("_by_key", "_requeued", "_under_way", "_waiting", "_window")

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._waiting: dict[str, Delivery] = {}
        self._under_way: dict[str, Delivery] = {}
        self._by_key: dict[str, Delivery] = {}
        # Message ids that were sent in vain and wait for another turn: a late acknowledgement is as good as any.
        self._requeued: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def offer(self, new: Delivery) -> bool:
        """Take a delivery, in place of an older version that waits; False when it is not newer than what is there."""
        older = self._waiting.get(new.key) or self._by_key.get(new.key)
        if older is not None and not new.supersedes(older):
            return False
        if older is not None:
            self._requeued.pop(older.message.id, None)
        self._waiting[new.key] = new
        return True

    def is_removing(self, key: str) -> bool:
        """Tell whether the object is about to leave the node."""
        last = self._waiting.get(key) or self._by_key.get(key)
        return last is not None and last.removes_sync

    def take(self, now_s: float) -> Delivery | None:
        """Return what to send next and count it as under way; None when there is nothing or the window is full."""
        if len(self._under_way) >= self._window:
            return None
        for key, delivery in self._waiting.items():
            if key not in self._by_key:
                del self._waiting[key]
                self._requeued.pop(delivery.message.id, None)
                delivery.sends = 1
                delivery.due_s = now_s + RETRY_S
                self._under_way[delivery.message.id] = self._by_key[key] = delivery
                return delivery
        return None

    def acknowledge(self, message_id: str) -> Delivery | None:
        """Take out the delivery of that message; None when it is not expected, or not any more (spec 01 §6.4)."""
        delivery = self._under_way.pop(message_id, None)
        if delivery is not None:
            del self._by_key[delivery.key]
            return delivery
        key = self._requeued.pop(message_id, None)
        return None if key is None else self._waiting.pop(key)

    @property
    def next_due_s(self) -> float | None:
        """Return when something has to be sent again; None when nothing is under way."""
        for delivery in self._under_way.values():
            return delivery.due_s
        return None

    def repeat(self, now_s: float) -> list[Delivery]:
        """Return what has to be sent again by now.

        What was sent MAX_SENDS times in vain goes behind those that wait, what has a newer version waiting is dropped.
        """
        again: list[Delivery] = []
        while self._under_way:
            message_id, delivery = next(iter(self._under_way.items()))
            if delivery.due_s > now_s:
                break
            del self._under_way[message_id]
            if delivery.key in self._waiting:
                del self._by_key[delivery.key]
            elif delivery.sends >= MAX_SENDS:
                del self._by_key[delivery.key]
                self._waiting[delivery.key] = delivery
                self._requeued[message_id] = delivery.key
            else:
                delivery.sends += 1
                delivery.due_s = now_s + RETRY_S
                self._under_way[message_id] = delivery
                again.append(delivery)
        return again
