"""A runtime that is newer than the packaged one, as far as a test needs it: RuntimeConfig and events of CRI's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from kubeedge.proto import cri_grpc
from kubeedge.proto import cri_pb2 as cri

Answer = Callable[[Any], Any]


def _methods(base: type) -> dict[str, Callable[[Any, Stream[Any, Any]], Awaitable[None]]]:
    """Each method looks for its answer in `answers`: a message, an error, or a function of the request that gives one
    of them or many messages."""

    def method(name: str) -> Callable[[Any, Stream[Any, Any]], Awaitable[None]]:
        async def answer(self: Any, stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            found = self.runtime.answers.get(name, GRPCError(Status.UNIMPLEMENTED, f"unknown method {name}"))
            if callable(found):
                found = found(request)
            if isinstance(found, GRPCError):
                raise found
            if hasattr(found, "__aiter__"):
                async for message in found:
                    await stream.send_message(message)
            else:
                await stream.send_message(found)

        return answer

    return {name: method(name) for name in base.__abstractmethods__}  # type: ignore[attr-defined]


class Newer:
    """Answers what `answers` says, by the name of the method; everything else is not implemented."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.answers: dict[str, Any] = {
            "Version": cri.VersionResponse(runtime_name="newer", runtime_version="9", runtime_api_version="v1"),
            "ListContainers": cri.ListContainersResponse(),
            "ListPodSandbox": cri.ListPodSandboxResponse(),
        }
        self.events: asyncio.Queue[cri.ContainerEventResponse] = asyncio.Queue()

    async def give_events(self) -> AsyncIterator[cri.ContainerEventResponse]:
        while True:
            yield await self.events.get()


@asynccontextmanager
async def newer_runtime(folder: Path) -> AsyncIterator[Newer]:
    path = folder / "newer.sock"
    runtime = Newer(f"unix://{path}")
    services = [
        type(base.__name__, (base,), {**_methods(base), "runtime": runtime})()
        for base in (cri_grpc.RuntimeServiceBase, cri_grpc.ImageServiceBase)
    ]
    server = Server(services)
    await server.start(path=str(path))
    yield runtime
    server.close()
    await server.wait_closed()
