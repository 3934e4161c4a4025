"""Requests to change twins: read as Go reads them, refused in upstream's words, the same by both builds."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = [
    line.split(" ", 2)[2].encode()
    for line in (GOLDEN / "mqtt.log").read_text().splitlines()
    if line.split(" ", 2)[1].endswith(("/twin/update", "/update/result", "/update/document", "/update/delta"))
]
UPDATES = [
    line.split(" ", 2)[2].encode()
    for line in (GOLDEN / "mqtt.log").read_text().splitlines()
    if line.split(" ", 2)[1].endswith("/twin/update") and line.endswith("}")
]
WANTED = (
    "name",
    "is_null",
    "has_expected",
    "expected",
    "has_actual",
    "actual",
    "optional",
    "type",
    "expected_version",
    "actual_version",
)


def outcome(build: SimpleNamespace, payload: bytes, is_checked: bool = True) -> Any:
    try:
        request = build.twinrequest.parse(payload, is_checked)
    except build.twinrequest.RequestError as error:
        return error.reason, error.event_id
    return (
        request.event_id,
        request.timestamp_ms,
        [tuple(getattr(wanted, field) for field in WANTED) for wanted in request.twins],
    )


def one(build: SimpleNamespace, twin: str) -> dict[str, Any]:
    """What is wanted of the only twin of a request."""
    request = build.twinrequest.parse(b'{"twin":{"k":%s}}' % twin.encode())
    (wanted,) = request.twins
    return {field: getattr(wanted, field) for field in WANTED}


def test_request_is_read(speedups: SimpleNamespace) -> None:
    payload = (
        b'{"event_id":"e-1","timestamp":1753440002000,"other":[1],"twin":{"z":null,"t":{"expected":{"value":"21",'
        b'"metadata":{"timestamp":5}},"actual":{"value":"25.3"},"optional":false,"metadata":{"type":"float"},'
        b'"actual_version":{"cloud":1,"edge":2}}}}'
    )
    assert outcome(speedups, payload) == (
        "e-1",
        1753440002000,
        [
            ("t", False, True, "21", True, "25.3", 0, "float", None, (1, 2)),
            ("z", True, False, None, False, None, -1, None, None, None),
        ],
    )


def test_names_of_fields_match_in_any_case_and_the_last_counts(speedups: SimpleNamespace) -> None:
    assert one(speedups, '{"ACTUAL":{"Value":"1","METADATA":{"TimeStamp":7}},"metadatA":{"TYPE":"int"}}') == {
        **dict.fromkeys(WANTED),
        "name": "k",
        "is_null": False,
        "has_expected": False,
        "optional": -1,
        "has_actual": True,
        "actual": "1",
        "type": "int",
    }
    assert one(speedups, '{"actual":{"value":"1"},"actual":{"metadata":null}}')["actual"] == "1"
    assert one(speedups, '{"actual":{"value":"1"},"actual":null}')["has_actual"] is False
    assert one(speedups, '{"optional":true,"optional":null}')["optional"] == -1
    assert one(speedups, '{"metadata":{"type":"int"},"metadata":{}}')["type"] == "int"
    assert one(speedups, '{"metadata":{}}')["type"] == ""
    twice = speedups.twinrequest.parse(
        b'{"twin":{"a":{"optional":true},"a":{"actual":{"value":"x"}}},"Twin":{"b":null}}'
    )
    assert [(wanted.name, wanted.optional) for wanted in twice.twins] == [("a", -1), ("b", -1)]


@pytest.mark.parametrize(
    "payload",
    [
        b"not json",
        b"",
        b"[]",
        b'"x"',
        b'{"event_id":1,"twin":{}}',
        b'{"timestamp":"5","twin":{}}',
        b'{"timestamp":1.5,"twin":{}}',
        b'{"twin":[]}',
        b'{"twin":{"k":1}}',
        b'{"twin":{"k":{"actual":"1"}}}',
        b'{"twin":{"k":{"actual":{"value":1}}}}',
        b'{"twin":{"k":{"actual":{"value":"1","metadata":{"timestamp":"1"}}}}}',
        b'{"twin":{"k":{"optional":"true"}}}',
        b'{"twin":{"k":{"metadata":{"type":1}}}}',
        b'{"twin":{"k":{"actual_version":{"cloud":"1"}}}}',
        b'{"twin":{}} x',
        b'{"twin":{}',
    ],
)
def test_what_is_no_request_is_told_in_upstreams_words(speedups: SimpleNamespace, payload: bytes) -> None:
    assert outcome(speedups, payload) == (
        "Unmarshal update request body failed, please check the request",
        "",
    )


def test_event_id_is_told_even_if_it_stands_behind_the_error_q3(speedups: SimpleNamespace) -> None:
    for payload in (b'{"event_id":"e","twin":{"k":{"actual":1}}}', b'{"twin":{"k":{"actual":1}},"event_id":"e"}'):
        assert outcome(speedups, payload)[1] == "e"
    assert outcome(speedups, b'{"event_id":"e","twin":')[1] == "e"


@pytest.mark.parametrize("side", ["actual", "expected"])
@pytest.mark.parametrize("value", ["{}", '{"value":null}', '{"metadata":{"timestamp":1}}'])
def test_side_without_a_value_is_refused_and_kills_nobody_q6(speedups: SimpleNamespace, side: str, value: str) -> None:
    payload = b'{"event_id":"e","twin":{"k":{"%s":%s}}}' % (side.encode(), value.encode())
    assert outcome(speedups, payload) == (speedups.twinrequest.NO_REQUEST, "e")


@pytest.mark.parametrize("payload", [b"{}", b"null", b'{"event_id":"e"}', b'{"event_id":"e","twin":null}'])
def test_request_without_twin_is_told_in_upstreams_words(speedups: SimpleNamespace, payload: bytes) -> None:
    event_id = "e" if b"event_id" in payload else ""
    assert outcome(speedups, payload) == ("Update twin error, key:twin does not exist", event_id)


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("a-Z_0.,:/@#", True),
        ("", False),
        ("a b", False),
        ("1e+05", False),
        ("50%", False),
        ("21°", False),
        ('"', False),
        ("{}", False),
        ("a\n", False),
        ("ä", False),
    ],
)
def test_characters_of_keys_and_values_are_those_of_upstream_q11(
    speedups: SimpleNamespace, text: str, is_allowed: bool
) -> None:
    key = orjson.dumps({"event_id": "e", "twin": {text: {}}})
    value = orjson.dumps({"event_id": "e", "twin": {"k": {"actual": {"value": text}}}})
    assert (len(outcome(speedups, key)) == 3) is is_allowed
    # An empty value is a value.
    assert (len(outcome(speedups, value)) == 3) is (is_allowed or not text)
    if not is_allowed:
        reason, event_id = outcome(speedups, key)
        assert reason.startswith("The key of twin must only include upper or lowercase letters, number, english, and ")
        assert reason.endswith("special letter - _ . , : / @ # and the length of key should be less than 128 bytes")
        assert event_id == "e"
    for limit, document in ((128, lambda n: {"k" * n: {}}), (512, lambda n: {"k": {"expected": {"value": "v" * n}}})):
        for size in (limit, limit + 1):
            payload = orjson.dumps({"twin": document(size)})
            assert (len(outcome(speedups, payload)) == 3) is (size == limit)
    assert len(outcome(speedups, value, False)) == 3


# As Go's strconv decides: ParseInt(text, 10, 64) and ParseFloat(text, 64).
FLOATS = {
    **dict.fromkeys(["1_000", "1_23.5_0e1_2", "0x1p-2", "0x_1p3", "inf", "-Inf", "+infinity", "nan", "NaN"], True),
    **dict.fromkeys(["1e-400", ".5", "5.", "0x.8p1", "0X1P+2", "1e1_0", "0_1", "00012", "+5", "-.5e3"], True),
    **dict.fromkeys(["_1", "1_", "0x1", "-nan", "1e400", ".", "e5", "1e", "infi", "0x1p99999", "", "1_.5"], False),
    **dict.fromkeys(["1.2.3", "--1", "1-", "-", "2" * 309, "٣", "1\n", " 1"], False),
}
INTEGERS = {
    **dict.fromkeys(["+5", "-0", "0", "-9223372036854775808", "9223372036854775807", "0" * 30 + "7"], True),
    **dict.fromkeys(["9223372036854775808", "-9223372036854775809", "1_0", "", "-", "٣", "1.0", "1e3", "1\n"], False),
}


@pytest.mark.parametrize(("text", "is_float"), FLOATS.items())
def test_floats_are_those_of_go_and_double_is_one_of_them_q12(
    speedups: SimpleNamespace, text: str, is_float: bool
) -> None:
    for name in ("float", "double"):
        assert speedups.twinrequest.check_value(name, text) == ("" if is_float else "the value is not float")


@pytest.mark.parametrize(("text", "is_integer"), INTEGERS.items())
def test_integers_are_those_of_go(speedups: SimpleNamespace, text: str, is_integer: bool) -> None:
    for name in ("int", "integer"):
        reason = speedups.twinrequest.check_value(name, text)
        assert reason == ("" if is_integer else "the value is not int or integer")


def test_other_types_are_checked_as_by_upstream(speedups: SimpleNamespace) -> None:
    check = speedups.twinrequest.check_value
    assert [check(name, "any thing") for name in ("", "string", "deleted")] == [""] * 3
    assert [check("boolean", text) for text in ("true", "false")] == ["", ""]
    assert check("boolean", "True") == "the bool value must be true or false"
    for name in ("INT", "bytes", "Float", "boolean "):
        assert check(name, "1") == "the value type is not allowed"


@given(st.text() | st.from_regex(r"[+-]?[0-9]{0,22}\.?[0-9_]{0,4}(e-?[0-9]{0,3})?", fullmatch=True))
def test_both_builds_agree_on_numbers(text: str) -> None:
    for name in ("int", "float"):
        assert len({build.twinrequest.check_value(name, text) for build in BUILDS}) == 1


def test_builds_read_the_recording(speedups: SimpleNamespace) -> None:
    assert len(RECORDED) > 10
    for payload in RECORDED:
        if payload.startswith(b"{"):
            assert outcome(speedups, payload)[1] != "" or b'"code"' in payload


@given(st.binary(max_size=80))
def test_both_builds_agree_on_garbage(payload: bytes) -> None:
    assert len({repr(outcome(build, payload)) for build in BUILDS}) == 1


@given(st.sampled_from(RECORDED), st.integers(0, 400), st.binary(min_size=1, max_size=3), st.booleans())
def test_both_builds_agree_on_damaged_requests(payload: bytes, place: int, patch: bytes, is_checked: bool) -> None:
    place %= len(payload)
    for damaged in (
        payload[:place],
        payload[:place] + patch + payload[place + len(patch) :],
        payload[:place] + patch + payload[place:],
    ):
        assert len({repr(outcome(build, damaged, is_checked)) for build in BUILDS}) == 1


FIELDS = ["twin", "Twin", "event_id", "timestamp", "actual", "EXPECTED", "value", "metadata", "type", "optional"]
KEYS = st.sampled_from([*FIELDS, "expected_version", "actual_version", "cloud", "edge", "k", "a,b", "\\", "ſ"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_both_builds_agree_on_any_json(value: Any, is_checked: bool) -> None:
    for document in (value, {"twin": {"k": value, "j": value}}, {"event_id": "e", "twin": value}):
        payload = json.dumps(document).encode()
        assert len({repr(outcome(build, payload, is_checked)) for build in BUILDS}) == 1
