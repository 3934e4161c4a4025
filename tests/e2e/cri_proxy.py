"""Stands between edgecore and containerd, passes everything on and keeps what was asked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from grpclib.client import Channel
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from kubeedge.proto.containerd_grpc import EventsBase
from kubeedge.proto.cri_grpc import ImageServiceBase, RuntimeServiceBase

_SERVICES = (RuntimeServiceBase, ImageServiceBase, EventsBase)


@dataclass(slots=True)
class Call:
    """One call that was answered, its messages as JSON objects with the names of the protocol."""

    method: str
    request: dict[str, Any]
    reply: dict[str, Any]


class RecordingProxy:
    """Listens on path for what is meant for the socket of an engine; calls are those of one message each way."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.endpoint = f"unix://{path}"
        self.calls: list[Call] = []
        self._path = path
        self._engine = engine

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while inside."""
        channel = Channel(path=str(self._engine))
        server = Server([_Service(service, channel, self.calls) for service in _SERVICES])
        await server.start(path=str(self._path))
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()
            channel.close()


class _Service:
    """All methods of one service, each of which passes on."""

    def __init__(self, base: type[Any], channel: Channel, calls: list[Call]) -> None:
        self._base = base
        self._channel = channel
        self._calls = calls

    def __getattr__(self, method: str) -> None:
        """The generated table names a method of its service, which is not needed here."""

    def __mapping__(self) -> dict[str, Handler]:
        declared: dict[str, Handler] = self._base.__mapping__(self)
        return {path: handler._replace(func=self._passing_on(path, handler)) for path, handler in declared.items()}

    def _passing_on(self, path: str, handler: Handler) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        async def pass_on(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            types = (handler.request_type, handler.reply_type)
            async with self._channel.request(path, handler.cardinality, *types) as onward:
                await onward.send_message(request, end=True)
                async for reply in onward:
                    if handler.cardinality is Cardinality.UNARY_UNARY:
                        name = path.rpartition("/")[2]
                        self._calls.append(Call(name, _described(request), _described(reply)))
                    await stream.send_message(reply)

        return pass_on


def _described(message: Any) -> dict[str, Any]:
    described: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return described
