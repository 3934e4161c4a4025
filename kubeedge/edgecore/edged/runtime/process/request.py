"""One request of the runtime: a connection of type SEQPACKET, fields separated by NUL, descriptors beside them."""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 160 * 1024
MAX_UNSENT = 10_000

# How many fields follow the word of a request; exec has any number.
FIELDS = {
    "watch": 0,
    "start": 5,
    "stop": 2,
    "exec": -1,
    "log": 1,
    "forget": 1,
    "renew": 2,
    "quit": 0,
    "destroy": 0,
}
_DESCRIPTORS = {"exec": 2}


class RequestError(Exception):
    """A request that makes no sense; the text is its answer."""


class Connection:
    """A connection. exec_pid is the command that runs for it; unsent is what a watcher did not take yet."""

    __slots__ = ("exec_pid", "socket", "unsent")

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.socket = _socket.socket(fileno=fd)
        self.exec_pid = 0
        self.unsent: list[bytes] = []

    def receive(self) -> tuple[list[str], list[int]] | None:
        """Return word and fields, and the descriptors that came along (the caller closes them); no word at the end.

        None means that nothing came. Raises RequestError.
        """
        descriptors: list[int] = []
        try:
            space = _socket.CMSG_SPACE(8)
            packet, ancillary, flags, _ = self.socket.recvmsg(MAX_BYTES, space, _socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except OSError:
            return [], []
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptors += (int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4))
        if not packet:
            return [], descriptors
        try:
            return _checked(packet, flags, len(descriptors)), descriptors
        except RequestError:
            for fd in descriptors:
                os.close(fd)
            raise

    def flush(self) -> bool:
        """Send what is unsent as far as it is taken; return whether all was. Raises OSError when nobody is there."""
        try:
            for _ in range(len(self.unsent)):
                self.socket.send(self.unsent[0])
                del self.unsent[0]
        except BlockingIOError:
            if len(self.unsent) > MAX_UNSENT:
                raise OSError("watcher does not read") from None
            return False
        return True


def packed(fields: Sequence[str]) -> bytes:
    """Return a message as it is sent."""
    return "\0".join(fields).encode("utf-8", "surrogateescape")


def _checked(packet: bytes, flags: int, descriptors: int) -> list[str]:
    if flags & _socket.MSG_TRUNC:
        raise RequestError("bad request: too long")
    word, *fields = packet.decode("utf-8", "surrogateescape").split("\0")
    if word not in FIELDS:
        raise RequestError(f"bad request: {word}")
    count = FIELDS[word]
    if (count >= 0 and len(fields) != count) or (count < 0 and len(fields) < 2):
        raise RequestError(f"bad request: {word} with {len(fields)} fields")
    if descriptors != _DESCRIPTORS.get(word, 0):
        raise RequestError(f"bad request: {word} with {descriptors} descriptors")
    return [word, *fields]
