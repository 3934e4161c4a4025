"""The timer wheel against the plainest thing that does the same."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from kubeedge.cloudcore.hub.wheel import TimerWheel

TIMES = st.integers(0, 400).map(lambda value: value / 8)
STEPS = st.lists(
    st.tuples(st.just("set"), st.integers(0, 4), TIMES)
    | st.tuples(st.just("earlier"), st.integers(0, 4), TIMES)
    | st.tuples(st.just("discard"), st.integers(0, 4), st.just(0.0))
    | st.tuples(st.just("turn"), st.just(0), TIMES),
    max_size=30,
)


@given(STEPS)
def test_items_are_due_at_their_tick_and_once(steps: list[tuple[str, int, float]]) -> None:
    wheel: TimerWheel[int] = TimerWheel(0.5, 0.0)
    model: dict[int, int] = {}
    now = 0
    for step, item, value in steps:
        tick = max(math.ceil(value / 0.5), now + 1)
        if step == "set":
            wheel.set(item, value)
            model[item] = tick
        elif step == "earlier":
            wheel.set_earlier(item, value)
            model[item] = min(tick, model.get(item, tick))
        elif step == "discard":
            wheel.discard(item)
            model.pop(item, None)
        else:
            now = max(now, math.floor(value / 0.5))
            due = wheel.due(value)
            assert sorted(due) == sorted(item for item, at in model.items() if at <= now)
            assert [model[item] for item in due] == sorted(model[item] for item in due)
            model = {item: at for item, at in model.items() if at > now}
        assert len(wheel) == len(model)


def test_an_item_is_never_due_early() -> None:
    wheel: TimerWheel[str] = TimerWheel(0.5, 10.0)
    wheel.set("a", 10.7)
    assert wheel.due(10.99) == []
    assert wheel.due(11.0) == ["a"]
    assert wheel.due(12.0) == []
