"""The queue of what goes up: its rate, its bound, and what it gives up first."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.hub.uplink import TokenBucket, Uplink, dropped
from kubeedge.message import Message, new_message


class Lane:
    """The sending half of a lane."""

    def __init__(self) -> None:
        self.connection = SimpleNamespace(is_writable=True)
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)


def request(name: str = "x") -> Message:
    return new_message("edged", "meta", "query", f"default/configmap/{name}")


def event(name: str = "x") -> Message:
    return new_message("edged", "meta", "insert", f"default/event/{name}")


def ack(name: str = "x") -> Message:
    return new_message("edgecontroller", "resource", "response", f"default/configmap/{name}", b'"OK"', parent_id="p")


@given(
    st.lists(st.integers(0, 40).map(lambda eighths: eighths / 8), max_size=60), st.integers(1, 40), st.integers(1, 60)
)
def test_never_more_than_the_burst_and_the_rate_allow(pauses: list[float], rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait == 0:
            taken += 1
        else:
            assert 0 < wait <= 1 / rate + 1e-9
        assert taken <= burst + rate * now + 1e-6


def test_a_missing_token_is_there_after_the_time_that_was_told() -> None:
    bucket = TokenBucket(30, 2, 100.0)
    assert [bucket.take(100.0), bucket.take(100.0)] == [0.0, 0.0]
    wait = bucket.take(100.0)
    assert wait == pytest.approx(1 / 30)
    assert bucket.take(100.0 + wait + 1e-9) == 0.0


async def test_messages_wait_for_a_lane_and_leave_acknowledgements_first() -> None:
    uplink, lane = Uplink(1000, 100), Lane()
    first, second = request("1"), request("2")
    uplink.put(first)
    uplink.attach(lane)  # type: ignore[arg-type]
    uplink.put(second)
    assert lane.sent == [first, second]
    lane.connection.is_writable = False
    third, acknowledgement = request("3"), ack()
    uplink.put(third)
    uplink.put(acknowledgement)
    assert len(uplink) == 2
    lane.connection.is_writable = True
    uplink.pump()
    assert lane.sent[2:] == [acknowledgement, third]


async def test_events_leave_last_and_are_given_up_first() -> None:
    uplink, lane = Uplink(1000, 100, capacity=4), Lane()
    told, asked = [event(str(number)) for number in range(3)], [request(str(number)) for number in range(3)]
    for message in (*told, *asked):
        uplink.put(message)
    uplink.attach(lane)  # type: ignore[arg-type]
    assert lane.sent == [*asked, told[2]]


async def test_the_rate_holds_messages_back_and_lets_all_of_them_go() -> None:
    uplink, lane = Uplink(100, 5), Lane()
    uplink.attach(lane)  # type: ignore[arg-type]
    sent = [request(str(number)) for number in range(15)]
    began = asyncio.get_running_loop().time()
    for message in sent:
        uplink.put(message)
    assert lane.sent == sent[:5]
    await asyncio.sleep(0.09 - (asyncio.get_running_loop().time() - began))
    assert len(lane.sent) < 15
    await asyncio.sleep(0.1)
    assert lane.sent == sent


async def test_a_full_queue_gives_up_the_oldest_request_and_never_an_acknowledgement_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uplink = Uplink(1000, 1000, capacity=4)
    before = dropped.value("queue is full")
    requests = [request(str(number)) for number in range(4)]
    for message in requests:
        uplink.put(message)
    acks = [ack(str(number)) for number in range(3)]
    for message in acks:
        uplink.put(message)
    assert len(uplink) == 4
    assert dropped.value("queue is full") == before + 3
    assert caplog.text.count("upstream queue is full") == 1
    for message in acks:
        uplink.put(message)
    assert len(uplink) == 4


async def test_acknowledgements_of_an_earlier_connection_are_dropped_and_counted() -> None:
    uplink, lane = Uplink(1000, 100), Lane()
    kept = request()
    before = dropped.value("acknowledgement of an earlier connection")
    uplink.put(ack())
    uplink.put(kept)
    uplink.attach(lane)  # type: ignore[arg-type]
    assert lane.sent == [kept]
    assert dropped.value("acknowledgement of an earlier connection") == before + 1


async def test_a_detached_queue_sends_nothing_and_keeps_everything() -> None:
    uplink, lane = Uplink(50, 1), Lane()
    uplink.attach(lane)  # type: ignore[arg-type]
    for number in range(3):
        uplink.put(request(str(number)))
    uplink.detach()
    await asyncio.sleep(0.08)
    assert len(lane.sent) == 1
    again = Lane()
    uplink.attach(again)  # type: ignore[arg-type]
    await asyncio.sleep(0.08)
    assert len(again.sent) == 2
