"""The socket that mappers connect to. It is there from the start; gRPC is loaded when somebody comes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("kubeedge.dmi")

SOCKET_NAME = "dmi.sock"
DEFAULT_FOLDER = "/etc/kubeedge"
FOLDER_MODE = 0o750
# Who may write to the socket may report for every device.
SOCKET_MODE = 0o660
BACKLOG = 128


def socket_path(configured: str) -> Path:
    """Return the path for a value of `dmiSockPath`: a folder, or any `.sock` in it (spec 04 §6.1)."""
    folder = Path(configured or DEFAULT_FOLDER)
    return (folder.parent if configured.endswith(".sock") else folder) / SOCKET_NAME


class Listener:
    """The listening socket at path; what an earlier edgecore has left there is replaced in one step."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        hidden.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.socket.bind(str(hidden))
            hidden.chmod(SOCKET_MODE)
            self.socket.listen(BACKLOG)
            hidden.rename(path)
            self._inode = path.stat().st_ino
        except OSError:
            self.socket.close()
            hidden.unlink(missing_ok=True)
            raise
        log.info("listening for mappers socket=%s", path)

    async def first_connection(self) -> None:
        """Wait until somebody wants to connect."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self.socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.socket)

    def close(self) -> None:
        """Stop listening, and take the socket away unless another edgecore has put its own there."""
        self.socket.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
