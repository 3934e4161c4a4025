"""Rules of custom kinds (`x-kubernetes-validations`): the part of the Common Expression Language that they mostly use.

Literals, lists, maps, fields, indexes, arithmetic, comparison, `&& || ! ?: in`, `has() size() int() double() string()
type()`, the macros `all exists exists_one map filter`, and `startsWith endsWith contains matches lowerAscii upperAscii
split join`. A rule that uses anything else is not enforced. An expression becomes a tree of Python functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from kubeedge.apiserver.cel_values import (
    FUNCTIONS,
    METHODS,
    EvaluationError,
    Expression,
    Scope,
    arithmetic,
    compare,
    logic,
    select,
)
from kubeedge.apiserver.schema.structural import Schema
from kubeedge.apiserver.status import Cause

__all__ = ["EvaluationError", "UnreadableError", "check", "compiled"]


class UnreadableError(Exception):
    """An expression outside of the supported part of the language."""


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+(?:[eE][+-]?\d+)?|0x[0-9a-fA-F]+|\d+)u?(?![\w.]*\w*\()"""
    r"""|(?P<string>r?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"""|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<symbol>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}]))"""
)
_BINARY: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("==", "!=", "<", "<=", ">", ">=", "in"),
    ("+", "-"),
    ("*", "/", "%"),
)
_MACROS = ("all", "exists", "exists_one", "filter", "map")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(self._scan(text))
        self._position = 0

    @staticmethod
    def _scan(text: str) -> Iterator[tuple[str, str]]:
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise UnreadableError(text[position:])
            position = match.end()
            yield match.lastgroup, match[match.lastgroup]

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._position] if self._position < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._position += 1
        return token

    def _accept(self, symbol: str) -> bool:
        if self._peek()[1] == symbol and self._peek()[0] in ("symbol", "name"):
            self._position += 1
            return True
        return False

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            raise UnreadableError(f"expected {symbol}")

    def parse(self) -> Expression:
        expression = self._ternary()
        if self._peek()[0] != "end":
            raise UnreadableError(self._peek()[1])
        return expression

    def _ternary(self) -> Expression:
        condition = self._binary(0)
        if not self._accept("?"):
            return condition
        then = self._ternary()
        self._expect(":")
        otherwise = self._ternary()
        return lambda scope: then(scope) if condition(scope) is True else otherwise(scope)

    def _binary(self, level: int) -> Expression:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek()[0] in ("symbol", "name") and self._peek()[1] in _BINARY[level]:
            symbol = self._next()[1]
            left = self._combine(symbol, left, self._binary(level + 1))
        return left

    @staticmethod
    def _combine(symbol: str, left: Expression, right: Expression) -> Expression:
        if symbol in ("||", "&&"):
            return logic(left, right, symbol == "||")
        if symbol in _BINARY[2]:
            return lambda scope: compare(symbol, left(scope), right(scope))
        return lambda scope: arithmetic(symbol, left(scope), right(scope))

    def _unary(self) -> Expression:
        if self._accept("!"):
            operand = self._unary()
            return lambda scope: operand(scope) is not True
        if self._accept("-"):
            operand = self._unary()
            return lambda scope: arithmetic("-", 0, operand(scope))
        return self._postfix(self._primary())

    def _postfix(self, value: Expression) -> Expression:
        while True:
            if self._accept("."):
                kind, name = self._next()
                if kind != "name":
                    raise UnreadableError(name)
                value = self._method(value, name) if self._accept("(") else _field(value, name)
            elif self._accept("["):
                value = _index(value, self._ternary())
                self._expect("]")
            else:
                return value

    def _arguments(self, closing: str) -> list[Expression]:
        found: list[Expression] = []
        while not self._accept(closing):
            found.append(self._ternary())
            if not self._accept(","):
                self._expect(closing)
                break
        return found

    def _method(self, value: Expression, name: str) -> Expression:
        if name in _MACROS:
            variable = self._next()[1]
            self._expect(",")
            parts = self._arguments(")")
            return _macro(name, value, variable, parts)
        function = METHODS.get(name)
        if function is None:
            raise UnreadableError(name)
        arguments = self._arguments(")")
        return _call(function, [value, *arguments])

    def _primary(self) -> Expression:
        kind, text = self._next()
        if kind == "number":
            number = float(text) if "." in text else int(text, 0)
            return lambda scope: number
        if kind == "string":
            literal = _literal(text)
            return lambda scope: literal
        if kind == "name":
            return self._named(text)
        if text == "(":
            inner = self._ternary()
            self._expect(")")
            return inner
        if text == "[":
            items = self._arguments("]")
            return lambda scope: [item(scope) for item in items]
        if text == "{":
            return self._map()
        raise UnreadableError(text)

    def _map(self) -> Expression:
        pairs: list[tuple[Expression, Expression]] = []
        while not self._accept("}"):
            key = self._ternary()
            self._expect(":")
            pairs.append((key, self._ternary()))
            if not self._accept(","):
                self._expect("}")
                break
        return lambda scope: {key(scope): value(scope) for key, value in pairs}

    def _named(self, name: str) -> Expression:
        if name in ("true", "false", "null"):
            constant = {"true": True, "false": False, "null": None}[name]
            return lambda scope: constant
        if not self._accept("("):
            return lambda scope: select(scope, name)
        if name == "has":
            value = self._ternary()
            self._expect(")")
            return lambda scope: _present(value, scope)
        function = FUNCTIONS.get(name)
        if function is None:
            raise UnreadableError(name)
        return _call(function, self._arguments(")"))


def _present(value: Expression, scope: Scope) -> bool:
    try:
        value(scope)
    except EvaluationError:
        return False
    return True


def _field(value: Expression, name: str) -> Expression:
    key = re.sub(r"^__(\w+?)__$", r"\1", name)
    key = (
        key.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/").replace("__underscores__", "__")
    )
    return lambda scope: select(value(scope), key)


def _index(value: Expression, key: Expression) -> Expression:
    return lambda scope: select(value(scope), key(scope))


def _call(function: Callable[..., Any], arguments: list[Expression]) -> Expression:
    def evaluate(scope: Scope) -> Any:
        try:
            return function(*(argument(scope) for argument in arguments))
        except (TypeError, ValueError, re.error) as error:
            raise EvaluationError(str(error)) from None

    return evaluate


def _macro(name: str, value: Expression, variable: str, parts: list[Expression]) -> Expression:
    """`list.all(x, condition)` and its relatives; on a map they run over the keys."""
    if len(parts) not in (1, 2) or (len(parts) == 2 and name != "map"):
        raise UnreadableError(name)
    body = parts[-1]

    def results(scope: Scope) -> Iterator[tuple[Any, Any]]:
        items = value(scope)
        if not isinstance(items, (list, dict)):
            raise EvaluationError(f"no such overload: {name}")
        for item in items:
            inner = {**scope, variable: item}
            if len(parts) == 1 or parts[0](inner) is True:
                yield item, body(inner)

    def evaluate(scope: Scope) -> Any:
        if name == "map":
            return [result for _, result in results(scope)]
        if name == "filter":
            return [item for item, result in results(scope) if result is True]
        truths = [result is True for _, result in results(scope)]
        return {"all": all(truths), "exists": any(truths), "exists_one": sum(truths) == 1}[name]

    return evaluate


def _literal(text: str) -> str:
    if text.startswith("r"):
        return text[2:-1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])


@lru_cache(maxsize=512)
def compiled(rule: str) -> Expression | None:
    """The function that evaluates rule on {"self": …, "oldSelf": …}; None for a rule that can't be read."""
    try:
        return _Parser(rule).parse()
    except UnreadableError:
        return None


