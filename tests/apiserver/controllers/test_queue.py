"""The work queue and the workers on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver.controllers.queue import Controller, WorkQueue
from tests.apiserver.controllers.cluster import until


def queue(**options: float) -> WorkQueue[str]:
    return WorkQueue(jitter=lambda: 0.5, **options)


def test_key_that_is_added_twice_is_handed_out_once() -> None:
    work = queue()
    work.add("a")
    work.add("a")
    assert work.take(0) == "a"
    assert work.take(0) is None


def test_key_that_is_added_during_the_work_on_it_comes_again_afterwards() -> None:
    work = queue()
    work.add("a")
    work.take(0)
    work.add("a")
    assert work.take(0) is None
    work.done("a")
    assert work.take(0) == "a"


def test_keys_come_in_the_order_in_which_they_became_ready() -> None:
    work = queue()
    for key in "cab":
        work.add(key)
    assert [work.take(0) for _ in range(3)] == ["c", "a", "b"]


def test_highest_priority_comes_first_and_among_equals_the_oldest() -> None:
    work: WorkQueue[str] = WorkQueue(priority={"low": 0, "high": 9, "also low": 0}.__getitem__)
    for key in ("low", "also low", "high"):
        work.add(key)
    assert [work.take(0) for _ in range(3)] == ["high", "low", "also low"]


def test_delayed_key_comes_at_its_earliest_time() -> None:
    work = queue()
    work.add_at("a", 5)
    work.add_at("a", 3)
    work.add_at("a", 4)
    assert work.next_due() == 3
    assert work.take(2.9) is None
    assert work.take(3) == "a"
    work.done("a")
    assert work.next_due() is None
    assert work.take(100) is None


def test_back_off_doubles_up_to_its_limit_and_ends_with_forget() -> None:
    work = queue(first_delay_s=1, longest_delay_s=5)
    delays = []
    for _ in range(4):
        work.retry("a", 100)
        due = work.next_due()
        assert due is not None
        delays.append(due - 100)
        work.take(due)
        work.done("a")
    assert delays == [1, 2, 4, 5]
    work.forget("a")
    work.retry("a", 0)
    assert work.next_due() == 1


def test_back_off_is_spread_by_a_quarter() -> None:
    dues = []
    for jitter in (0.0, 1.0):
        work: WorkQueue[str] = WorkQueue(first_delay_s=1, jitter=lambda jitter=jitter: jitter)  # type: ignore[misc]
        work.retry("a", 0)
        dues.append(work.next_due())
    assert dues == [0.75, 1.25]


@given(st.lists(st.tuples(st.sampled_from(["add", "later", "take", "done"]), st.integers(0, 4)), max_size=60))
def test_no_key_is_lost_or_worked_on_twice_at_a_time(steps: list[tuple[str, int]]) -> None:
    work: WorkQueue[int] = WorkQueue()
    owed: set[int] = set()
    working: set[int] = set()
    now = 0.0
    for step, key in steps:
        now += 1
        if step == "add":
            work.add(key)
            owed.add(key)
        elif step == "later":
            work.add_at(key, now + key)
            owed.add(key)
        elif step == "take":
            taken = work.take(now)
            if taken is not None:
                assert taken in owed
                assert taken not in working
                working.add(taken)
                owed.discard(taken)
        elif key in working:
            working.discard(key)
            work.done(key)
    for key in working:
        work.done(key)
    left = set()
    while (taken := work.take(now + 10)) is not None:
        left.add(taken)
        work.done(taken)
    assert owed <= left


async def run_until(controller: Controller[str], reached: Callable[[], bool]) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(controller.run())

        async def look() -> bool:
            return reached()

        await until(look)
        running.cancel()


async def test_key_that_fails_comes_again_until_it_works() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)
        if len(seen) < 3:
            raise RuntimeError("not yet")

    controller = Controller("test", reconcile)
    controller.enqueue("a")
    await run_until(controller, lambda: len(seen) == 3)


async def test_failure_of_one_key_does_not_hold_up_others(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)
        if key == "bad":
            raise RuntimeError("always")

    controller = Controller("test", reconcile)
    controller.enqueue("bad")
    controller.enqueue("good")
    await run_until(controller, lambda: "good" in seen)
    assert "reconcile failed controller=test key=bad failures=1" in caplog.text


async def test_key_comes_again_after_the_time_that_reconcile_returned() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> float | None:
        seen.append(asyncio.get_running_loop().time())
        return 0.05 if len(seen) == 1 else None

    controller = Controller("test", reconcile)
    controller.enqueue("a")
    await run_until(controller, lambda: len(seen) == 2)
    # The loop's clock counts whole milliseconds.
    assert seen[1] - seen[0] >= 0.049


async def test_workers_share_keys_but_never_one_key() -> None:
    busy: set[str] = set()
    most = 0
    finished = 0

    async def reconcile(key: str) -> None:
        nonlocal most, finished
        assert key not in busy
        busy.add(key)
        most = max(most, len(busy))
        await asyncio.sleep(0.005)
        busy.discard(key)
        finished += 1

    controller = Controller("test", reconcile, workers=3)
    for key in ("a", "b", "c", "a", "b"):
        controller.enqueue(key)
    await run_until(controller, lambda: finished >= 3)
    assert most == 3


async def test_cancelled_controller_stops_in_the_middle_of_its_work() -> None:
    reached = asyncio.Event()

    async def reconcile(key: str) -> None:
        reached.set()
        await asyncio.Event().wait()

    controller = Controller("test", reconcile, workers=2)
    controller.enqueue("a")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(controller.run())
        await reached.wait()
        running.cancel()
