"""Acknowledgements to the broker: in order, only when done, not while held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.eventbus.receipts import FEW_OPEN, MOST_OPEN, Receipts


def number(index: int) -> bytes:
    return (index + 1).to_bytes(2, "big")


@given(st.permutations(range(8)))
def test_acknowledgements_keep_the_order_of_the_publications(order: list[int]) -> None:
    written: list[bytes] = []
    receipts = Receipts(written.append, lambda: None)
    taken = [receipts.take(number(index)) for index in range(8)]
    for count, index in enumerate(order, start=1):
        taken[index]()
        finished = set(order[:count])
        assert len(written) == next(i for i in range(9) if i not in finished)
    assert written == [b"\x40\x02" + number(index) for index in range(8)]


def test_nothing_is_acknowledged_twice_or_before_it_is_done() -> None:
    written: list[bytes] = []
    receipts = Receipts(written.append, lambda: None)
    receipt = receipts.take(b"\0\x01")
    assert written == []
    receipt()
    receipt()
    assert written == [b"\x40\x02\0\x01"]


def test_quality_0_has_no_acknowledgement_and_blocks_none() -> None:
    written: list[bytes] = []
    receipts = Receipts(written.append, lambda: None)
    silent = receipts.take(b"")
    receipts.take(b"\0\x01")()
    silent()
    assert written == [b"\x40\x02\0\x01"]


def test_held_acknowledgements_come_when_they_are_let_go() -> None:
    written: list[bytes] = []
    receipts = Receipts(written.append, lambda: None)
    receipts.hold(True)
    receipts.take(b"\0\x01")()
    assert written == []
    receipts.hold(False)
    assert written == [b"\x40\x02\0\x01"]


def test_reading_goes_on_when_few_are_open_again() -> None:
    drained: list[int] = []
    receipts = Receipts(lambda packet: None, lambda: drained.append(1))
    taken = [receipts.take(b"") for _ in range(MOST_OPEN)]
    assert receipts.is_full()
    for receipt in taken[: MOST_OPEN - FEW_OPEN - 1]:
        receipt()
    assert receipts.is_full()
    assert drained == []
    taken[-1]()
    assert drained == [1]
    assert not receipts.is_full()