def check(value: Any, old: Any, schema: Schema, path: str) -> list[Cause]:
    """The causes of broken rules of schema and of all below it. old is the value before an update, or None."""
    found: list[Cause] = []
    if value is None:
        return found
    for rule in schema.get("x-kubernetes-validations") or ():
        found += _check_rule(rule, value, old, path)
    if isinstance(value, dict):
        for key, item in value.items():
            child = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
            if isinstance(child, dict):
                before = old.get(key) if isinstance(old, dict) else None
                found += check(item, before, child, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            found += check(item, None, schema["items"], f"{path}[{index}]")
    return found


def _check_rule(rule: dict[str, Any], value: Any, old: Any, path: str) -> list[Cause]:
    text = rule.get("rule", "")
    is_transition = re.search(r"\boldSelf\b", text) is not None
    if is_transition and old is None and not rule.get("optionalOldSelf"):
        return []
    expression = compiled(text)
    if expression is None:
        return []
    scope = {"self": value, "oldSelf": old}
    reason = rule.get("reason") or "FieldValueInvalid"
    where = path + rule.get("fieldPath", "") if path else rule.get("fieldPath", "").removeprefix(".") or "<nil>"
    try:
        if expression(scope) is True:
            return []
    except EvaluationError as error:
        return [Cause("FieldValueInvalid", f"Invalid value: {text} evaluation error: {error}", where)]
    message = rule.get("message") or _message(rule, scope) or f"failed rule: {text.strip()}"
    label = {"FieldValueForbidden": "Forbidden", "FieldValueRequired": "Required value"}.get(reason, "Invalid value")
    return [Cause(reason, f"{label}: {message}", where)]


def _message(rule: dict[str, Any], scope: Scope) -> str:
    expression = compiled(rule.get("messageExpression") or "''")
    try:
        return str(expression(scope)) if expression is not None else ""
    except EvaluationError:
        return ""
