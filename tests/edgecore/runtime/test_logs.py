from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.edged.runtime.process.logs import MAX_TEXT_BYTES, LogStream, timestamp

NOW_NS = 1_785_000_000_123_456_789
LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)", re.DOTALL)

pieces = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\n", b"\r\n", b"line\n", b"x" * MAX_TEXT_BYTES, b"y" * (MAX_TEXT_BYTES + 1), b"z" * 50_000]),
    ),
    max_size=12,
)


def read_back(log: bytes) -> bytes:
    """Put the output together again from its log, as `kubectl logs` does."""
    out = b""
    for line in log.split(b"\n")[:-1]:
        match = LINE.fullmatch(line)
        assert match is not None, line
        assert len(match[4]) <= MAX_TEXT_BYTES
        out += match[4] + (b"\n" if match[3] == b"F" else b"")
    return out


@given(pieces)
def test_log_holds_exactly_what_was_written_however_it_was_cut(parts: list[bytes]) -> None:
    stream = LogStream("stdout")
    log = b"".join(stream.feed(part, NOW_NS) for part in parts) + stream.close(NOW_NS)
    written = b"".join(parts)
    expected = written if written.endswith(b"\n") or not written else written + b"\n"
    assert read_back(log) == expected


@given(pieces)
def test_cuts_between_reads_change_nothing(parts: list[bytes]) -> None:
    in_parts, at_once = LogStream("stderr"), LogStream("stderr")
    written = b"".join(parts)
    assert b"".join(in_parts.feed(part, NOW_NS) for part in parts) + in_parts.close(NOW_NS) == (
        at_once.feed(written, NOW_NS) + at_once.close(NOW_NS)
    )


def test_line_of_the_longest_length_is_one_full_line() -> None:
    log = LogStream("stdout").feed(b"x" * MAX_TEXT_BYTES + b"\n", NOW_NS)
    assert log.count(b"\n") == 1
    assert b" F x" in log


def test_longer_line_is_cut_into_partial_lines() -> None:
    log = LogStream("stdout").feed(b"x" * (MAX_TEXT_BYTES + 1) + b"\n", NOW_NS)
    assert [line.split(b" ")[2] for line in log.splitlines()] == [b"P", b"F"]


def test_unfinished_line_is_cut_as_a_partial_line_for_the_next_reader() -> None:
    stream = LogStream("stdout")
    assert stream.feed(b"half", NOW_NS) == b""
    assert stream.cut(NOW_NS).endswith(b" stdout P half\n")
    assert stream.cut(NOW_NS) == b""


def test_timestamp_has_nine_decimals() -> None:
    assert timestamp(NOW_NS) == "2026-07-25T17:20:00.123456789Z"
    assert timestamp(1) == "1970-01-01T00:00:00.000000001Z"
