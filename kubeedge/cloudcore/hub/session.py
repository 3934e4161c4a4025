"""One connected node: what is sent to it, and what it says (spec 01 §3.3, §3.5, §6.4)."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from kubeedge._speedups.frames import GOING_AWAY
from kubeedge.cloudcore.hub.outbox import WINDOW, Delivery, Outbox
from kubeedge.link.lane import Lane
from kubeedge.message import Message
from kubeedge.metrics import Counter

if TYPE_CHECKING:
    from kubeedge.cloudcore.hub.gate import Gate
    from kubeedge.link.server import ServerConnection

log = logging.getLogger(__name__)

# Messages without acknowledgement that wait for a node that does not read; the oldest goes first, nobody repeats it.
MAX_HELD = 1024

retries = Counter("kubeedge_cloudhub_retries_total", "Reliable messages that were sent again")
failed_receivers = Counter("kubeedge_cloudhub_failed_receivers_total", "Messages that a module failed to take")
dropped = Counter("kubeedge_cloudhub_dropped_messages_total", "Messages that were not delivered", labels=("reason",))


class NodeSession(Lane):
    """The session of one node, from its upgrade to the loss of its connection.

    Messages without acknowledgement leave at once; reliable ones through an outbox. Devices have an outbox of their own
    with one message under way: Go's edge needs a device's model before the device, and hands what comes close together
    to parallel tasks (spec 01 §9 quirk 10).
    """

    __slots__ = ("_devices", "_gate", "_has_complained", "_held", "_objects", "node", "number", "prefix")

    def __init__(self, gate: Gate, connection: ServerConnection, node: str, number: int) -> None:
        """number is that of the session, unique in the process."""
        super().__init__(connection)
        self._gate = gate
        self.node = node
        self.number = number
        self.prefix = f"node/{node}/"
        self._objects = Outbox(WINDOW)
        self._devices: Outbox | None = None
        self._held: deque[bytes] | None = None
        self._has_complained = False

    @property
    def peer_name(self) -> str:
        """See Lane."""
        return self.node

    # Up.

    def receive(self, message: Message) -> None:
        """See Lane."""
        try:
            self._gate.from_node(self, message)
        except Exception:
            # A fault in one module must not cost the node its connection.
            failed_receivers.inc()
            log.exception("receiver failed node=%s source=%s resource=%s", self.node, message.source, message.resource)

    def acknowledge(self, message_id: str) -> Delivery | None:
        """Take the node's acknowledgement; return what it was for, None when it is none or comes too late."""
        delivery = self._objects.acknowledge(message_id)
        if delivery is None and self._devices is not None:
            delivery = self._devices.acknowledge(message_id)
        if delivery is not None:
            self._pump()
        return delivery

    def complain(self, what: str, message: Message, content: bytes = b"") -> None:
        """Log what is wrong with a message of the node: the first one as a warning, for more will be like it."""
        level = logging.DEBUG if self._has_complained else logging.WARNING
        self._has_complained = True
        log.log(
            level,
            "%s node=%s source=%s resource=%s parent=%s content=%.200s",
            what,
            self.node,
            message.source,
            message.resource,
            message.parent_id,
            content.decode("utf-8", "replace"),
        )

    # Down.

    def send_frame(self, framed: bytes) -> None:
        """Send a message that needs no acknowledgement."""
        if self.connection.is_writable and self._held is None:
            self.connection.send_frame(framed)
            return
        if self._held is None:
            self._held = deque(maxlen=MAX_HELD)
        if len(self._held) == MAX_HELD:
            dropped.inc("node does not read")
        self._held.append(framed)

    def send_frame_now(self, framed: bytes) -> None:
        """Send a message that needs no acknowledgement as the last of this turn, before the turn ends."""
        if self.connection.is_writable and self._held is None:
            self.connection.send_frame_now(framed)
        else:
            self.send_frame(framed)

    def close(self, code: int, reason: str) -> None:
        """Tell the node why, and end the session."""
        self.connection.close(code, reason)

    def offer(self, delivery: Delivery) -> None:
        """Send a reliable message when its turn comes, unless a newer version of its object is on its way already."""
        if delivery.message.source == "devicecontroller":
            if self._devices is None:
                self._devices = Outbox(1)
            taken = self._devices.offer(delivery)
        else:
            taken = self._objects.offer(delivery)
        if taken:
            self._pump()

    def is_removing(self, key: str) -> bool:
        """Tell whether the object of that key is about to leave the node, whatever was acknowledged of it."""
        return self._objects.is_removing(key) or (self._devices is not None and self._devices.is_removing(key))

    def writable(self) -> None:
        """See Lane."""
        while self._held and self.connection.is_writable:
            self.connection.send_frame(self._held.popleft())
        if not self._held:
            self._held = None
        self._pump()

    def wake(self, now_s: float, keepalive_timeout_s: float) -> float | None:
        """Send again what is due and end the session of a silent node; return when to be woken next, None for never."""
        silent_s = now_s - self.connection.received_at
        if silent_s >= keepalive_timeout_s:
            self.connection.close(GOING_AWAY, f"nothing heard for {keepalive_timeout_s:g} s")
            return None
        next_s = self.connection.received_at + keepalive_timeout_s
        for outbox in (self._objects, self._devices):
            if outbox is not None:
                for delivery in outbox.repeat(now_s):
                    retries.inc()
                    if self.connection.is_writable:
                        self.connection.send_frame(self._gate.framed(delivery))
        self._pump()
        for outbox in (self._objects, self._devices):
            if outbox is not None and outbox.next_due_s is not None:
                next_s = min(next_s, outbox.next_due_s)
        return next_s

    def closed(self, reason: str) -> None:
        """See Lane."""
        waiting = len(self._objects) + (len(self._devices) if self._devices is not None else 0)
        self._gate.session_ended(self, reason, waiting)

    def _pump(self) -> None:
        """Send what waits, as far as window and connection allow."""
        for outbox in (self._objects, self._devices):
            if outbox is None:
                continue
            while self.connection.is_writable:
                delivery = outbox.take(self._gate.now())
                if delivery is None:
                    break
                self.connection.send_frame(self._gate.framed(delivery))
                self._gate.wake_at(self, delivery.due_s)
