from __future__ import annotations

import math
import re
import struct

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BoolValue, BytesValue, FloatValue, Int32Value, Int64Value, StringValue
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.mapper.values import check_range, from_any, from_text, plain, to_text

# The check of the edge, as spec 04 §3.6 writes it.
CHARACTERS = re.compile(r"[a-zA-Z0-9_.,:/@#-]{1,512}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (25, "25"),
        (-3, "-3"),
        (25.0, "25"),
        (25.3, "25.3"),
        (1e20, "100000000000000000000"),
        (1e-7, "0.0000001"),
        (-0.5, "-0.5"),
        (math.inf, "Inf"),
        (math.nan, "NaN"),
        ("on", "on"),
        (b"on", "on"),
        (b"\xff\x00", "ff00"),
        ([1, 2], "[1,2]"),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_value_becomes_text(value: object, text: str) -> None:
    assert to_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_survives_as_text_without_an_exponent(value: float) -> None:
    text = to_text(value)
    assert "e" not in text
    assert float(text) == value
    assert CHARACTERS.fullmatch(text) or len(text) > 512
    assert CHARACTERS.fullmatch(plain(text))


@given(st.text())
def test_plain_text_passes_the_check_of_the_edge(value: str) -> None:
    shown = plain(value)
    assert not shown or CHARACTERS.fullmatch(shown)
    if CHARACTERS.fullmatch(value):
        assert shown == value


@pytest.mark.parametrize(
    ("text", "type_name", "value"),
    [
        ("12", "int", 12),
        ("-12", "integer", -12),
        ("1.5", "float", 1.5),
        ("1e3", "double", 1000.0),
        ("true", "boolean", True),
        ("False", "boolean", False),
        ("0", "boolean", False),
        ("abc", "string", "abc"),
        ("abc", "bytes", b"abc"),
        ("abc", "", "abc"),
    ],
)
def test_desired_value_gets_the_type_of_the_model(text: str, type_name: str, value: object) -> None:
    result = from_text(text, type_name)
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "type_name"), [("1.5", "int"), ("x", "float"), ("yes", "boolean"), (str(2**63), "int"), ("", "int")]
)
def test_desired_value_of_another_type_is_refused(text: str, type_name: str) -> None:
    with pytest.raises(ValueError):
        from_text(text, type_name)


def test_limits_hold_for_numbers_only() -> None:
    check_range(5, "0", "10")
    check_range("text", "0", "10")
    check_range(50, "", "no number")
    with pytest.raises(ValueError, match="less than the minimum 0"):
        check_range(-1, "0", "10")
    with pytest.raises(ValueError, match="more than the maximum 10"):
        check_range(10.5, "0", "10")


def packed(message: object) -> AnyMessage:
    made = AnyMessage()
    made.Pack(message)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (StringValue(value="127.0.0.1"), "127.0.0.1"),
        (BoolValue(value=True), True),
        (FloatValue(value=5020), 5020),
        (FloatValue(value=0.1), 0.1),
        (FloatValue(value=1.5), 1.5),
        (Int32Value(value=-1), -1),
        (Int64Value(value=16777217), 16777217),
        (BytesValue(value=b"x"), "x"),
    ],
)
def test_configuration_value_is_what_was_typed(message: object, value: object) -> None:
    result = from_any(packed(message))
    assert result == value and type(result) is type(value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_number_of_the_go_edge_is_the_same_32_bits(value: float) -> None:
    assert struct.pack("<f", from_any(packed(FloatValue(value=value)))) == struct.pack("<f", value + 0.0)


def test_configuration_value_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        from_any(AnyMessage(type_url="type.googleapis.com/google.protobuf.Struct"))
    with pytest.raises(ValueError, match="damaged"):
        from_any(AnyMessage(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\xff"))
