"""Rules (CEL), JSON paths and schemas of custom kinds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver import cel, jsonpath
from kubeedge.apiserver.schema import conformance, structural


@pytest.mark.parametrize(
    ("rule", "value", "result"),
    [
        ("!has(self.lo) || !has(self.hi) || self.lo <= self.hi", {"lo": 5, "hi": 2}, False),
        ("!has(self.lo) || !has(self.hi) || self.lo <= self.hi", {"lo": 5}, True),
        ("self.x.all(i, i > 0)", [], None),
        ("self.x.all(i, i > 0)", {"x": [1, 2]}, True),
        ("self.x.exists_one(i, i == 2)", {"x": [1, 2, 2]}, False),
        ("self.x.filter(i, i > 1).size() == 1", {"x": [1, 2]}, True),
        ("self.x.map(i, i * 2) == [2, 4]", {"x": [1, 2]}, True),
        ("self.all(k, self[k].startsWith('a'))", {"k": "ab"}, True),
        ("'a' in self", ["a"], True),
        ("self == 'x' ? true : false", "x", True),
        ("self.matches('^[a-z]+$') && size(self) < 4", "abc", True),
        ("1 + 2 * 3 - 4 / 2 == 5 && 7 % 4 == 3 && -1 < 0", None, True),
        ("self.a || true", {}, True),
        ("self.a && true", {}, None),
        ("type(self) == 'string' && string(5) == '5' && int('3') == 3", "x", True),
        ('"a\\"b" == \'a"b\' && r"\\d" == "\\\\d"', None, True),
        ("{'a': 1}['a'] == 1 && [1, 2][1] == 2", None, True),
        ("self.__if__ == 1", {"if": 1}, True),
        ("1 == 1.0 && true != 1", None, True),
    ],
)
def test_rules_are_evaluated(rule: str, value: Any, result: bool | None) -> None:
    expression = cel.compiled(rule)
    assert expression is not None
    if result is None:
        with pytest.raises(cel.EvaluationError):
            expression({"self": value})
    else:
        assert expression({"self": value}) is result


@pytest.mark.parametrize("rule", ["self.x.orValue(1)", "self +", "f(x)", "self.x.all(i, i, i, i)", "'open", "a b"])
def test_what_is_outside_of_the_supported_language_is_known(rule: str) -> None:
    assert cel.compiled(rule) is None


@given(st.text(max_size=25))
def test_no_text_breaks_the_rule_parser(text: str) -> None:
    expression = cel.compiled(text)
    if expression is not None:
        with suppress(cel.EvaluationError):
            expression({"self": {"a": [1, "x"]}})


def test_broken_rules_tell_where_and_why() -> None:
    schema = {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "items": {
                    "type": "integer",
                    "x-kubernetes-validations": [{"rule": "self > 0", "message": "be positive"}],
                },
            },
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
        },
    }
    value, old = {"list": [1, -1], "fixed": "b"}, {"fixed": "a"}
    assert [str(cause) for cause in cel.check(value, old, schema, "spec")] == [
        "spec.list[1]: Invalid value: be positive",
        "spec.fixed: Invalid value: failed rule: self == oldSelf",
    ]
    assert cel.check({"fixed": "b"}, None, schema, "spec") == []


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".spec.size", [3]),
        ("spec.size", [3]),
        ("{.spec.size}", [3]),
        (".items[0].name", ["a"]),
        (".items[-1].name", ["b"]),
        (".items[*].name", ["a", "b"]),
        (".items[5].name", []),
        ('.items[?(@.name=="b")].value', [2]),
        (".items[?(@.name!='b')].value", [1]),
        (r".labels.a\.b/c", ["x"]),
        (".labels['a.b/c']", ["x"]),
        (".absent.deeper", []),
        (".spec.size.deeper", []),
    ],
)
def test_json_paths_find_values(path: str, values: list[Any]) -> None:
    document = {
        "spec": {"size": 3},
        "items": [{"name": "a", "value": 1}, {"name": "b", "value": 2}],
        "labels": {"a.b/c": "x"},
    }
    assert jsonpath.find(document, path) == values


def test_a_json_path_that_cannot_be_read_is_an_error() -> None:
    assert not jsonpath.is_readable(".a[")
    with pytest.raises(ValueError, match="cannot read JSONPath"):
        jsonpath.find({}, ".a[")


SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "number", "exclusiveMinimum": True, "minimum": 0, "multipleOf": 0.5},
        "s": {"type": "string", "minLength": 2},
        "u": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "not": {"not": {"type": "string"}},
        "ip": {"type": "string", "format": "ipv4"},
        "many": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1},
    },
}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"n": 0}, "n: Invalid value: 0: n in body should be greater than 0"),
        ({"n": 0.7}, "n: Invalid value: 0.7: n in body should be a multiple of 0.5"),
        ({"s": "a"}, 's: Invalid value: "a": s in body should be at least 2 chars long'),
        ({"any": True}, '<nil>: Invalid value: "": "any" must validate at least one schema (anyOf)'),
        ({"not": "x"}, '<nil>: Invalid value: "": "not" must not validate the schema (not)'),
        ({"ip": "::1"}, 'ip: Invalid value: "::1": ip in body must be of type ipv4: "::1"'),
        ({"many": {"a": 1, "b": 2}}, "many: Too many: 2: must have at most 1 items"),
        ({"many": {"a": "x"}}, 'many.a: Invalid value: "string": many.a in body must be of type integer: "string"'),
    ],
)
def test_values_that_do_not_fit_are_refused_in_the_servers_words(value: Any, words: str) -> None:
    assert str(conformance.check(value, SCHEMA, "")[0]) == words


def test_sets_have_no_duplicates() -> None:
    found = conformance.check_lists({"u": ["a", "b", "a"]}, SCHEMA, "")
    assert [str(cause) for cause in found] == ['u[2]: Duplicate value: "a"']


def test_pruning_stops_where_anything_is_allowed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "open": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"in": {"type": "object"}},
            },
            "pod": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "properties": {"spec": {"type": "object"}},
            },
        },
    }
    value = {
        "kind": "K",
        "metadata": {"any": 1},
        "open": {"x": {"y": 1}, "in": {"z": 1}},
        "pod": {"kind": "Pod", "metadata": {"name": "n"}, "spec": {"a": 1}, "other": 1},
    }
    assert structural.prune(value, schema) == ["open.in.z", "pod.spec.a", "pod.other"]
    assert value["open"] == {"x": {"y": 1}, "in": {}}
    assert value["pod"] == {"kind": "Pod", "metadata": {"name": "n"}, "spec": {}}


def test_defaults_reach_into_lists_and_replace_forbidden_nulls() -> None:
    item = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": item},
            "map": {"type": "object", "additionalProperties": item},
            "obj": {**item, "default": {}},
            "nothing": {"type": "string"},
        },
    }
    value: dict[str, Any] = {"list": [{}, {"a": None}], "map": {"k": {}}, "nothing": None}
    structural.fill_defaults(value, schema)
    assert value == {"list": [{"a": 1}, {"a": 1}], "map": {"k": {"a": 1}}, "obj": {"a": 1}}
