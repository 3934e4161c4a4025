"""The walk over JSON text, against other parsers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
# Text near to JSON, where the grammar is decided.
NEARLY = st.lists(
    st.sampled_from(
        [
            *'{}[]",: \t\n\r-+.eE0123456789\\u/bfnrt\x1f\x7fé',
            "true",
            "false",
            "null",
            "nul",
            '"a"',
            '"b":',
            ',"c":',
            "1",
            "01",
        ]
    ),
    max_size=14,
).map("".join)


def refuse_constant(name: str) -> None:
    raise ValueError(name)


ORACLE = json.JSONDecoder(parse_constant=refuse_constant)


def end_by_oracle(text: str) -> int | None:
    start = len(text) - len(text.lstrip(" \t\n\r"))
    try:
        _, end = ORACLE.raw_decode(text, start)
    except ValueError:
        return None
    return len(text[:end].encode())


def end_by(speedups: SimpleNamespace, data: bytes) -> tuple[Any, ...]:
    try:
        return (speedups.scan.value_end(data),)
    except speedups.scan.ScanError as error:
        return error.reason, error.offset


@given(JSON_VALUES, st.sampled_from([b"", b"\n", b" {", b"garbage"]), st.booleans())
def test_a_value_ends_where_it_ends(value: Any, tail: bytes, spaced: bool) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(" , ", " : ") if spaced else (",", ":")).encode(
        "utf-8", "replace"
    )
    if isinstance(value, int | float) and not isinstance(value, bool):
        tail = b" "
    for build in BUILDS:
        assert build.scan.value_end(text + tail) == len(text)


@given(NEARLY)
@example("[1,]")
@example('{"a":1,}')
@example("[" * 30 + "]" * 30)
@example('"\\ud800"')
@example("-")
@example("1.")
@example("0.5e+7x")
@example('{"a":12.5,"b":1e3,"c":[1,2,03]}')
def test_the_grammar_is_that_of_the_json_module(text: str) -> None:
    expected = end_by_oracle(text)
    for build in BUILDS:
        got = end_by(build, text.encode())
        assert got == (expected,) if expected is not None else len(got) == 2


@given(st.binary(max_size=40) | NEARLY.map(str.encode))
def test_both_builds_agree_on_garbage(data: bytes) -> None:
    assert len({end_by(build, data) for build in BUILDS}) == 1


@given(JSON_VALUES.map(lambda value: json.dumps(value).encode()), st.integers(0, 400), st.integers(0, 255))
def test_both_builds_agree_on_damaged_text(text: bytes, place: int, byte: int) -> None:
    place = min(place, len(text) - 1)
    damaged = text[:place] + bytes([byte]) + text[place + 1 :]
    assert len({end_by(build, damaged) for build in BUILDS}) == 1
    assert len({end_by(build, text[:place]) for build in BUILDS}) == 1


def test_nesting_ends_where_the_parser_for_contents_ends(speedups: SimpleNamespace) -> None:
    deepest = b"[" * 1024 + b"]" * 1024
    assert orjson.loads(deepest) is not None
    assert speedups.scan.value_end(deepest) == 2048
    with pytest.raises(speedups.scan.ScanError) as caught:
        speedups.scan.value_end(b"[" + deepest + b"]")
    assert caught.value.offset == 1024


def test_what_follows_the_value_is_not_looked_at(speedups: SimpleNamespace) -> None:
    assert speedups.scan.value_end(b'  {"a":[1,2]} \xff\x00') == 13


@given(st.text())
def test_strings_come_back(text: str) -> None:
    for build in BUILDS:
        clean = text.encode("utf-8", "replace").decode()
        assert build.scan.unquote(json.dumps(clean).encode()) == clean
        assert build.scan.unquote(orjson.dumps(clean)) == clean


def test_a_lone_surrogate_becomes_the_replacement_character(speedups: SimpleNamespace) -> None:
    assert speedups.scan.unquote(rb'"a\ud800b\udc00\ud83d\ude00"') == "a�b�😀"


@pytest.mark.parametrize("key", [b"msg_id", b"MSG_ID", b"Msg_Id", b"m\\u0053g_id", "mſg_id".encode(), b"\\u006dsg_id"])
def test_names_of_fields_fold_like_go(speedups: SimpleNamespace, key: bytes) -> None:
    assert speedups.scan.fold(key) == b"msg_id"


def test_the_kelvin_sign_folds_to_k(speedups: SimpleNamespace) -> None:
    assert speedups.scan.fold("\u212aelvin".encode()) == b"kelvin"
