"""Quantities: canonical form as a real server writes it, order, and the words about what is none."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.kube import quantity
from kubeedge.kube.quantity import Quantity

SUFFIXES = ["n", "u", "m", "", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "E-2"]
VALUES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "e3": 3, "E-2": -2}


def exact(digits: str, suffix: str) -> Fraction:
    """The amount without any rounding."""
    if suffix in VALUES:
        return Fraction(digits) * Fraction(10) ** VALUES[suffix]
    return Fraction(digits) * 1024 ** (["Ki", "Mi", "Gi", "Ti"].index(suffix) + 1)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("00", "0"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("0.1Ki", "102400m"),
        ("1000000", "1M"),
        ("123456789", "123456789"),
        ("12E6", "12e6"),
        ("1e3", "1e3"),
        ("+5", "5"),
        ("-500m", "-500m"),
        ("0.0000000001", "1n"),
        ("264212084Ki", "264212084Ki"),
    ],
)
def test_canonical_form_is_that_of_a_real_server(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["many", "", "1x", " 1", "1.2.3", "1 Gi"])
def test_what_is_no_quantity_is_refused_in_the_servers_words(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse(text)


@pytest.mark.parametrize("text", ["1ee", "1Mi2", "1KI", "1e", "--1"])
def test_a_suffix_that_does_not_exist_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"suffix|quantities must match"):
        quantity.parse(text)


@given(st.decimals(min_value=0, max_value=10**6, places=3), st.sampled_from(SUFFIXES))
def test_canonical_form_keeps_the_amount(number: object, suffix: str) -> None:
    read = quantity.parse(f"{number}{suffix}")
    wanted = exact(str(number), suffix) * 10**9
    assert 0 <= read.nanos - wanted < 1  # less than a billionth is rounded up
    again = quantity.parse(str(read))
    assert again.nanos == read.nanos
    assert str(again) == str(read)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["decimal", "binary", "exponent"]))
def test_every_amount_can_be_written_and_read(nanos: int, form: str) -> None:
    assert quantity.parse(str(Quantity(nanos, form))).nanos == nanos


@given(st.integers(0, 10**18))
def test_whole_and_milli_values_are_rounded_up(nanos: int) -> None:
    amount = Quantity(nanos)
    assert 0 <= amount.value * 10**9 - nanos < 10**9
    assert 0 <= amount.milli * 10**6 - nanos < 10**6


@pytest.mark.parametrize(("number", "nanos"), [(2, 2 * 10**9), (0.5, 5 * 10**8), (1e-7, 100)])
def test_a_number_counts_as_its_text(number: float, nanos: int) -> None:
    assert quantity.parse(number).nanos == nanos


@given(st.text() | st.text("0123456789.eEinumkKMGTP+-", max_size=2000) | st.none() | st.booleans() | st.floats())
def test_anything_is_a_quantity_or_said_to_be_none(value: object) -> None:
    try:
        read = quantity.parse(value)
    except quantity.QuantityError:
        return
    assert quantity.parse(str(read)).nanos == read.nanos
