"""Calls of a driver's methods, which may be coroutines or block a thread."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable
from typing import Any


class Caller:
    """Calls for one device; what blocks does so in one thread of the device's own, started when it is first needed.

    A call that hangs keeps up neither other devices nor the end of the program, and its device has no second thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Return what method returns, or raise what it raises."""
        if inspect.iscoroutinefunction(method):
            return await method(*arguments)
        result = await self._in_thread(method, *arguments)
        return await result if inspect.isawaitable(result) else result

    async def _in_thread(self, method: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def call() -> None:
            # Given up while it waited behind another one.
            if future.cancelled():
                return
            result, error = None, None
            try:
                result = method(*arguments)
            except Exception as raised:
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._calls.put(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return await future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def close(self) -> None:
        """Let the thread end, after the call that it is in."""
        self._calls.put(None)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):
        # A future cannot carry this one.
        future.set_exception(RuntimeError(repr(error)))
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
