"""Breaking off what a pod's worker waits for, once it does not matter any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """What is wanted of the pod has changed: what was being waited for does not matter any more."""


class Interruptible:
    """Awaits what an interruption breaks off. One that comes while nothing is awaited breaks off the next wait.

    heed() says that all interruptions so far have been taken into account.
    """

    def __init__(self) -> None:
        self._scope: asyncio.Timeout | None = None
        self._interruptions = 0
        self._heeded = 0

    def interrupt(self) -> None:
        """Break off the wait of the present, or the next one."""
        self._interruptions += 1
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def heed(self) -> None:
        """Begin anew, knowing what the interruptions so far were for."""
        self._heeded = self._interruptions

    async def __call__(self, awaitable: Coroutine[Any, Any, T]) -> T:
        """Await something. Raises Interrupted when it was broken off."""
        if self._interruptions != self._heeded:
            awaitable.close()
            raise Interrupted
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                return await awaitable
        except TimeoutError:
            if scope.expired():
                raise Interrupted from None
            raise
        finally:
            self._scope = None
