"""The supervisor's socket: requests that come in, answers that go out, watchers that are told of changes."""

from __future__ import annotations

import _socket
import os
import time

from kubeedge.edgecore.edged.runtime.process.convention import SOCKET
from kubeedge.edgecore.edged.runtime.process.request import Connection, RequestError, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kubeedge.edgecore.edged.runtime.process.loop import Loop

BACKLOG = 128


class Server:
    """Gives each request to handle(connection, word, fields, descriptors), each end of a connection to closed.

    handle may raise RequestError, LookupError, ValueError and OSError, whose texts become the answer. tell takes a line
    of the supervisor's log.
    """

    def __init__(
        self,
        loop: Loop,
        handle: Callable[[Connection, str, list[str], list[int]], None],
        closed: Callable[[Connection], None],
        tell: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._closed = closed
        self._tell = tell
        self._watchers: list[Connection] = []

    def listen(self, root: str) -> None:
        """Listen on the socket in the folder root, for its owner only. Raises OSError."""
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
        if os.path.lexists(f"{root}/{SOCKET}"):
            os.unlink(f"{root}/{SOCKET}")
        # A path of any length fits into an address this way (sun_path has 108 bytes).
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
        mask = os.umask(0o177)
        listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
        os.umask(mask)
        os.close(folder)
        listener.listen(BACKLOG)
        self._loop.add(listener.fileno(), lambda: self._accept(listener))

    def answer(self, connection: Connection, *fields: str) -> None:
        """Send the one answer of a request and close its connection."""
        if connection.socket.fileno() < 0:
            return  # its end was the reason for what happened
        try:
            connection.socket.send(packed(fields))
        except OSError as error:
            self._tell(f"answer not sent error={error.strerror}")
        self._close(connection)

    def watch(self, connection: Connection, snapshot: Iterable[Sequence[str]]) -> None:
        """Send a connection these messages, and later ones until it ends."""
        connection.unsent = [packed(fields) for fields in snapshot]
        self._watchers.append(connection)

    def tell(self, fields: Sequence[str]) -> None:
        """Send a message to all watchers, with the next flush."""
        packet = packed(fields)
        for watcher in self._watchers:
            watcher.unsent.append(packet)

    def flush(self) -> None:
        """Send watchers what they take; one that lets it pile up is left, connects again and gets a snapshot."""
        for watcher in [watcher for watcher in self._watchers if watcher.unsent]:
            try:
                self._loop.wake_when_writable(watcher.socket.fileno(), not watcher.flush())
            except OSError:
                self._close(watcher)

    def _accept(self, listener: _socket.socket) -> None:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            self._tell(f"connection not accepted error={error.strerror}")
            time.sleep(0.1)  # descriptors are used up: the loop would turn at full speed
            return
        connection = Connection(fd)
        self._loop.add(fd, lambda: self._receive(connection))

    def _receive(self, connection: Connection) -> None:
        try:
            request = connection.receive()
        except RequestError as error:
            self.answer(connection, "error", str(error))
            return
        if request is None:
            return
        words, descriptors = request
        try:
            if words:
                self._handle(connection, words[0], words[1:], descriptors)
            else:
                self._close(connection)
        except RequestError as error:
            self.answer(connection, "error", str(error))
        except (LookupError, ValueError) as error:
            self.answer(connection, "error", f"bad request: {error}")
        except OSError as error:
            self._tell(f"request failed request={words[0]} error={error}")
            self.answer(connection, "error", str(error))
        finally:
            for fd in descriptors:
                os.close(fd)

    def _close(self, connection: Connection) -> None:
        fd = connection.socket.fileno()
        if fd < 0:
            return
        self._loop.remove(fd)
        connection.socket.close()
        if connection in self._watchers:
            self._watchers.remove(connection)
        self._closed(connection)
