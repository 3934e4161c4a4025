"""A runtime that is gone, restarted, stuck or no runtime at all: an error soon, never a daemon that hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime
from kubeedge.edgecore.edged.runtime.interface import ContainerState, RuntimeCallError, RuntimeUnavailableError
from tests.edgecore.runtime_cri.conftest import WAIT_S, Node, impatient


@asynccontextmanager
async def running(runtime: CriRuntime) -> AsyncIterator[CriRuntime]:
    task = asyncio.create_task(runtime.run())
    yield runtime
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def returned(runtime: CriRuntime) -> None:
    """Wait until the runtime answers."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await runtime.list_containers()
                return
            except RuntimeUnavailableError:
                await asyncio.sleep(0.02)


@pytest.mark.root
async def test_containers_live_on_while_containerd_is_killed_and_started_again(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    pid = node.pid(container_id)
    pending = asyncio.create_task(node.runtime.exec_sync(container_id, ["sleep", "50"], 0))
    await asyncio.sleep(0.2)
    node.containerd.kill()
    with pytest.raises(RuntimeUnavailableError):
        await pending
    for _ in range(2):
        with pytest.raises(RuntimeUnavailableError):
            await node.runtime.list_containers()
    node.containerd.start()
    await returned(node.runtime)
    assert (await node.runtime.container_status(container_id)).state is ContainerState.RUNNING
    assert node.pid(container_id) == pid
    await node.runtime.stop_container(container_id, 0)
    assert (await node.runtime.container_status(container_id)).exit_code == 137


@pytest.mark.root
async def test_end_while_containerd_was_away_is_known_after_its_return(node: Node) -> None:
    container_id = await node.run("sh", "-c", "until [ -e /go ]; do sleep 0.02; done; exit 6")
    root = Path(f"/proc/{node.pid(container_id)}/root")
    node.containerd.kill()
    (root / "go").touch()
    await node.until(lambda: not (root / "go").exists())
    node.containerd.start()
    await returned(node.runtime)
    assert (await node.ended(container_id)).exit_code == 6


@pytest.mark.root
async def test_containerd_that_hangs_is_noticed_and_used_again_when_it_goes_on(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    node.containerd.freeze()
    try:
        begun = time.monotonic()
        calls = [node.runtime.list_containers(), node.runtime.exec_sync(container_id, ["true"], 0)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [RuntimeUnavailableError] * 2
        assert time.monotonic() - begun < 5
        begun = time.monotonic()
        with pytest.raises(RuntimeUnavailableError, match="does not answer"):
            await node.runtime.list_containers()
        assert time.monotonic() - begun < 0.1
    finally:
        node.containerd.thaw()
    await returned(node.runtime)
    assert (await node.runtime.exec_sync(container_id, ["echo", "back"], 5)).stdout == b"back\n"


@pytest.mark.root
async def test_events_end_with_containerd_and_come_again_after_it(node: Node) -> None:
    async def first_event() -> str:
        async for event in node.runtime.events():
            return event.pod_uid
        raise AssertionError("no event")

    listener = asyncio.create_task(first_event())
    await asyncio.sleep(0.3)
    node.containerd.kill()
    with pytest.raises(RuntimeUnavailableError):
        await listener
    node.containerd.start()
    await returned(node.runtime)
    listener = asyncio.create_task(first_event())
    await asyncio.sleep(0.3)
    await node.run("true")
    assert await listener == node.sandbox.uid


@pytest.mark.root
async def test_call_that_is_given_up_is_given_up_by_containerd_too(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    call = asyncio.create_task(node.runtime.exec_sync(container_id, ["sleep", "77"], 0))
    await asyncio.sleep(0.3)
    assert b"sleep 77" in (await node.runtime.exec_sync(container_id, ["ps"], 5)).stdout
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    async with asyncio.timeout(WAIT_S):
        while b"sleep 77" in (await node.runtime.exec_sync(container_id, ["ps"], 5)).stdout:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.root
async def test_cancellation_is_not_lost_when_containerd_dies_at_the_same_moment(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    connection = node.runtime._connection

    async def worker() -> None:
        while True:
            try:
                await node.runtime.exec_sync(container_id, ["sleep", "50"], 0)
            except RuntimeUnavailableError:
                await asyncio.sleep(0)

    for end in (lambda task: (connection.close(), task.cancel()), lambda task: (task.cancel(), connection.close())):
        task = asyncio.create_task(worker())
        await asyncio.sleep(0.2)
        end(task)
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()


async def test_socket_that_is_not_there_is_a_runtime_that_is_away(tmp_path: Path) -> None:
    runtime = CriRuntime(f"unix://{tmp_path}/none.sock")
    with pytest.raises(RuntimeUnavailableError, match=r"none\.sock: No such file or directory"):
        await runtime.version()
    (tmp_path / "left.sock").touch()
    with pytest.raises(RuntimeUnavailableError, match=r"left\.sock: Connection refused"):
        await CriRuntime(f"unix://{tmp_path}/left.sock").version()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def listening(folder: Path, talk: Talk) -> AsyncIterator[str]:
    """A server that is no runtime."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        talk(reader, writer)

    path = folder / "odd.sock"
    server = await asyncio.start_unix_server(accept, str(path))
    yield f"unix://{path}"
    server.close()
    for writer in writers:
        writer.close()
    await server.wait_closed()


# An HTTP/2 server's first frames: SETTINGS, and then either a HEADERS frame of one byte that HPACK does not have, or
# a GOAWAY.
SETTINGS = bytes.fromhex("000000040000000000")


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 300,
        b"\xff" * 300,
        SETTINGS + bytes.fromhex("000001010400000001ff"),
        SETTINGS + bytes.fromhex("0000080700000000000000000000000002"),
        b"",
    ],
    ids=["http1", "zeros", "ones", "headers", "goaway", "nothing"],
)
async def test_server_that_is_no_runtime_is_one_that_is_away(tmp_path: Path, words: bytes) -> None:
    def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        if not words:
            writer.close()

    async with listening(tmp_path, talk) as endpoint, running(CriRuntime(endpoint, connect=impatient)) as runtime:
        for _ in range(2):
            async with asyncio.timeout(10):
                with pytest.raises(RuntimeUnavailableError):
                    await runtime.list_containers()
            async with asyncio.timeout(10):
                with pytest.raises((RuntimeUnavailableError, RuntimeCallError)):
                    async for _event in runtime.events():
                        pass


async def test_server_that_says_nothing_is_noticed(tmp_path: Path) -> None:
    async with (
        listening(tmp_path, lambda *_: None) as endpoint,
        running(CriRuntime(endpoint, connect=impatient)) as runtime,
    ):
        with pytest.raises(RuntimeUnavailableError, match="does not answer"):
            await runtime.version()
