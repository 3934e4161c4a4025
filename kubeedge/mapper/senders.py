"""The ways of `push.py` to a broker and to a web server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import urllib.request
import uuid
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from kubeedge.mapper.description import HttpPush, Key, MqttPush

KEEP_ALIVE_S = 30
HTTP_TIMEOUT_S = 5.0

_TLS_SCHEMES = frozenset({"ssl", "tls", "mqtts", "tcps"})


class Value(NamedTuple):
    """One value to send. name is the property's."""

    device: Key
    name: str
    text: str
    timestamp_ms: int

    @property
    def local_time(self) -> str:
        """Date and time on this machine's clock, as upstream writes it."""
        return f"{datetime.fromtimestamp(self.timestamp_ms // 1000):%Y-%m-%d %H:%M:%S}"


class Sender(Protocol):
    """A way to one target."""

    async def send(self, how: Any, value: Value) -> None:
        """Send a value and wait until the other side has it. Raises OSError."""

    async def close(self) -> None:
        """End what is open."""


def open_sender(target: str) -> Sender:
    """Return the way to a target: a web server (`http://host:port`), else a broker (`tcp://host:port`)."""
    return HttpSender() if target.startswith(("http:", "https:")) else MqttSender(target)


class HttpSender:
    """Posts each value as a form, as upstream does: `<property>=<value>&time=2006-01-02 15:04:05`."""

    async def send(self, how: HttpPush, value: Value) -> None:
        """See Sender. An answer that is no success is an error."""
        body = f"{quote(value.name)}={quote(value.text, safe='/:,@')}&time={value.local_time}"
        request = urllib.request.Request(
            how.url, body.encode(), {"Content-Type": "application/x-www-form-urlencoded"}, method="POST"
        )
        # HTTPError and URLError are OSErrors.
        await asyncio.to_thread(_post, request, how.timeout_s or HTTP_TIMEOUT_S)

    async def close(self) -> None:
        """See Sender."""


def _post(request: urllib.request.Request, timeout_s: float) -> None:
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        response.read()


class MqttSender:
    """Publishes at one broker over one connection, MQTT 3.1.1 with no name and password, as upstream does.

    A value of QoS 1 or 2 counts as sent when the broker has confirmed it.
    """

    def __init__(self, address: str) -> None:
        """address is like `tcp://127.0.0.1:1883`, or `ssl://` for TLS with a certificate that this machine trusts."""
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        self._host = parts.hostname or "127.0.0.1"
        self._tls = parts.scheme in _TLS_SCHEMES
        self._port = parts.port or (8883 if self._tls else 1883)
        self._client: Any = None
        self._storage: Any = None
        self._lost = asyncio.Event()

    async def send(self, how: MqttPush, value: Value) -> None:
        """See Sender."""
        if self._client is None or self._lost.is_set():
            await self.close()
            await self._connect()
        text = f"time is {value.local_time}  {how.topic}: {value.text}"
        self._client.publish(how.topic, text.encode(), qos=how.qos, retain=how.retained)
        if how.qos:
            await self._confirmed()

    async def _connect(self) -> None:
        # Only a mapper that pushes pays for it.
        import gmqtt
        from gmqtt.mqtt.constants import MQTTv311
        from gmqtt.storage import PersistentStorage

        logging.getLogger("gmqtt").setLevel(logging.CRITICAL)
        self._storage = PersistentStorage()
        client = gmqtt.Client(f"mapper-{uuid.uuid4().hex[:12]}", persistent_storage=self._storage)
        # Connecting again is the queue's, so that a value is sent from one place. 0 would still mean once, -1 for ever.
        client.set_config({"reconnect_retries": -2})
        self._lost = lost = asyncio.Event()
        client.on_disconnect = lambda *_: lost.set()
        try:
            await client.connect(
                self._host,
                self._port,
                ssl=ssl.create_default_context() if self._tls else False,
                keepalive=KEEP_ALIVE_S,
                version=MQTTv311,
            )
        except BaseException as error:
            with contextlib.suppress(Exception):
                await client.disconnect()
            if isinstance(error, gmqtt.mqtt.handler.MQTTError):
                raise ConnectionError(f"the broker refuses: {error}") from None
            raise
        self._client = client

    async def _confirmed(self) -> None:
        confirmed = asyncio.ensure_future(self._storage.wait_empty())
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({confirmed, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not confirmed.done():
                raise ConnectionError("the broker went away before it confirmed")
        finally:
            confirmed.cancel()
            lost.cancel()

    async def close(self) -> None:
        """See Sender."""
        client, self._client = self._client, None
        if client is not None and client.is_connected:
            await client.disconnect()
