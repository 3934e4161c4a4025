"""Go's durations, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.config.duration import Duration


@pytest.mark.parametrize(
    ("text", "seconds", "printed"),
    [
        ("10s", 10, "10s"),
        ("1m", 60, "1m0s"),
        ("1m0s", 60, "1m0s"),
        ("4h", 14400, "4h0m0s"),
        ("1.5h", 5400, "1h30m0s"),
        ("100ms", 0.1, "100ms"),
        ("2us", 2e-6, "2µs"),
        ("2µs", 2e-6, "2µs"),
        ("1h2m3.5s", 3723.5, "1h2m3.5s"),
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("-1.5m", -90, "-1m30s"),
        ("+5s", 5, "5s"),
        (".5s", 0.5, "500ms"),
        ("1.s", 1, "1s"),
        ("1s1s", 2, "2s"),
    ],
)
def test_notation(text: str, seconds: float, printed: str) -> None:
    duration = Duration.parse(text)
    assert duration == pytest.approx(seconds)
    assert str(duration) == printed


@pytest.mark.parametrize(
    "text", ["", "s", "1", "10", "1x", "1s ", " 1s", "--1s", "1s-1s", "1d", ".s", "1e3s", "9999999h"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|years"):
        Duration.parse(text)


@given(st.integers(-(10**15), 10**15))
def test_printing_reads_back(nanoseconds: int) -> None:
    duration = Duration(nanoseconds / 1e9)
    assert Duration.parse(str(duration)) == pytest.approx(duration, abs=1e-9)
