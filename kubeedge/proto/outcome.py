"""A call of the gRPC library that disturbs only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Answer = TypeVar("Answer")


async def outcome(call: Awaitable[Answer]) -> Answer | Exception:
    """Await a call of the library; return its answer, or the error that it raised, for the caller to sort.

    The library breaks a call off by cancelling the task that makes it, sometimes more than once. In a task of its own
    that cannot be taken for, nor hide, a cancellation of the caller.
    """
    async with asyncio.TaskGroup() as group:
        attempt = group.create_task(_caught(call))
    return attempt.result()


async def _caught(call: Awaitable[Answer]) -> Answer | Exception:
    try:
        return await call
    except Exception as error:
        return error
