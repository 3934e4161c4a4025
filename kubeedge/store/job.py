"""Work that waits to be done in a group, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Context = TypeVar("Context")


class Job(Generic[Context]):
    """A function of the group's context, whose caller learns the outcome only when the whole group is done."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[Context], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell the caller, unless it has left; on the loop of the future."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)
