"""Words of a Go server about JSON and times, and how it prints values."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver import gojson, gotime


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"metadata": ', "unexpected end of JSON input"),
        (b'{"a"', "unexpected end of JSON input"),
        (b"{a: 1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"tru", "unexpected end of JSON input"),
        (b"trxe", "invalid character 'x' in literal true (expecting 'u')"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"\x9e\xe9", "invalid character '\\u009e' looking for beginning of value"),
        (b'"a\nb"', "invalid character '\\n' in string literal"),
        (b'"\\q"', "invalid character 'q' in string escape code"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b'{"a": [1, {"b": null}]}', ""),
    ],
)
def test_a_syntax_error_is_described_as_go_does(text: bytes, words: str) -> None:
    assert gojson.syntax_error(text) == words


@given(st.binary(max_size=40))
def test_what_another_parser_reads_has_no_error_and_what_it_does_not_has_one(text: bytes) -> None:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    assert gojson.syntax_error(text) == ""


@given(st.recursive(st.none() | st.booleans() | st.integers(0, 99) | st.text(max_size=5), st.lists, max_leaves=5))
def test_documents_without_an_error_have_none(value: object) -> None:
    text = orjson.dumps(value)
    assert gojson.syntax_error(text) == ""
    assert gojson.syntax_error(text[:-1] if text[-1:] in b'"]' else text + b"x") != ""


def test_values_are_printed_as_go_prints_them() -> None:
    assert gojson.printed({"b": [1, "x", None], "a": True}) == "map[a:true b:[1 x <nil>]]"
    assert gojson.quoted('a"\\\n\u00e9\x01') == '"a\\"\\\\\\n\u00e9\\x01"'
    assert gojson.json_text({"b": 1, "a": "x"}) == '{"a":"x","b":1}'


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (599, "9m59s"),
        (3600, "60m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 720, "5h12m"),
        (8 * 3600, "8h"),
        (48 * 3600, "2d"),
        (51 * 3600, "2d3h"),
        (8 * 86400, "8d"),
        (400 * 86400, "400d"),
        (2 * 365 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages_are_shown_as_kubectl_shows_them(seconds: float, shown: str) -> None:
    assert gotime.human_duration(seconds) == shown


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_times_are_read_as_they_are_written(moment: datetime) -> None:
    assert gotime.parse_time(gotime.format_time(moment, micro=True), micro=True) == moment
    assert gotime.canonical_time(gotime.format_time(moment)) == gotime.format_time(moment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-13-01T00:00:00Z", "month"),
        ("2026-01-01", 'cannot parse "" as "T"'),
        ("2026-01-01T00:00:00", 'cannot parse "" as "Z07:00"'),
        ("2026-01-01T00:00:00Zx", 'extra text: "x"'),
    ],
)
def test_what_is_no_time_is_refused_with_the_part_that_is_wrong(text: str, words: str) -> None:
    with pytest.raises(gotime.TimeError, match=words):
        gotime.parse_time(text)
