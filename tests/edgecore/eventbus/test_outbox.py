"""What is kept for the broker, and in which order it goes out."""

from __future__ import annotations

from kubeedge.edgecore.eventbus.outbox import CONGESTED, MAX_ATTEMPTS, Outbox, Publication, dropped

from .test_reader import Heard


def filled(*payloads: bytes, **bounds: int) -> tuple[Outbox, list[bytes]]:
    """Return an outbox with publications, and a list of those that are done."""
    outbox, done = Outbox(**bounds), []
    for payload in payloads:
        outbox.put(Publication(b"t", payload, lambda payload=payload: done.append(payload)))  # type: ignore[misc]
    return outbox, done


def sent(packets: list[bytes]) -> list[tuple[bytes, int]]:
    """Return payloads and numbers of packets."""
    heard = Heard()
    heard.reader.feed(b"".join(packets))
    return [(payload, int.from_bytes(id_, "big")) for _, _, payload, id_ in heard.events]


def test_publications_go_out_in_order_and_once() -> None:
    outbox, _ = filled(b"1", b"2", b"3")
    assert sent(list(outbox.packets())) == [(b"1", 1), (b"2", 2), (b"3", 3)]
    assert list(outbox.packets()) == []


def test_publication_is_done_when_the_broker_has_it() -> None:
    outbox, done = filled(b"1", b"2")
    list(outbox.packets())
    outbox.acknowledged(2)
    outbox.acknowledged(2)
    outbox.acknowledged(99)
    assert done == [b"2"]
    assert len(outbox) == 1


def test_window_limits_what_is_under_way() -> None:
    outbox, _ = filled(b"1", b"2", b"3", window=2)
    assert [payload for payload, _ in sent(list(outbox.packets()))] == [b"1", b"2"]
    outbox.acknowledged(1)
    assert sent(list(outbox.packets())) == [(b"3", 3)]


def test_unacknowledged_go_out_again_before_all_else_as_duplicates_of_a_kept_session() -> None:
    outbox, done = filled(b"1", b"2", b"3", b"4", window=3)
    list(outbox.packets())
    outbox.acknowledged(2)
    again = list(outbox.resend(is_session_kept=True))
    assert sent(again) == [(b"1", 1), (b"3", 3)]
    assert {packet[0] for packet in again} == {0x3A}
    assert sent(list(outbox.packets())) == [(b"4", 4)]
    assert done == [b"2"]


def test_broker_that_forgot_the_session_gets_them_as_new() -> None:
    outbox, _ = filled(b"1")
    first = list(outbox.packets())
    assert list(outbox.resend(is_session_kept=False)) == first


def test_oldest_that_waits_makes_room_and_what_is_sent_stays() -> None:
    before = dropped.value("queue is full")
    outbox, done = filled(b"1", b"2", window=1, capacity=2)
    list(outbox.packets())
    for payload in (b"3", b"4", b"5"):
        outbox.put(Publication(b"t", payload, None))
    assert done == [b"2"]
    assert dropped.value("queue is full") == before + 2
    outbox.acknowledged(1)
    assert sent(list(outbox.packets()))[0][0] == b"4"


def test_bytes_are_bounded_as_well() -> None:
    outbox, _ = filled(*[b"x" * 1_000] * 50, capacity_bytes=10_000)
    assert len(outbox) == 9
    for number, _ in enumerate(list(outbox.packets()), start=1):
        outbox.acknowledged(number)
    outbox.put(Publication(b"t", b"x" * 9_000, None))
    assert len(outbox) == 1


def test_one_that_is_larger_than_all_room_is_kept_when_it_is_alone() -> None:
    outbox, done = filled(b"small", b"x" * 20_000, capacity_bytes=10_000)
    assert done == [b"small"]
    assert len(sent(list(outbox.packets()))[0][0]) == 20_000


def test_publication_that_ends_each_connection_is_given_up() -> None:
    outbox, done = filled(b"bad", b"good")
    list(outbox.packets())
    for _ in range(MAX_ATTEMPTS):
        assert [payload for payload, _ in sent(list(outbox.resend(is_session_kept=True)))] == [b"bad", b"good"]
    assert [payload for payload, _ in sent(list(outbox.resend(is_session_kept=True)))] == [b"good"]
    assert done == [b"bad"]


def test_number_under_way_is_not_given_twice() -> None:
    outbox, _ = filled(b"old", window=10)
    list(outbox.packets())
    for _ in range(10_000):
        outbox.put(Publication(b"t", b"x", None))
        ((_, number),) = sent(list(outbox.packets()))
        assert number != 1
        outbox.acknowledged(number)
    assert len(outbox) == 1


def test_slow_broker_shows_as_congested_until_it_has_caught_up() -> None:
    outbox, _ = filled(*[b"x"] * (CONGESTED + 5), window=5)
    list(outbox.packets())
    assert outbox.is_congested
    outbox.acknowledged(1)
    list(outbox.packets())
    assert not outbox.is_congested
