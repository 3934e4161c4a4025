"""Waiting for what a site promises."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from kubeedge.demo.site import Site
from kubeedge.kube.api import ApiError, ApiUnavailableError

# What a step may take before it has failed; every one is far quicker on an idle machine.
STEP_TIMEOUT_S = 40
POLL_S = 0.1


class StepError(Exception):
    """A promise that was not kept; the text says what was seen instead."""


class Watcher:
    """Looks at a site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def _until(
        self,
        condition: Callable[[], Awaitable[bool]],
        otherwise: str | Callable[[], str],
        timeout_s: float = STEP_TIMEOUT_S,
    ) -> float:
        """Wait until condition() holds; return how many seconds that took.

        Raises StepError with the text otherwise, ProgramError when one has died.
        """
        started = time.monotonic()
        while time.monotonic() < started + timeout_s:
            with contextlib.suppress(ApiError, ApiUnavailableError):
                if await condition():
                    return time.monotonic() - started
            self._site.check_running()
            await asyncio.sleep(POLL_S)
        raise StepError(otherwise if isinstance(otherwise, str) else otherwise())
