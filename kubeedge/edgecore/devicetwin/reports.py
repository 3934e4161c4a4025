"""What the cloud hears of this node's devices: the latest of each, once it can be told (spec 04 §3.8, Q13)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Set
from itertools import islice
from typing import NamedTuple

import orjson

from kubeedge._speedups.twin import Device
from kubeedge.bus import Bus
from kubeedge.edgecore.devicetwin import payloads
from kubeedge.message import Message, new_id, new_message
from kubeedge.metrics import Counter, Gauge

log = logging.getLogger(__name__)

HUB = "websocket"
SOURCE = "twin"
GROUP = "resource"

# What was not confirmed this long is sent again, as it is then; upstream's period.
RESEND_S = 60.0
# Messages that wait for their confirmation before another leaves: the queue of the hub stays short, and what changes
# meanwhile joins the next message of its device. A confirmation that is later than SLOT_S holds no other back.
WINDOW = 32
SLOT_S = 5.0
TICK_S = 1.0

sent = Counter("kubeedge_devicetwin_reports_total", "Messages to the cloud about devices", ("kind",))
resent = Counter("kubeedge_devicetwin_unconfirmed_total", "Messages about devices that the cloud did not confirm")
waiting = Gauge("kubeedge_devicetwin_unsent_devices", "Devices of which the cloud has not heard the latest")


class _Sent(NamedTuple):
    """A message that waits for its confirmation. state is what it tells, None when it is about twins."""

    device_id: str
    sent_s: float
    state: bytes | None


class Reports:
    """Tells the cloud of twins and states. One message of a kind and device is on its way at a time.

    Nothing is queued but names: a message is made when it leaves, of what is true then. So neither a cloud that is away
    nor one that confirms nothing makes this grow, and the cloud gets the newest value of each property.
    """

    def __init__(self, bus: Bus, node: str, devices: dict[str, Device], now_ms: Callable[[], int]) -> None:
        """devices is the memory of DeviceTwin, looked into when a message is made."""
        self._bus = bus
        self._node = node
        self._devices = devices
        self._now_ms = now_ms
        self.is_connected = False
        # In the order of their news; those on their way are not in it.
        self._news: dict[str, None] = {}
        # The state to be told, by device.
        self._states: dict[str, bytes] = {}
        self._on_the_way: dict[str, _Sent] = {}
        self._busy: set[tuple[str, bool]] = set()
        # Devices whose memory is ahead of the database: nothing is told of them meanwhile.
        self.held: Set[str] = frozenset()
        waiting.read_from(lambda: float(len(self._news) + len(self._states)))

    async def run(self) -> None:
        """Send again what nobody confirms, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._on_the_way:
                self._expire()
            self.pump()

    def connected(self) -> None:
        """Begin to send: the cloud is there. It is asked for the devices of this node (spec 04 §3.8)."""
        if self.is_connected:
            return
        self.is_connected = True
        request = {
            "event_type": "group_membership_event",
            "event_id": new_id(),
            "group_id": self._node,
            "operation": "detail",
            "timestamp": self._now_ms(),
        }
        # Sent once: an upstream cloud never answers, and upstream's edge never stops asking (spec 04 §3.8, Q7).
        self._send(new_message(SOURCE, GROUP, "get", "membership/detail", orjson.dumps(orjson.dumps(request).decode())))
        self.pump()

    def disconnected(self) -> None:
        """Stop sending; what was on its way may be lost."""
        self.is_connected = False
        for one in list(self._on_the_way.values()):
            self._lost(one)
        self._on_the_way.clear()

    def changed(self, device_id: str) -> None:
        """Tell the cloud of the twins of a device."""
        if (device_id, False) not in self._busy:
            self._news[device_id] = None

    def state_changed(self, device_id: str, payload: bytes) -> None:
        """Tell the cloud the state of a device; payload is what was published of it."""
        self._states[device_id] = payload

    def removed(self, device_id: str) -> None:
        """Forget a device."""
        self._news.pop(device_id, None)
        self._states.pop(device_id, None)

    def confirmed(self, message_id: str) -> None:
        """Take note that the cloud has a message."""
        one = self._on_the_way.pop(message_id, None)
        if one is None:
            return
        is_state = one.state is not None
        self._busy.discard((one.device_id, is_state))
        device = self._devices.get(one.device_id)
        if device is not None and not is_state:
            device.arrived()
            if device.lost():
                self._news[device.id] = None
        self.pump()

    def is_state_settled(self, device_id: str) -> bool:
        """Tell whether the cloud has the latest state of a device."""
        return device_id not in self._states and (device_id, True) not in self._busy

    def pump(self) -> None:
        """Send what may be sent."""
        if not self.is_connected or not (self._news or self._states):
            return
        ready = (device_id for device_id in self._states if (device_id, True) not in self._busy)
        for device_id in list(islice(ready, self._room())):
            state = self._states.pop(device_id)
            text = orjson.dumps(state.decode())
            self._dispatch(device_id, state, f"device/{device_id}/state/update", text)
        ready = (device_id for device_id in self._news if device_id not in self.held)
        for device_id in list(islice(ready, self._room())):
            del self._news[device_id]
            device = self._devices.get(device_id)
            if device is not None and (payload := device.news_payload(new_id(), self._now_ms())):
                self._dispatch(device_id, None, f"device/{device_id}/twin/edge_updated", payload)

    def _dispatch(self, device_id: str, state: bytes | None, resource: str, content: bytes) -> None:
        message = new_message(SOURCE, GROUP, "update", resource, content)
        self._busy.add((device_id, state is not None))
        self._on_the_way[message.id] = _Sent(device_id, asyncio.get_running_loop().time(), state)
        sent.inc("twin" if state is None else "state")
        self._send(message)

    def _send(self, message: Message) -> None:
        if self._bus.has(HUB):
            self._bus.send(HUB, message)

    def _room(self) -> int:
        since_s = asyncio.get_running_loop().time() - SLOT_S
        room = WINDOW
        for one in reversed(self._on_the_way.values()):
            if one.sent_s < since_s or not room:
                break
            room -= 1
        return room

    def _expire(self) -> None:
        before_s = asyncio.get_running_loop().time() - RESEND_S
        for message_id, one in list(self._on_the_way.items()):
            if one.sent_s > before_s:
                break
            del self._on_the_way[message_id]
            resent.inc()
            self._lost(one)

    def _lost(self, one: _Sent) -> None:
        self._busy.discard((one.device_id, one.state is not None))
        device = self._devices.get(one.device_id)
        if device is None:
            return
        if one.state is not None:
            self._states.setdefault(device.id, one.state)
        elif device.lost():
            self._news[device.id] = None

    def recall(self, devices: Iterable[Device], states: Iterable[str]) -> None:
        """Take up what was unsent when edgecore ended, or when memory was read again."""
        for device in devices:
            if device.lost():
                self.changed(device.id)
        for device_id in states:
            payload = payloads.state(self._devices[device_id], new_id(), self._now_ms())
            self._states.setdefault(device_id, payload)
