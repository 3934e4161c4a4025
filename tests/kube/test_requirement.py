from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.kube.requirement import is_met

VALUES = st.none() | st.text("ab1", max_size=2)


@pytest.mark.parametrize(
    ("operator", "value", "values", "met"),
    [
        ("In", "a", ["a", "b"], True),
        ("In", "c", ["a", "b"], False),
        ("In", "", [""], True),
        ("Exists", "", [], True),
        ("Gt", "10", ["9"], True),
        ("Gt", "9", ["9"], False),
        ("Lt", "-1", ["0"], True),
        ("Lt", "+1", ["2"], True),
        ("Gt", None, ["0"], False),
        ("Gt", "many", ["0"], False),
        ("Gt", "1_0", ["0"], False),
        ("Gt", " 1", ["0"], False),
        ("Gt", "٣", ["0"], False),
        ("Gt", "1", ["0", "0"], False),
        ("Gt", "1", [], False),
        ("in", "a", ["a"], False),
        ("", "a", ["a"], False),
    ],
)
def test_requirement_is_met_as_the_scheduler_sees_it(
    operator: str, value: str | None, values: list[str], met: bool
) -> None:
    assert is_met(operator, value, values) is met


@given(VALUES, st.lists(st.text("ab1", max_size=2), max_size=3))
def test_each_operator_is_the_opposite_of_another(value: str | None, values: list[str]) -> None:
    assert is_met("In", value, values) is not is_met("NotIn", value, values)
    assert is_met("Exists", value, values) is not is_met("DoesNotExist", value, values)


@given(VALUES, st.lists(st.text("ab1", max_size=2), max_size=3))
def test_what_is_absent_is_in_nothing(value: str | None, values: list[str]) -> None:
    assert not is_met("In", None, values)
    assert is_met("NotIn", None, values)
    if is_met("In", value, values):
        assert is_met("Exists", value, values)
