"""The envelope against orjson, against the rules of Go's decoder, and against recordings of a real deployment."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS

GOLDEN = Path(__file__).parents[1] / "golden"
FIELDS = (
    "id",
    "parent_id",
    "timestamp_ms",
    "resource_version",
    "source",
    "destination",
    "group",
    "operation",
    "resource",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SEGMENTED = st.lists(st.sampled_from(["node", "e1", "default", "pod", "x-1", "null"]), max_size=5).map("/".join)


def recorded() -> Iterator[dict[str, Any]]:
    for path in sorted(GOLDEN.glob("link-websocket*.jsonl")):
        for line in path.read_bytes().splitlines():
            record = orjson.loads(line)
            if "message" in record:
                yield record["message"]


RECORDED = list(recorded())


def fields(message: Any) -> tuple[Any, ...]:
    return (*(getattr(message, name) for name in FIELDS), message.content)


def outcome(speedups: SimpleNamespace, data: bytes) -> tuple[Any, ...]:
    try:
        return fields(speedups.envelope.decode(data))
    except speedups.envelope.EnvelopeError as error:
        return error.reason, error.offset, error.message_id


def test_every_recorded_message_is_read_and_written_as_go_does(speedups: SimpleNamespace) -> None:
    assert len(RECORDED) > 300
    for envelope in RECORDED:
        wire = orjson.dumps(envelope) + b"\n"
        message = speedups.envelope.decode(wire)
        header, route = envelope["header"], envelope["route"]
        assert fields(message)[:-1] == (
            header["msg_id"],
            header.get("parent_msg_id", ""),
            header["timestamp"],
            header.get("resourceversion", ""),
            route.get("source", ""),
            route.get("destination", ""),
            route.get("group", ""),
            route.get("operation", ""),
            route.get("resource", ""),
        )
        assert orjson.loads(message.content) == envelope["content"]
        assert speedups.envelope.encode(message) == wire


@given(
    st.builds(
        lambda *values: values, TEXT, TEXT, st.integers(-(2**63), 2**63 - 1), TEXT, TEXT, TEXT, TEXT, SEGMENTED | TEXT
    ),
    st.none() | st.text(max_size=20) | st.dictionaries(TEXT, TEXT | st.integers(0, 99), max_size=3),
    TEXT,
)
def test_what_is_written_is_read_by_both_builds_and_by_orjson(
    values: tuple[Any, ...], content: Any, destination: str
) -> None:
    text = json.dumps(content).encode()
    wires = set()
    for build in BUILDS:
        message = build.envelope.Message(*values, text, destination)
        wire = build.envelope.encode(message)
        wires.add(wire)
        assert fields(build.envelope.decode(wire)) == fields(message)
    (wire,) = wires
    envelope = orjson.loads(wire)
    assert list(envelope) == ["header", "route", "content"]
    assert envelope["header"]["msg_id"] == values[0]
    assert envelope["header"]["timestamp"] == values[2]
    assert envelope["route"].get("resource", "") == values[7]
    assert ("group" in envelope["route"]) == (values[5] != "")


@pytest.mark.parametrize("size", [0, 800, *range(830, 1030), 5000])
def test_heads_of_any_length_are_written_alike(size: int) -> None:
    wires = set()
    for build in BUILDS:
        message = build.envelope.Message("id", "", 5, "7", "edgecontroller", "resource", "update", "x" * size, b"{}")
        wires |= {build.envelope.encode(message), build.envelope.encode(message, message.resource)}
    (wire,) = wires
    assert orjson.loads(wire)["route"].get("resource", "") == "x" * size


# A document as pairs, so that keys may come twice and in any case.
def spelled(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names).flatmap(lambda name: st.sampled_from([name, name, name.upper(), name.title()])) | TEXT


SCALARS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.just(1.5) | st.text(max_size=8)
HEADER = st.lists(
    st.tuples(spelled("msg_id", "parent_msg_id", "timestamp", "resourceversion", "sync", "type"), SCALARS), max_size=5
)
ROUTE = st.lists(st.tuples(spelled("source", "destination", "group", "operation", "resource"), SCALARS), max_size=5)
DOCUMENT = st.lists(
    st.tuples(spelled("header"), HEADER | SCALARS)
    | st.tuples(spelled("route"), ROUTE | SCALARS)
    | st.tuples(spelled("content"), SCALARS),
    max_size=4,
)


def dump(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ", ".join(f"{json.dumps(key)}: {dump(inner)}" for key, inner in value) + "}"
    return json.dumps(value)


class WrongTypeError(Exception):
    pass


def decode_like_go(document: list[tuple[str, Any]]) -> tuple[Any, ...]:
    """What encoding/json makes of it (spec 01 §1.1): names without case, null changes nothing, the last one wins."""
    zero: dict[str, Any] = dict.fromkeys(
        [
            "msg_id",
            "parent_msg_id",
            "resourceversion",
            "type",
            "source",
            "destination",
            "group",
            "operation",
            "resource",
        ],
        "",
    )
    zero |= {"timestamp": 0, "sync": False, "content": None}
    places = {
        "header": ("msg_id", "parent_msg_id", "timestamp", "resourceversion", "sync", "type"),
        "route": ("source", "destination", "group", "operation", "resource"),
    }
    for name, value in document:
        part = name.lower().replace("ſ", "s")
        if part == "content":
            zero["content"] = value
        if part not in places or value is None:
            continue
        if not isinstance(value, list):
            raise WrongTypeError
        for inner, scalar in value:
            field = inner.lower().replace("ſ", "s")
            if field not in places[part] or scalar is None:
                continue
            if type(scalar) is not type(zero[field]) or (field == "timestamp" and not -(2**63) <= scalar < 2**63):
                raise WrongTypeError
            zero[field] = scalar
    names = (
        "msg_id",
        "parent_msg_id",
        "timestamp",
        "resourceversion",
        "source",
        "destination",
        "group",
        "operation",
        "resource",
    )
    return (*(zero[name] for name in names), zero["content"])


@given(DOCUMENT)
@example([("HEADER", [("MSG_ID", "a"), ("msg_id", None)]), ("header", [("Timestamp", 5)])])
@example([("header", [("sync", 1)])])
def test_fields_are_matched_as_in_go(document: list[tuple[str, Any]]) -> None:
    wire = dump(document).encode()
    try:
        expected = decode_like_go(document)
    except WrongTypeError:
        for build in BUILDS:
            with pytest.raises(build.envelope.EnvelopeError):
                build.envelope.decode(wire)
        return
    for build in BUILDS:
        got = fields(build.envelope.decode(wire))
        clean = tuple(
            v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(v, str) else v
            for v in expected
        )
        assert got[:-1] == clean[:-1]
        assert json.loads(got[-1]) == expected[-1]


@pytest.mark.parametrize(
    ("wire", "reason", "offset", "message_id"),
    [
        (b"", "envelope is no object", 0, ""),
        (b"[]", "envelope is no object", 0, ""),
        (b'{"header":1}', "header is no object", 10, ""),
        (b'{"header":{"msg_id":7}}', "msg_id is no string", 20, ""),
        (b'{"header":{"msg_id":"a","timestamp":"5"}}', "timestamp is no integer", 36, "a"),
        (b'{"header":{"msg_id":"a","timestamp":1.0}}', "timestamp is no integer", 36, "a"),
        (b'{"header":{"timestamp":9223372036854775808}}', "timestamp does not fit 64 bits", 23, ""),
        (b'{"header":{"msg_id":"a"},"route":{"group":[]}}', "group is no string", 42, "a"),
        (b'{"header":{"msg_id":"a"},"content":{"a":}}', "no JSON value", 40, "a"),
        (b'{"header":{"msg_id":"a"},"content":"', "no JSON value", 35, "a"),
        (b'{"header":{"msg_id":"a"} "route":{}}', "comma or end of object expected", 25, "a"),
        (b'{"header":{"msg_id":"a"},}', "key expected", 25, "a"),
        (b'{"header":{"msg_id":"\xff"}}', "envelope is no UTF-8", 21, ""),
    ],
)
def test_errors_say_what_and_where(
    speedups: SimpleNamespace, wire: bytes, reason: str, offset: int, message_id: str
) -> None:
    if not wire:
        reason = "no JSON value"
    assert outcome(speedups, wire) == (reason, offset, message_id)


def test_an_empty_envelope_and_null_are_empty_messages(speedups: SimpleNamespace) -> None:
    empty = ("", "", 0, "", "", "", "", "", "", b"null")
    for wire in (b"{}", b"null", b'{"header":null,"route":{}}', b' {"x":[{"content":1}]} trailing \xc3\xa9'):
        assert outcome(speedups, wire) == empty


def test_content_is_the_very_text_that_came(speedups: SimpleNamespace) -> None:
    content = b'{ "a" : 1.50, "b":"\\u003c", "n":12345678901234567890 }'
    message = speedups.envelope.decode(b'{"content": ' + content + b' ,"header":{"msg_id":"x"}}')
    assert message.content == content
    assert message.id == "x"


@given(st.binary(max_size=60))
def test_both_builds_agree_on_garbage(data: bytes) -> None:
    assert len({outcome(build, data) for build in BUILDS}) == 1


@given(st.sampled_from(RECORDED), st.integers(0, 4000), st.binary(min_size=1, max_size=3))
def test_both_builds_agree_on_damaged_messages(envelope: dict[str, Any], place: int, patch: bytes) -> None:
    wire = orjson.dumps(envelope)
    place %= len(wire)
    for damaged in (
        wire[:place],
        wire[:place] + patch + wire[place + len(patch) :],
        wire[:place] + patch + wire[place:],
    ):
        assert len({outcome(build, damaged) for build in BUILDS}) == 1


def test_text_that_is_no_unicode_is_written_as_go_writes_it(speedups: SimpleNamespace) -> None:
    message = speedups.envelope.Message("a\ud800b", "", 0, "", "", "", "", "", b"null")
    wire = speedups.envelope.encode(message, "x\udfff")
    decoded = speedups.envelope.decode(wire)
    assert (decoded.id, decoded.resource) == ("a\ufffdb", "x\ufffd")


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=4))
def test_ids_are_uuids_of_version_4_and_keep_their_randomness(random: list[bytes]) -> None:
    for build in BUILDS:
        ids = build.envelope.message_ids(b"".join(random))
        assert len(ids) == len(random)
        for text, source in zip(ids, random, strict=True):
            parsed = uuid.UUID(text)
            assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)
            changed = [i for i in range(32) if text.replace("-", "")[i] != source.hex()[i]]
            assert set(changed) <= {12, 16}
