"""Waiting for what happens by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

TIMEOUT_S = 10
_PAUSE_S = 0.02


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Return when condition, which may be asynchronous, is true. Raises TimeoutError."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            value = condition()
            if await value if isawaitable(value) else value:
                return
            await asyncio.sleep(_PAUSE_S)
