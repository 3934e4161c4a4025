"""The supervisor's event loop: poll(2) and a table of handlers. asyncio would be 10 MB."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Calls the handler of each descriptor that can be read."""

    __slots__ = ("_handlers", "_poll")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def add(self, fd: int, handler: Callable[[], None]) -> None:
        """Call handler whenever fd can be read or has come to its end."""
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def wake_when_writable(self, fd: int, wanted: bool) -> None:
        """Make turn also return when fd can be written."""
        self._poll.modify(fd, select.POLLIN | select.POLLOUT if wanted else select.POLLIN)

    def remove(self, fd: int) -> None:
        """Forget fd, if it is known; to be done before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def turn(self, timeout_ms: int) -> None:
        """Wait for something to happen and call the handlers that it is for."""
        for fd, _ in self._poll.poll(timeout_ms):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler()
