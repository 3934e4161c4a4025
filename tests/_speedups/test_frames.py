"""The frame codec: any cut of the bytes, both builds, and the codec of `websockets` as judge."""

from __future__ import annotations

import os
from itertools import pairwise
from types import SimpleNamespace

import pytest
import websockets.frames
import websockets.protocol
from hypothesis import example, given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b"\x12\x34\x56\x78"
PAYLOADS = st.one_of(
    st.text(max_size=10).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=140),
    st.integers(0, 70_000).map(lambda size: b"\xc3\xa9" * (size // 2)),
)


def read(
    build: SimpleNamespace, wire: bytes, *, is_server: bool = True, cuts: tuple[int, ...] = (), limit: int = 1 << 20
) -> tuple[list[tuple[int, bytes]], int, str]:
    reader = build.frames.FrameReader(is_server, limit)
    events = []
    places = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    # One buffer for all pieces, as a connection reuses it, with rubbish behind what has arrived.
    buffer = bytearray(len(wire) + 7)
    for start, stop in pairwise(places):
        piece = wire[start:stop]
        buffer[: len(piece)] = piece
        events += reader.feed(buffer, len(piece))
        buffer[:] = b"\xff" * len(buffer)
    return events, reader.failure_code, reader.failure


def read_by_websockets(wire: bytes, *, is_server: bool, limit: int) -> tuple[list[tuple[int, bytes]], int]:
    side = websockets.protocol.SERVER if is_server else websockets.protocol.CLIENT
    protocol = websockets.protocol.Protocol(side, max_size=limit)
    protocol.receive_data(wire)
    events: list[tuple[int, bytes]] = []
    opcode, collected = 0, b""
    for event in protocol.events_received():
        assert isinstance(event, websockets.frames.Frame)
        if event.opcode >= CLOSE:
            events.append((int(event.opcode), bytes(event.data)))
            if event.opcode == CLOSE:
                break
            continue
        opcode = int(event.opcode) or opcode
        collected += bytes(event.data)
        if event.fin:
            if opcode == TEXT:
                try:
                    collected.decode()
                except UnicodeDecodeError:
                    return events, 1007
            events.append((opcode, collected))
            collected = b""
    error = protocol.parser_exc
    if isinstance(error, websockets.exceptions.PayloadTooBig):
        return events, 1009
    if isinstance(error, UnicodeDecodeError):
        return events, 1007
    if isinstance(error, websockets.exceptions.ProtocolError):
        close = protocol.close_rcvd
        if close is not None and "fragmented" in str(error):
            # Nothing in RFC 6455 wants a message to be whole before its sender may close.
            return [*events, (CLOSE, b"" if close.code == 1005 else close.serialize())], 0
        return events, 1002
    return events, 0


# Frames, mostly right: (opcode, payload, final, masked as it should be, reserved bits).
FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 9, 10, 8, 3, 11]),
        PAYLOADS,
        st.sampled_from([True, True, True, False]),
        st.sampled_from([True] * 12 + [False]),
        st.sampled_from([0] * 12 + [0x40]),
    ),
    max_size=6,
)


def assemble(frames: list[tuple[int, bytes, bool, bool, int]], is_server: bool) -> bytes:
    wire = b""
    for opcode, payload, final, right, reserved in frames:
        key = KEY if right == is_server else b""
        made = BUILDS[0].frames.frame(opcode, payload, key, final)
        wire += bytes([made[0] | reserved]) + made[1:]
    return wire


@given(FRAMES, st.booleans(), st.lists(st.integers(0, 1 << 20), max_size=5).map(tuple))
@example([(1, b"a", False, True, 0), (9, b"p", True, True, 0), (0, b"b", True, True, 0)], True, (1, 2, 3, 4, 5))
@example([(1, b"\xc3", False, True, 0), (0, b"\xa9", True, True, 0)], True, (7,))
@example([(8, b"\x03\xe8bye", True, True, 0), (1, b"late", True, True, 0)], False, ())
@example([(1, b"", False, True, 0), (8, b"", True, True, 0)], False, ())
@example([(1, b"a", False, True, 0), (8, b"\x03\xe8bye", True, True, 0), (9, b"", True, True, 0)], True, (4,))
@example([(8, b"\x03", True, True, 0)], False, ())
@example([(8, b"\x03\xed", True, True, 0)], False, ())
@example([(8, b"\x03\xe8\xff", True, True, 0)], False, ())
@example([(8, b"\x00\x00\x80", True, True, 0)], False, ())
def test_any_cut_gives_what_websockets_reads(
    frames: list[tuple[int, bytes, bool, bool, int]], is_server: bool, cuts: tuple[int, ...]
) -> None:
    wire = assemble(frames, is_server)
    expected = read_by_websockets(wire, is_server=is_server, limit=100_000)
    for build in BUILDS:
        whole = read(build, wire, is_server=is_server, limit=100_000)
        assert whole[:2] == expected
        assert read(build, wire, is_server=is_server, cuts=cuts, limit=100_000) == whole
        assert read(build, wire, is_server=is_server, cuts=tuple(range(40)), limit=100_000) == whole


