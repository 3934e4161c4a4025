"""What a container writes, on its way from its pipes or its terminal into the log."""

from __future__ import annotations

import os
import time

from kubeedge.edgecore.edged.runtime.process import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeedge.edgecore.edged.runtime.process.loop import Loop

# What is read at once bounds what the memory of the supervisor grows by.
READ_BYTES = 16384


class Output:
    """The log of one container and the streams that go into it. tell takes a line for the supervisor's own log.

    The streams are named pipes in the container's folder, which the container holds open for reading too: it neither
    waits nor dies when nobody reads for a while.
    """

    __slots__ = ("_folder", "_log_fd", "_log_path", "_loop", "_streams", "_tell", "_terminal")

    def __init__(self, loop: Loop, folder: str, log_path: str, tell: Callable[[str], None]) -> None:
        self._loop = loop
        self._folder = folder
        self._log_path = log_path
        self._tell = tell
        self._log_fd = -1
        self._terminal = -1
        self._streams: dict[int, logs.LogStream] = {}

    def make_pipes(self) -> None:
        """Make the pipes that are missing. Raises OSError."""
        for name in ("stdin", "stdout", "stderr"):
            if not os.path.exists(f"{self._folder}/{name}"):
                os.mkfifo(f"{self._folder}/{name}", 0o600)

    def make_terminal(self) -> int:
        """Take a pseudo terminal in place of the pipes; return the side of the container."""
        self._terminal, theirs = os.openpty()
        os.set_blocking(self._terminal, False)
        return theirs

    def open(self) -> None:
        """Begin to copy. Raises OSError."""
        self.reopen_log()
        if self._terminal >= 0:
            sources = {self._terminal: "stdout"}
        else:
            flags = os.O_RDONLY | os.O_NONBLOCK
            sources = {os.open(f"{self._folder}/{name}", flags): name for name in ("stdout", "stderr")}
        for fd, name in sources.items():
            self._streams[fd] = logs.LogStream(name)
            self._loop.add(fd, lambda fd=fd: self._copied(fd))  # type: ignore[misc]

    def reopen_log(self) -> None:
        """Open the file at the log's path, which is a new one after a rotation. Raises OSError."""
        if not self._log_path:
            return
        fd = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        if self._log_fd >= 0:
            os.close(self._log_fd)
        self._log_fd = fd

    def cut(self) -> None:
        """Write unfinished lines as partial ones: another process will read on."""
        for stream in self._streams.values():
            self._write(stream.cut(time.time_ns()))

    def close(self) -> None:
        """Copy what an ended container left, and let go of everything."""
        for fd in list(self._streams):
            while self._copy(fd):
                pass
            self._close(fd)
        if self._log_fd >= 0:
            os.close(self._log_fd)
            self._log_fd = -1

    def _copied(self, fd: int) -> None:
        if not self._copy(fd, or_wait=True):
            # End of file: the container closed its output, or is about to end.
            self._close(fd)

    def _copy(self, fd: int, or_wait: bool = False) -> bool:
        """Move output into the log. Return False at its end; when there is none now, return or_wait."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return or_wait
        except OSError:
            data = b""  # a terminal whose other side is closed gives EIO
        self._write(self._streams[fd].feed(data, time.time_ns()))
        return bool(data)

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        while view and self._log_fd >= 0:
            try:
                view = view[os.write(self._log_fd, view) :]
            except OSError as error:
                # A full disk must not stop the container: these lines are lost, later ones may fit.
                self._tell(f"log lines lost path={self._log_path} bytes={len(view)} error={error.strerror}")
                return

    def _close(self, fd: int) -> None:
        self._write(self._streams.pop(fd).close(time.time_ns()))
        self._loop.remove(fd)
        os.close(fd)
