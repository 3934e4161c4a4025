"""Records between processes: whatever goes in comes out, however the bytes are cut, and what is none is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS

NUMBERS = st.integers(0, 2**32 - 1)
# As JSON of a peer gives it: any character, and halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=()))
RECORDS = st.tuples(
    st.integers(0, 255),
    st.integers(0, 255),
    st.lists(NUMBERS, max_size=5),
    st.lists(TEXTS, max_size=12).map(tuple),
    st.binary(max_size=300),
)
BOTH = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.build)
MAX = 1 << 20


def parts(record: Any) -> tuple[int, int, list[int], tuple[str, ...], bytes]:
    """Return what pack() was given; a record without numbers has number 0."""
    return record.verb, record.detail, [record.number, *record.more], tuple(record.texts), record.tail


@BOTH
@given(RECORDS)
def test_a_record_comes_out_as_it_went_in(build: SimpleNamespace, record: Any) -> None:
    verb, detail, numbers, texts, tail = record
    data = bytearray(build.records.pack(verb, detail, numbers, texts, tail))
    (found,) = build.records.RecordReader(MAX).feed(data, len(data))
    assert parts(found) == (verb, detail, numbers or [0], texts, tail)


@given(RECORDS)
def test_both_builds_write_the_same_bytes(record: Any) -> None:
    assert len({build.records.pack(*record) for build in BUILDS}) == 1


@BOTH
@given(st.lists(RECORDS, min_size=1, max_size=5), st.lists(st.integers(1, 400), max_size=20))
def test_records_are_found_however_the_bytes_are_cut(
    build: SimpleNamespace, records: list[Any], cuts: list[int]
) -> None:
    data = b"".join(build.records.pack(*record) for record in records)
    reader = build.records.RecordReader(MAX)
    buffer, found, at = bytearray(1000), [], 0
    for cut in [*cuts, *[1000] * (len(data) // 1000 + 1)]:
        piece = data[at : at + cut]
        buffer[: len(piece)] = piece
        found += [parts(one) for one in reader.feed(buffer, len(piece))]
        at += len(piece)
    assert at == len(data)
    assert [(one[0], one[3], one[4]) for one in found] == [(one[0], one[3], one[4]) for one in records]


@BOTH
@given(TEXTS, TEXTS, st.integers(-(2**63), 2**63 - 1), st.binary(max_size=100))
def test_a_message_keeps_all_its_fields(
    build: SimpleNamespace, text: str, other: str, timestamp_ms: int, content: bytes
) -> None:
    message = build.envelope.Message(
        text, other, timestamp_ms, "7", "edged", "meta", "update", "default/pod/web", content, "to"
    )
    data = bytearray(build.records.pack_message(4, 11, 77, message, f"node/e1/{other}"))
    (record,) = build.records.RecordReader(MAX).feed(data, len(data))
    assert (record.verb, record.detail, record.number) == (4, 11, 77)
    found = record.message()
    assert found.resource == f"node/e1/{other}"
    for field in ("id", "parent_id", "timestamp_ms", "resource_version", "source", "group", "operation", "destination"):
        assert getattr(found, field) == getattr(message, field)
    assert found.content == content


@BOTH
@given(st.binary(max_size=200))
def test_garbage_is_an_error_or_a_record_but_nothing_else(build: SimpleNamespace, garbage: bytes) -> None:
    reader = build.records.RecordReader(MAX)
    try:
        for record in reader.feed(bytearray(garbage), len(garbage)):
            record.message()
    except build.records.RecordError:
        pass


@BOTH
@given(RECORDS, st.integers(0, 400), st.integers(0, 255))
def test_a_record_with_a_wrong_byte_is_an_error_or_another_record(
    build: SimpleNamespace, record: Any, at: int, value: int
) -> None:
    data = bytearray(build.records.pack(*record))
    data[at % len(data)] = value
    try:
        build.records.RecordReader(MAX).feed(data, len(data))
    except build.records.RecordError:
        pass


def test_a_record_that_is_too_long_is_refused_before_it_is_there(speedups: SimpleNamespace) -> None:
    data = bytearray(speedups.records.pack(1, tail=bytes(100)))
    with pytest.raises(speedups.records.RecordError, match="record of 116 bytes"):
        speedups.records.RecordReader(115).feed(data, 4)


def test_another_record_is_no_message(speedups: SimpleNamespace) -> None:
    data = bytearray(speedups.records.pack(1, 0, (7,), ("a", "b")))
    (record,) = speedups.records.RecordReader(MAX).feed(data, len(data))
    assert "[7] 2 texts 0 bytes" in repr(record)
    with pytest.raises(speedups.records.RecordError, match="2 texts are no message"):
        record.message()
    data = bytearray(speedups.records.pack(1, 0, (7,), ("",) * 8 + ("noon",)))
    (record,) = speedups.records.RecordReader(MAX).feed(data, len(data))
    with pytest.raises(speedups.records.RecordError, match="no number"):
        record.message()