@given(st.binary(max_size=60), st.booleans(), st.lists(st.integers(0, 60), max_size=4).map(tuple))
def test_both_builds_agree_on_garbage_in_any_cut(data: bytes, is_server: bool, cuts: tuple[int, ...]) -> None:
    outcomes = [read(build, data, is_server=is_server, cuts=c, limit=64) for build in BUILDS for c in ((), cuts)]
    assert all(outcome == outcomes[0] for outcome in outcomes)


@given(st.sampled_from([TEXT, BINARY, PING]), PAYLOADS, st.booleans())
def test_frames_are_those_of_websockets(opcode: int, payload: bytes, masked: bool) -> None:
    if opcode == PING:
        payload = payload[:125]
    serialized = websockets.frames.Frame(websockets.frames.Opcode(opcode), payload).serialize(mask=masked)
    for build in BUILDS:
        if masked:
            size = len(serialized) - len(payload)
            key = serialized[size - 4 : size]
            assert build.frames.frame(opcode, payload, key) == serialized
        else:
            assert build.frames.frame(opcode, payload) == serialized


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_the_mask_comes_off_again(payload: bytes, key: bytes) -> None:
    for build in BUILDS:
        once = build.frames.masked(payload, key)
        assert once == bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        assert build.frames.masked(once, key) == payload


def test_masking_keys_are_all_that_the_random_source_gives_each_once(speedups: SimpleNamespace) -> None:
    given_out = []

    def random(size: int) -> bytes:
        given_out.append(os.urandom(size))
        return given_out[-1]

    keys = speedups.frames.MaskingKeys(random)
    assert given_out == []
    taken = [keys.next() for _ in range(1000)]
    assert {len(key) for key in taken} == {4}
    assert b"".join(given_out).startswith(b"".join(taken))
    assert len(given_out) < 10


@given(st.text(max_size=200), st.integers(1, 50), st.booleans(), st.lists(st.integers(0, 5000), max_size=4).map(tuple))
def test_fragments_come_back_as_one_message(text: str, size: int, is_server: bool, cuts: tuple[int, ...]) -> None:
    payload = text.encode("utf-8", "replace")
    for build in BUILDS:
        frames = build.frames.fragments(TEXT, payload, size, KEY if is_server else b"")
        assert len(frames) == max(1, -(-len(payload) // size))
        assert read(build, b"".join(frames), is_server=is_server, cuts=cuts)[0] == [(TEXT, payload)]


def test_messages_of_32_mib_pass_whole_and_in_fragments(speedups: SimpleNamespace) -> None:
    payload = bytes(range(128)) * (32 * 1024 * 8)
    codec = speedups.frames
    wire = codec.frame(TEXT, payload, KEY)
    assert read(speedups, wire, cuts=(100_000, 20_000_001), limit=codec.DEFAULT_MAX_MESSAGE)[0] == [(TEXT, payload)]
    wire = b"".join(codec.fragments(BINARY, payload, 4096))
    got = read(speedups, wire, is_server=False, cuts=(4100, 9_999_999), limit=codec.DEFAULT_MAX_MESSAGE)
    assert got[0] == [(BINARY, payload)]


def test_a_message_over_the_limit_is_refused_from_its_head_on(speedups: SimpleNamespace) -> None:
    head = speedups.frames.frame(TEXT, b"x" * 2000, KEY)[:8]
    assert read(speedups, head, limit=1999)[1:] == (1009, "message of more than 1999 bytes")
    assert read(speedups, head, limit=2000)[1] == 0
    huge = b"\x81\xff" + b"\xff" * 8
    assert read(speedups, huge, limit=1 << 40)[1] == 1009


def test_the_limit_counts_all_fragments_together(speedups: SimpleNamespace) -> None:
    wire = b"".join(speedups.frames.fragments(TEXT, b"x" * 100, 10, KEY))
    assert read(speedups, wire, limit=100)[0] == [(TEXT, b"x" * 100)]
    assert read(speedups, wire, limit=99)[:2] == ([], 1009)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (1008, "é" * 100)])
def test_close_frames_say_why_in_125_bytes(speedups: SimpleNamespace, code: int, reason: str) -> None:
    codec = speedups.frames
    payload = codec.close_payload(code, reason)
    assert len(payload) <= 125
    events, failure, _ = read(speedups, codec.frame(CLOSE, payload, KEY))
    assert (events, failure) == ([(CLOSE, payload)], 0)
    assert codec.close_reason(payload) == (code, reason[:61])
    assert codec.close_reason(b"") == (1005, "")


def test_what_follows_a_close_frame_is_ignored(speedups: SimpleNamespace) -> None:
    wire = speedups.frames.frame(CLOSE, b"", KEY) + b"\xff\xff\xff"
    for cuts in ((), (3, 6, 7)):
        assert read(speedups, wire, cuts=cuts) == ([(CLOSE, b"")], 0, "")


def test_memory_grows_with_what_arrived_and_not_with_what_was_announced(speedups: SimpleNamespace) -> None:
    import tracemalloc

    reader = speedups.frames.FrameReader(True)
    announced = speedups.frames.frame(BINARY, bytes(60_000_000), KEY)[:20]
    tracemalloc.start()
    try:
        reader.feed(bytearray(announced), len(announced))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
