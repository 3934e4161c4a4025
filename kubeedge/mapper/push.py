"""Values sent past edgecore, to a broker or a web server, as the `pushMethod` of a property asks (spec 04 §7.4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from kubeedge.mapper.description import Device, HttpPush, Key, MqttPush, Property
from kubeedge.mapper.senders import Sender, Value, open_sender
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.mapper.push")

SEND_TIMEOUT_S = 10.0
# Pauses while a target is away double from the first to the last.
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 10.0

_pushed = Counter("kubeedge_mapper_pushes_total", "Values sent past edgecore by outcome", ("how", "outcome"))


class Pusher:
    """Sends values to their targets, each target by itself.

    What waits for a target that is away is bounded: of each property the latest value.
    """

    def __init__(self, open_sender: Callable[[str], Sender] = open_sender) -> None:
        self._open = open_sender
        self._queues: dict[str, _Queue] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._queues.clear()

    def push(self, device: Device, one: Property, text: str, timestamp_ms: int) -> None:
        """Take a value to send; the sending follows."""
        if one.push is None:
            raise ValueError(f"{one.name} has no push method")
        if self._group is None:
            return
        target = one.push.address if isinstance(one.push, MqttPush) else _origin(one.push.url)
        queue = self._queues.get(target)
        if queue is None:
            queue = self._queues[target] = _Queue(target, self._open(target))
            self._group.create_task(queue.run())
        queue.put(one.push, Value(device.key, one.name, text, timestamp_ms))


class _Queue:
    """The values that wait for one target."""

    def __init__(self, target: str, sender: Sender) -> None:
        self._target = target
        self._sender = sender
        self._waiting: dict[tuple[Key, str], tuple[MqttPush | HttpPush, Value]] = {}
        self._some = asyncio.Event()

    def put(self, how: MqttPush | HttpPush, value: Value) -> None:
        self._waiting[value.device, value.name] = how, value
        self._some.set()

    async def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        is_away = False
        try:
            while True:
                while not self._waiting:
                    self._some.clear()
                    await self._some.wait()
                name = next(iter(self._waiting))
                how, value = self._waiting[name]
                try:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._sender.send(how, value)
                except Exception as error:
                    _pushed.inc(_name(how), "failed")
                    if not is_away:
                        is_away = True
                        log.warning("cannot push target=%s reason=%s", self._target, error or repr(error))
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, LAST_PAUSE_S)
                    continue
                _pushed.inc(_name(how), "ok")
                if is_away:
                    is_away = False
                    log.info("pushes again target=%s", self._target)
                pause_s = FIRST_PAUSE_S
                # A newer value may have come meanwhile.
                if self._waiting[name][1] is value:
                    del self._waiting[name]
        finally:
            await self._sender.close()


def _name(how: MqttPush | HttpPush) -> str:
    return "mqtt" if isinstance(how, MqttPush) else "http"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
