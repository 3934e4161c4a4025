"""The frame of a controller: a queue of keys without duplicates, back-off for those that failed, a few workers."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from kubeedge import metrics
from kubeedge.kube.api import ApiError, ApiUnavailableError

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

FIRST_DELAY_S = 0.01
LONGEST_DELAY_S = 60.0
# Failures up to this one are what concurrent writers cause all the time; only after it somebody has to look.
QUIET_FAILURES = 3

_reconciled = metrics.Counter("kubeedge_controller_reconciles_total", "Keys worked on", ("controller",))
_failed = metrics.Counter("kubeedge_controller_failures_total", "Keys whose reconciliation failed", ("controller",))


class WorkQueue(Generic[K]):
    """Keys that wait for work, each at most once: coalescing, so bounded by the number of objects there are.

    A key that is added while somebody works on it is handed out again after done(). Time is an argument everywhere;
    nothing here sleeps.
    """

    def __init__(
        self,
        *,
        first_delay_s: float = FIRST_DELAY_S,
        longest_delay_s: float = LONGEST_DELAY_S,
        jitter: Callable[[], float] = random.random,
        priority: Callable[[K], int] | None = None,
    ) -> None:
        """Make a queue; priority is asked when a key becomes ready: the highest goes first, among equals the oldest."""
        self._first_delay_s = first_delay_s
        self._longest_delay_s = longest_delay_s
        self._jitter = jitter
        self._priority = priority
        self._ready: set[K] = set()
        self._order: list[tuple[int, int, K]] = []
        self._working: set[K] = set()
        self._again: set[K] = set()
        # A key may stand in the heap more than once; only the entry that agrees with _due counts.
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._entries = 0
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._ready) + len(self._due)

    def add(self, key: K) -> None:
        """Make key ready now."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready.add(key)
            self._entries += 1
            heapq.heappush(self._order, (-self._priority(key) if self._priority else 0, self._entries, key))

    def add_at(self, key: K, due: float) -> None:
        """Make key ready at the time due; of several times the earliest counts."""
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._entries += 1
        heapq.heappush(self._heap, (due, self._entries, key))

    def retry(self, key: K, now: float) -> int:
        """Make key ready again after its back-off, which doubles with each failure; return how often it failed."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        delay = min(self._first_delay_s * 2 ** min(failures - 1, 32), self._longest_delay_s)
        self.add_at(key, now + delay * (0.75 + self._jitter() / 2))
        return failures

    def forget(self, key: K) -> None:
        """End the back-off of key: its next failure is its first."""
        self._failures.pop(key, None)

    def take(self, now: float) -> K | None:
        """Hand out the next key that is ready, or None. The caller calls done() when it has worked on it."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        if not self._ready:
            return None
        key = heapq.heappop(self._order)[2]
        self._ready.remove(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Say that the work on key is over."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def next_due(self) -> float | None:
        """Return when the next waiting key becomes ready."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class Controller(Generic[K]):
    """Calls reconcile(key) for every key that was enqueued, on a fixed number of workers, until it returns.

    reconcile returns the seconds after which it wants to see the key again, or None. What it raises is logged and
    counted, and the key comes again after a back-off.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 1,
        queue: WorkQueue[K] | None = None,
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._queue = WorkQueue[K]() if queue is None else queue
        self._wake = asyncio.Event()

    def enqueue(self, key: K, delay_s: float = 0.0) -> None:
        """Have key reconciled, after delay_s if that is given; only from the event loop's thread."""
        if delay_s > 0:
            self._queue.add_at(key, asyncio.get_running_loop().time() + delay_s)
        else:
            self._queue.add(key)
        self._wake.set()

    def enqueue_at(self, key: K, due: float) -> None:
        """Have key reconciled at the time due of the event loop's clock."""
        self._queue.add_at(key, due)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._workers):
                workers.create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        queue = self._queue
        while True:
            key = queue.take(loop.time())
            if key is None:
                await self._wait(loop)
                continue
            try:
                again_s = await self._reconcile(key)
            except Exception as error:
                self._log_failure(key, error, queue.retry(key, loop.time()))
            else:
                queue.forget(key)
                if again_s is not None:
                    queue.add_at(key, loop.time() + again_s)
            finally:
                _reconciled.inc(self.name)
                queue.done(key)
                # Another worker may sleep without a timer for what was queued here.
                self._wake.set()

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake.clear()
        due = self._queue.next_due()
        if due is None:
            await self._wake.wait()
            return
        timer = loop.call_at(due, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _log_failure(self, key: K, error: Exception, failures: int) -> None:
        _failed.inc(self.name)
        if isinstance(error, ApiError | ApiUnavailableError):
            level = logging.WARNING if failures > QUIET_FAILURES else logging.DEBUG
            log.log(
                level, "reconcile failed controller=%s key=%s failures=%d error=%s", self.name, key, failures, error
            )
        else:
            log.error("reconcile failed controller=%s key=%s failures=%d", self.name, key, failures, exc_info=error)
