"""Label and field selectors: what they match, and the words about those that can't be read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver import selectors
from kubeedge.apiserver.selectors import FieldSelector, SelectorError

LABELS = {"app": "x", "tier": "2", "empty": ""}
NAMES = st.sampled_from(["app", "tier", "empty", "absent"])
WORDS = st.sampled_from(["x", "2", "", "y", "in", "notin"])


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=x", True),
        ("app==x,tier!=3", True),
        ("app in (x,y)", True),
        ("app notin (x)", False),
        ("absent notin (x)", True),
        ("absent!=x", True),
        ("absent in (x)", False),
        ("tier", True),
        ("!absent", True),
        ("!tier", False),
        ("tier>1", True),
        ("tier<2", False),
        ("app>1", False),
        ("empty=", True),
        ("empty in ()", True),
        ("empty in (,x)", True),
        (" app = x , tier in ( 2 , 3 ) ", True),
    ],
)
def test_label_selectors_match_as_documented(selector: str, matches: bool) -> None:
    assert selectors.parse_labels(selector).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("a b c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("!!x", "unable to parse requirement: found '!', expected: identifier"),
        ("a,", "found '', expected: identifier after ','"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
    ],
)
def test_a_label_selector_that_cannot_be_read_is_refused_in_the_servers_words(selector: str, words: str) -> None:
    with pytest.raises(SelectorError) as error:
        selectors.parse_labels(selector)
    assert str(error.value) == words


def test_order_needs_numbers() -> None:
    with pytest.raises(SelectorError, match="the value must be an integer"):
        selectors.parse_labels("a>x")


def test_a_key_must_be_a_label() -> None:
    with pytest.raises(SelectorError, match="name part must consist of"):
        selectors.parse_labels("-bad-=x")


@given(
    st.lists(st.tuples(NAMES, st.sampled_from(["in", "notin"]), st.lists(WORDS, min_size=1, max_size=3)), max_size=4)
)
def test_a_selector_reads_its_own_text_again(terms: list[tuple[str, str, list[str]]]) -> None:
    text = ",".join(f"{key} {operator} ({','.join(values)})" for key, operator, values in terms)
    read = selectors.parse_labels(text)
    assert selectors.parse_labels(str(read)) == read
    wanted = all((LABELS.get(key) in values) is (operator == "in") for key, operator, values in terms)
    assert read.matches(LABELS) is wanted


@given(st.text(max_size=30))
def test_no_text_breaks_the_parsers(text: str) -> None:
    for parse in (selectors.parse_labels, selectors.parse_fields):
        with suppress(SelectorError):
            parse(text)


def test_a_selector_of_an_object_matches_labels_and_expressions() -> None:
    selector = selectors.from_object(
        {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]}
    )
    assert selector is not None
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "x", "tier": "1"})
    assert selectors.from_object(None) is None
    assert selectors.from_object({}) == selectors.LabelSelector()


def test_field_selectors_compare_values_and_know_escapes() -> None:
    selector = selectors.parse_fields(r"metadata.name!=s2,spec.nodeName==n1,status.reason=a\,b\=c")
    assert selector.fields == {"metadata.name", "spec.nodeName", "status.reason"}
    assert selector.exact("spec.nodeName") == "n1"
    assert selector.exact("metadata.name") is None
    assert selector.matches({"metadata.name": "s1", "spec.nodeName": "n1", "status.reason": "a,b=c"})
    assert not selector.matches({"metadata.name": "s2", "spec.nodeName": "n1", "status.reason": "a,b=c"})
    assert selectors.parse_fields(str(selector)) == selector


@given(st.lists(st.tuples(st.sampled_from(["a", "b.c"]), st.booleans(), st.text(max_size=6)), max_size=3))
def test_field_selectors_read_their_own_text_again(terms: list[tuple[str, bool, str]]) -> None:
    selector = FieldSelector(tuple(terms))
    assert set(selectors.parse_fields(str(selector)).terms) == set(terms)


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=b\x", r"invalid field selector: invalid escape sequence: \x"),
    ],
)
def test_a_field_selector_that_cannot_be_read_is_refused_in_the_servers_words(selector: str, words: str) -> None:
    with pytest.raises(SelectorError) as error:
        selectors.parse_fields(selector)
    assert str(error.value) == words
