"""Writes that belong together, made at the same time: the store commits them as one group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from kubeedge.kube.api import ApiError, ApiUnavailableError

T = TypeVar("T")

# A burst holds this many tasks at most, for as long as it lasts.
WIDTH = 64


Failure = ApiError | ApiUnavailableError


async def together(calls: Sequence[Awaitable[T]]) -> list[T | Failure]:
    """Await all calls, WIDTH at a time; a refusal stands in the place of the result, anything else is raised."""
    outcomes: list[T | Failure] = []
    for start in range(0, len(calls), WIDTH):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_outcome(call)) for call in calls[start : start + WIDTH]]
        outcomes.extend(task.result() for task in tasks)
    return outcomes


async def _outcome(call: Awaitable[T]) -> T | Failure:
    try:
        return await call
    except (ApiError, ApiUnavailableError) as error:
        return error


def first_error(outcomes: Sequence[object]) -> Failure | None:
    """Return the first refusal among outcomes."""
    return next((outcome for outcome in outcomes if isinstance(outcome, Failure)), None)


def words(failure: Failure) -> str:
    """Return what the API said, as users see it in events and conditions."""
    return failure.message if isinstance(failure, ApiError) else str(failure)


def is_code(failure: Failure, *codes: int) -> bool:
    """Tell whether the API answered with one of these codes."""
    return isinstance(failure, ApiError) and failure.code in codes
