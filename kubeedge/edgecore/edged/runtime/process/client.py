"""The runtime's side of the supervisor's socket: one connection a request (supervisor.py lists them)."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import kubeedge
from kubeedge.edgecore.edged.runtime.interface import ExecResult, RuntimeUnavailableError
from kubeedge.edgecore.edged.runtime.process.convention import LOG, SOCKET, command_line

# The supervisor answers in milliseconds; a disk that syncs slowly is the reason to wait longer.
ANSWER_TIMEOUT_S = 60
START_TIMEOUT_S = 20
# CRI's bound for the output of ExecSync.
MAX_EXEC_OUTPUT_BYTES = 16 * 1024 * 1024
# How long output is still read after a command ended, when a process that it left behind keeps it open.
EXEC_DRAIN_S = 2

_MAX_PACKET_BYTES = 64 * 1024


class RefusedError(Exception):
    """The supervisor answered `error`; the text says why."""


class Client:
    """Speaks to the supervisor of one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def start(self) -> None:
        """Start a supervisor; one that runs already stays. Raises RuntimeUnavailableError."""
        path = os.path.dirname(os.path.dirname(os.path.abspath(kubeedge.__file__)))
        process = await asyncio.create_subprocess_exec(
            *command_line(sys.executable, path, str(self._root)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            raise RuntimeUnavailableError("the supervisor of containers did not start in time") from None
        if code:
            raise RuntimeUnavailableError(f"the supervisor of containers did not start, see {self._root / LOG}")

    async def renew(self) -> None:
        """Have the supervisor replaced by this version. Raises RefusedError while it is busy."""
        path = os.path.dirname(os.path.dirname(os.path.abspath(kubeedge.__file__)))
        await self.ask("renew", sys.executable, path)

    async def ask(self, *request: str, timeout_s: float = ANSWER_TIMEOUT_S) -> list[str]:
        """Send one request and return the fields of its answer. Raises RefusedError, RuntimeUnavailableError."""
        with self._connect() as connection:
            _send(connection, request, ())
            return await _answer(connection, timeout_s)

    async def destroy(self) -> None:
        """Kill all containers and end the supervisor. Raises RuntimeUnavailableError when there is none."""
        await self.ask("destroy")

    async def watch(self) -> AsyncGenerator[list[str], None]:
        """Give hello, the states of all containers, synced, and every later state. Ends with the supervisor."""
        loop = asyncio.get_running_loop()
        with self._connect() as connection:
            _send(connection, ("watch",), ())
            while packet := await loop.sock_recv(connection, _MAX_PACKET_BYTES):
                yield packet.decode("utf-8", "replace").split("\0")

    async def execute(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        """Run command in a container. Raises TimeoutError (the command is killed then), RefusedError."""
        stdout, stderr = _Output(), _Output()
        try:
            with self._connect() as connection:
                _send(connection, ("exec", container_id, *command), (stdout.write_fd, stderr.write_fd))
                stdout.read()
                stderr.read()
                async with asyncio.timeout(timeout_s or None):
                    code = int((await _answer(connection, None))[1])
            await stdout.finished(EXEC_DRAIN_S)
            await stderr.finished(EXEC_DRAIN_S)
        finally:
            stdout.close()
            stderr.close()
        return ExecResult(bytes(stdout.data), bytes(stderr.data), code)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
            finally:
                os.close(folder)
        except OSError as error:
            connection.close()
            raise RuntimeUnavailableError(f"the supervisor of containers does not answer: {error.strerror}") from error
        return connection


class _Output:
    """A pipe whose other end a command gets; what comes is kept up to CRI's bound and thrown away beyond."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._ended = asyncio.Event()

    def read(self) -> None:
        """Begin to read; the command has its end of the pipe now."""
        os.close(self.write_fd)
        self.write_fd = -1
        asyncio.get_running_loop().add_reader(self._read_fd, self._take)

    def _take(self) -> None:
        try:
            data = os.read(self._read_fd, _MAX_PACKET_BYTES)
        except BlockingIOError:
            return
        self.data += data[: MAX_EXEC_OUTPUT_BYTES - len(self.data)]
        if not data:
            asyncio.get_running_loop().remove_reader(self._read_fd)
            self._ended.set()

    async def finished(self, timeout_s: float) -> None:
        """Wait for the end of the output, at most timeout_s."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Let go of the pipe."""
        asyncio.get_running_loop().remove_reader(self._read_fd)
        os.close(self._read_fd)
        if self.write_fd >= 0:
            os.close(self.write_fd)


def _send(connection: socket.socket, request: Sequence[str], descriptors: Sequence[int]) -> None:
    packet = "\0".join(request).encode("utf-8", "surrogateescape")
    try:
        socket.send_fds(connection, [packet], descriptors)
    except OSError as error:
        raise RuntimeUnavailableError(f"the supervisor of containers takes no request: {error.strerror}") from error


async def _answer(connection: socket.socket, timeout_s: float | None) -> list[str]:
    try:
        async with asyncio.timeout(timeout_s):
            packet = await asyncio.get_running_loop().sock_recv(connection, _MAX_PACKET_BYTES)
    except (OSError, TimeoutError) as error:
        if isinstance(error, TimeoutError):
            raise RuntimeUnavailableError(f"the supervisor of containers did not answer in {timeout_s} s") from error
        raise RuntimeUnavailableError(f"the supervisor of containers is gone: {error}") from error
    if not packet:
        raise RuntimeUnavailableError("the supervisor of containers is gone")
    word, *fields = packet.decode("utf-8", "replace").split("\0")
    if word == "error":
        raise RefusedError(fields[0])
    return [word, *fields]
