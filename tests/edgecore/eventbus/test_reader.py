"""Packets in pieces: what is heard does not depend on where the pieces end."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.eventbus.outbox import Publication
from kubeedge.edgecore.eventbus.reader import HEAD_BYTES, MalformedError, PacketReader


class Heard:
    """Notes what a reader says."""

    def __init__(self, max_packet_bytes: int = 1 << 20) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.reader = PacketReader(self, max_packet_bytes)

    def publication(self, topic: str, payload: bytes, id_: bytes) -> None:
        self.events.append(("publication", topic, payload, id_))

    def refused(self, reason: str, id_: bytes) -> None:
        self.events.append(("refused", reason, id_))

    def acknowledged(self, number: int) -> None:
        self.events.append(("acknowledged", number))

    def packet(self, kind: int, body: bytes) -> None:
        self.events.append(("packet", kind, body))


def publish(topic: bytes, payload: bytes, number: int | None = 1) -> bytes:
    """Encode a PUBLISH, at QoS 0 without a number."""
    packet = Publication(topic, payload, None)
    if number is not None:
        return packet.head + number.to_bytes(2, "big") + payload
    length = len(topic) + len(payload) + 2
    return b"\x30" + varint(length) + len(topic).to_bytes(2, "big") + topic + payload


def varint(value: int) -> bytes:
    """Encode a length as MQTT does, digit by digit."""
    digits = [value % 128]
    while value := value // 128:
        digits.append(value % 128)
    return bytes(digit | 128 for digit in digits[:-1]) + bytes(digits[-1:])


PACKETS = st.one_of(
    st.builds(
        publish, st.text(max_size=20).map(str.encode), st.binary(max_size=300), st.integers(1, 65_535) | st.none()
    ),
    st.integers(0, 65_535).map(lambda number: b"\x40\x02" + number.to_bytes(2, "big")),
    st.just(b"\xd0\x00"),
    st.binary(max_size=130).map(lambda body: b"\x90" + varint(len(body)) + body),
)


@given(st.lists(PACKETS, max_size=8), st.lists(st.integers(1, 40), max_size=30))
def test_pieces_give_the_same_packets_as_the_whole(packets: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(packets)
    whole, pieces = Heard(), Heard()
    count = whole.reader.feed(stream)
    assert len(whole.events) == len(packets)
    assert count == sum(packet[0] & 0xF0 == 0x30 for packet in packets)
    position = 0
    for size in [*sizes, len(stream)]:
        pieces.reader.feed(stream[position : position + size])
        position += size
    assert pieces.events == whole.events


@given(st.binary(max_size=400), st.lists(st.integers(1, 40), max_size=30))
def test_no_bytes_do_more_than_end_the_connection(stream: bytes, sizes: list[int]) -> None:
    heard = Heard()
    position = 0
    with contextlib.suppress(MalformedError):
        for size in [*sizes, len(stream)]:
            heard.reader.feed(stream[position : position + size])
            position += size


def test_publication_is_taken_apart() -> None:
    heard = Heard()
    heard.reader.feed(publish("dü/twin".encode(), b'{"a":1}', 0x0102) + publish(b"t", b"", None))
    assert heard.events == [("publication", "dü/twin", b'{"a":1}', b"\x01\x02"), ("publication", "t", b"", b"")]


@pytest.mark.parametrize("size", [100, 127, 128, 16_383, 16_384, 200_000])
def test_length_takes_one_to_three_bytes(size: int) -> None:
    heard = Heard()
    heard.reader.feed(publish(b"t", b"x" * size))
    assert heard.events == [("publication", "t", b"x" * size, b"\0\x01")]


@pytest.mark.parametrize("piece", [1_000, 60_000, 120_000])
def test_publication_that_is_too_large_is_passed_over_and_acknowledged(piece: int) -> None:
    heard = Heard(max_packet_bytes=100_000)
    stream = publish(b"big", b"x" * 300_000, 7) + publish(b"small", b"y", 8)
    for start in range(0, len(stream), piece):
        heard.reader.feed(stream[start : start + piece])
        assert len(heard.reader._rest) <= HEAD_BYTES + piece
    assert heard.events == [("refused", "too large", b"\0\x07"), ("publication", "small", b"y", b"\0\x08")]


def test_topic_that_is_no_text_is_passed_over() -> None:
    heard = Heard()
    heard.reader.feed(publish(b"\xff\xfe", b"x", 3) + publish(b"t", b"y", 4))
    assert heard.events == [("refused", "topic is no text", b"\0\x03"), ("publication", "t", b"y", b"\0\x04")]


@pytest.mark.parametrize(
    "stream",
    [
        b"\x30\xff\xff\xff\xff\x01",
        b"\x32\x03\x00\x01t",
        b"\x30\x02\x00\x05",
        b"\x30\x01\x00",
        b"\x34\x05\x00\x01t\x00\x01",
        b"\x90" + varint(2 << 20) + b"x" * 70_000,
    ],
    ids=[
        "length without end",
        "no room for an id",
        "topic beyond the packet",
        "no topic",
        "QoS 2",
        "large and no PUBLISH",
    ],
)
def test_what_is_not_mqtt_is_an_error(stream: bytes) -> None:
    with pytest.raises(MalformedError):
        Heard().reader.feed(stream)
