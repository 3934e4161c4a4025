"""Label selectors (`app=x,tier in (a,b),!old,n>3`) and field selectors (`metadata.name=x,status.phase!=Running`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubeedge.apiserver import names
from kubeedge.kube.requirement import is_integer, is_met

_TOKEN = re.compile(r"\s*(==|!=|[=!(),><]|[^\s=!(),><]+|$)")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", ">", "<", ""})
_OPERATORS = {"in": "in", "notin": "notin", "=": "=", "==": "=", "!=": "!=", ">": ">", "<": "<"}
_BINARY = "in, notin, =, ==, !=, gt, lt"
_ORDER = (">", "<")
# What the operators of a selector's text are called in objects.
_IN_OBJECTS = {
    "in": "In",
    "=": "In",
    "notin": "NotIn",
    "!=": "NotIn",
    "exists": "Exists",
    "!exists": "DoesNotExist",
    ">": "Gt",
    "<": "Lt",
}


class SelectorError(ValueError):
    """A selector that can't be understood; str() is what a real server says."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition: operator is `in`, `notin`, `=`, `!=`, `>`, `<`, `exists` or `!exists`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels fulfils the condition."""
        return is_met(_IN_OBJECTS[self.operator], labels.get(self.key), self.values)

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!exists":
            return f"!{self.key}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether labels (None for none) fulfil every requirement."""
        labels = labels or {}
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


class _Tokens:
    """The tokens of a selector; the last one is the empty string, again and again."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [match.group(1) for match in _TOKEN.finditer(text)]
        self._position = 0

    def peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._position += 1
        return token


def _requirements(text: str) -> Iterator[Requirement]:
    tokens = _Tokens(text)
    while (token := tokens.peek()) != "":
        if token in _SYMBOLS and token != "!":
            raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
        try:
            yield _requirement(tokens)
        except SelectorError as error:
            raise SelectorError(f"unable to parse requirement: {error}") from None
        token = tokens.take()
        if token == "":
            return
        if token != ",":
            raise SelectorError(f"found '{token}', expected: ',' or 'end of string'")
        token = tokens.peek()
        if token in _SYMBOLS and token != "!":
            raise SelectorError(f"found '{token}', expected: identifier after ','")


def _requirement(tokens: _Tokens) -> Requirement:
    key = tokens.take()
    negated = key == "!"
    if negated:
        key = tokens.take()
    if key in _SYMBOLS:
        raise SelectorError(f"found '{key}', expected: identifier")
    if problems := names.qualified_name(key):
        raise SelectorError(f"<nil>: Invalid value: {_quoted(key)}: {'; '.join(problems)}")
    if negated:
        return Requirement(key, "!exists")
    if tokens.peek() in ("", ","):
        return Requirement(key, "exists")
    word = tokens.take()
    operator = _OPERATORS.get(word)
    if operator is None:
        raise SelectorError(f"found '{word}', expected: {_BINARY}")
    values = _values(tokens) if operator in ("in", "notin") else (_exact_value(tokens),)
    for index, value in enumerate(values):
        if operator in _ORDER and not is_integer(value):
            raise SelectorError(
                f"values[{index}]: Invalid value: {_quoted(value)}: "
                "for 'Gt', 'Lt' operators, the value must be an integer"
            )
        if problems := names.label_value(value):
            raise SelectorError(f"values[{index}][{key}]: Invalid value: {_quoted(value)}: {'; '.join(problems)}")
    return Requirement(key, operator, values)


def _exact_value(tokens: _Tokens) -> str:
    if tokens.peek() in ("", ","):
        return ""
    value = tokens.take()
    if value in _SYMBOLS:
        raise SelectorError(f"found '{value}', expected: identifier")
    return value


def _values(tokens: _Tokens) -> tuple[str, ...]:
    """`(a,b)`: commas with nothing beside them stand for an empty value."""
    token = tokens.take()
    if token != "(":
        raise SelectorError(f"found '{token}' expected: '('")
    token = tokens.peek()
    if token in _SYMBOLS and token not in (",", ")"):
        raise SelectorError(f"found '{token}', expected: ',', ')' or identifier")
    values: set[str] = set()
    expects_value = True
    while True:
        token = tokens.take()
        if token in (")", ","):
            if expects_value:
                values.add("")
            if token == ")":
                return tuple(sorted(values))
            expects_value = True
        elif token in _SYMBOLS:
            expected = "',', or identifier" if expects_value else "',' or ')'"
            raise SelectorError(f"found '{token}', expected: {expected}")
        elif not expects_value:
            raise SelectorError(f"found '{token}', expected: ',' or ')'")
        else:
            values.add(token)
            expects_value = False


def parse_labels(text: str) -> LabelSelector:
    """Read a label selector. Raises SelectorError."""
    return LabelSelector(tuple(sorted(_requirements(text), key=lambda requirement: requirement.key)))


_EXPRESSION_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists"}
_EXPRESSION_OPERATORS |= {"Gt": ">", "Lt": "<"}


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    """The selector of a `spec.selector` with matchLabels and matchExpressions; None (matches nothing) when absent."""
    if selector is None:
        return None
    found = [Requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _EXPRESSION_OPERATORS[expression["operator"]]
        found.append(Requirement(expression["key"], operator, tuple(sorted(expression.get("values") or ()))))
    return LabelSelector(tuple(sorted(found, key=lambda requirement: requirement.key)))


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms (field, is equal, value) that must all hold."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields asked for."""
        return frozenset(field for field, _, _ in self.terms)

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether the selectable fields of an object fulfil every term; an absent field is the empty string."""
        return all((fields.get(field, "") == value) is equal for field, equal, value in self.terms)

    def exact(self, field: str) -> str | None:
        """The value that field must have, None when the selector leaves it open."""
        return next((value for name, equal, value in self.terms if equal and name == field), None)

    def __str__(self) -> str:
        return ",".join(f"{field}{'=' if equal else '!='}{_escape(value)}" for field, equal, value in self.terms)


_TERM = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)


def parse_fields(text: str) -> FieldSelector:
    """Read a field selector. Raises SelectorError; which fields a kind has is the caller's question."""
    terms = []
    for part in sorted(re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL)):
        match = _TERM.fullmatch(part)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        terms.append((field, operator != "!=", _unescape(value)))
    return FieldSelector(tuple(terms))


def _unescape(value: str) -> str:
    plain = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in ("\\", ",", "="):
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            plain.append(escaped)
        elif character in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord(character)}")
        else:
            plain.append(character)
    return "".join(plain)


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
