"""Things that come close together are done together."""

from __future__ import annotations

import asyncio

from kubeedge.cloudcore.edgecontroller.beat import BEAT_S, Beat


async def test_what_comes_after_a_rest_is_done_at_once() -> None:
    done: list[int] = []
    beat = Beat(done.append)
    beat.add(1)
    assert done == [1]
    await asyncio.sleep(2 * BEAT_S)
    beat.add(2)
    assert done == [1, 2]


async def test_what_comes_close_together_is_done_at_the_next_beat_in_its_order() -> None:
    done: list[int] = []
    beat = Beat(done.append)
    for number in range(5):
        beat.add(number)
    assert done == [0]
    await asyncio.sleep(3 * BEAT_S)
    assert done == [0, 1, 2, 3, 4]


async def test_what_is_added_while_a_beat_strikes_waits_for_the_next() -> None:
    done: list[int] = []

    def do(number: int) -> None:
        done.append(number)
        if number < 3:
            beat.add(number + 1)

    beat = Beat(do)
    beat.add(0)
    assert done == [0]
    await asyncio.sleep(6 * BEAT_S)
    assert done == [0, 1, 2, 3]


async def test_after_its_end_nothing_is_done() -> None:
    done: list[int] = []
    beat = Beat(done.append)
    beat.add(0)
    beat.add(1)
    beat.stop()
    await asyncio.sleep(2 * BEAT_S)
    assert done == [0]
