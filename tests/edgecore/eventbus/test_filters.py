"""Topics and filters, against the rules written another way."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.eventbus.filters import is_filter, is_topic, matches

LEVELS = st.sampled_from(["", "a", "b", "$hw", "user", "+", "#", "a+", "#b"])
TOPICS = st.lists(st.sampled_from(["", "a", "b", "$hw", "user"]), min_size=1, max_size=5).map("/".join)
FILTERS = st.lists(LEVELS, min_size=1, max_size=5).map("/".join)


def pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression that says the same as a filter."""
    words = ["[^/]*" if level == "+" else re.escape(level) for level in text.split("/") if level != "#"]
    if not text.endswith("#"):
        return re.compile("/".join(words))
    return re.compile("/".join(words) + "(/.*)?" if words else ".*", re.DOTALL)


@given(FILTERS.filter(is_filter), TOPICS)
def test_filter_matches_what_its_expression_matches(text: str, topic: str) -> None:
    assert matches(text, topic) is bool(pattern(text).fullmatch(topic))


@given(FILTERS)
def test_filter_has_wildcards_only_as_whole_levels(text: str) -> None:
    levels = text.split("/")
    is_good = bool(text) and all(level in ("+", "#") or not set("+#") & set(level) for level in levels)
    assert is_filter(text) is (is_good and "#" not in levels[:-1])


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "\ud800", "x" * 65_536, "é" * 32_768])
def test_text_that_no_broker_takes_is_no_topic(topic: str) -> None:
    assert not is_topic(topic)


@pytest.mark.parametrize("topic", ["a", "/", "$hw/events/device/default/d/twin/update", "é" * 32_767])
def test_other_text_is_a_topic(topic: str) -> None:
    assert is_topic(topic)
    assert is_filter(topic)


@pytest.mark.parametrize("text", ["$share/group", "$share//t", "$share/g/", "$share/g+/t", "$share/g/a#"])
def test_share_of_nothing_is_no_filter(text: str) -> None:
    assert not is_filter(text)


def test_share_of_a_filter_is_one() -> None:
    assert is_filter("$share/g/a/+/#")


def test_wildcards_match_topics_that_begin_with_a_dollar() -> None:
    assert matches("#", "$hw/events/upload/x")
    assert matches("+/user/#", "$x/user")
