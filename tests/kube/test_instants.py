from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.kube.instants import micro_timestamp, timestamp, unix_time

# 9999-12-31T23:59:59Z, the last second that the form can name.
LAST_S = 253402300799


@given(st.integers(-62_135_596_800 + 31_622_400 * 1000, LAST_S))
def test_what_is_written_is_read_again(seconds: int) -> None:
    assert unix_time(timestamp(seconds), None) == seconds
    assert unix_time(micro_timestamp(seconds), None) == seconds


@given(st.floats(0, LAST_S))
def test_parts_of_a_second_are_cut_off(seconds: float) -> None:
    assert unix_time(timestamp(seconds), None) == int(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-08-01T10:00:00Z", 1785578400),
        ("2026-08-01T12:00:00+02:00", 1785578400),
        ("2026-08-01T10:00:00.250000Z", 1785578400.25),
        ("2026-08-01T10:00:00.123456789Z", 1785578400.123456),
        ("2026-08-01T10:00:00", 1785578400),
    ],
)
def test_every_form_that_peers_write_is_read(text: str, seconds: float) -> None:
    assert unix_time(text, None) == seconds


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_timestamp_is_the_default(text: str | None) -> None:
    assert unix_time(text, 7.5) == 7.5


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    unix_time(text, None)
