from __future__ import annotations

import asyncio

import pytest

from kubeedge.edgecore.edged.interruption import Interrupted, Interruptible


async def answer(value: int = 7) -> int:
    await asyncio.sleep(0)
    return value


async def test_what_nobody_interrupts_gives_its_result() -> None:
    assert await Interruptible()(answer()) == 7


async def test_interruption_breaks_off_what_is_awaited() -> None:
    interruptible = Interruptible()
    waiting = asyncio.ensure_future(interruptible(asyncio.sleep(60)))
    await asyncio.sleep(0)
    interruptible.interrupt()
    with pytest.raises(Interrupted):
        await asyncio.wait_for(waiting, 5)


async def test_interruption_between_two_waits_breaks_off_the_next_one() -> None:
    interruptible = Interruptible()
    interruptible.interrupt()
    for _ in range(2):
        with pytest.raises(Interrupted):
            await interruptible(answer())
    interruptible.heed()
    assert await interruptible(answer()) == 7


async def test_time_out_of_the_work_itself_is_no_interruption() -> None:
    async def late() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="own"):
        await Interruptible()(late())


async def test_cancellation_goes_through() -> None:
    interruptible = Interruptible()
    waiting = asyncio.ensure_future(interruptible(asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
