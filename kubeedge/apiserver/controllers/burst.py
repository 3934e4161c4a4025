"""Writes that belong together, made at the same time: the store commits them as one group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from kubeedge.kube.api import ApiError

T = TypeVar("T")

# A burst holds this many tasks at most, for as long as it lasts.
WIDTH = 64


async def together(calls: Sequence[Awaitable[T]]) -> list[T | ApiError]:
    """Await all calls, WIDTH at a time; an ApiError stands in the place of the result, anything else is raised."""
    outcomes: list[T | ApiError] = []
    for start in range(0, len(calls), WIDTH):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_outcome(call)) for call in calls[start : start + WIDTH]]
        outcomes.extend(task.result() for task in tasks)
    return outcomes


async def _outcome(call: Awaitable[T]) -> T | ApiError:
    try:
        return await call
    except ApiError as error:
        return error


def first_error(outcomes: Sequence[object]) -> ApiError | None:
    """Return the first error among outcomes."""
    return next((outcome for outcome in outcomes if isinstance(outcome, ApiError)), None)
