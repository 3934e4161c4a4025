"""Values of the Common Expression Language: arithmetic, comparison, logic and the functions that rules may call."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

Scope = dict[str, Any]
Expression = Callable[[Scope], Any]


class EvaluationError(Exception):
    """An expression that has no value: no such key, wrong types, division by zero."""


_ORDERED: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((int, "int"), (float, "double"), (str, "string"), (list, "list"), (dict, "map")):
        if isinstance(value, kind):
            return name
    return "null_type"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def arithmetic(symbol: str, left: Any, right: Any) -> Any:
    if symbol == "+" and type(left) is type(right) and isinstance(left, (str, list)):
        return left + right
    if not (_number(left) and _number(right)):
        raise EvaluationError(f"no such overload: {_kind(left)} {symbol} {_kind(right)}")
    if symbol in "/%" and right == 0:
        raise EvaluationError("division by zero")
    if symbol == "/" and isinstance(left, int) and isinstance(right, int):
        return int(left / right)
    if symbol == "%":
        return left - right * int(left / right)
    return {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[symbol](left, right)


def _equal(left: Any, right: Any) -> bool:
    return bool(left == right) and (isinstance(left, bool) == isinstance(right, bool))


def compare(symbol: str, left: Any, right: Any) -> bool:
    if symbol == "==":
        return _equal(left, right)
    if symbol == "!=":
        return not _equal(left, right)
    if symbol == "in":
        if not isinstance(right, (list, dict)):
            raise EvaluationError("no such overload: in")
        return any(_equal(left, item) for item in right)
    if not ((_number(left) and _number(right)) or (isinstance(left, str) and isinstance(right, str))):
        raise EvaluationError(f"no such overload: {_kind(left)} {symbol} {_kind(right)}")
    ordered: Callable[[Any, Any], Any] = _ORDERED[symbol]
    return bool(ordered(left, right))


def logic(left: Expression, right: Expression, deciding: bool) -> Expression:
    """`&&` and `||`: a side that decides alone makes an error of the other side disappear."""

    def evaluate(scope: Scope) -> bool:
        failure: EvaluationError | None = None
        for side in (left, right):
            try:
                if side(scope) is deciding:
                    return bool(deciding)
            except EvaluationError as error:
                failure = error
        if failure is not None:
            raise failure
        return not deciding

    return evaluate


def select(value: Any, key: Any) -> Any:
    if isinstance(value, dict) and key in value:
        return value[key]
    if isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
        return value[key]
    raise EvaluationError(f"no such key: {key}")


def _size(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise EvaluationError("no such overload: size")
    return len(value)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise EvaluationError(f"cannot convert {value!r} to int") from None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "int": _whole,
    "uint": _whole,
    "double": float,
    "string": _text,
    "type": _kind,
    "duration": str,
}
METHODS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
    "matches": lambda value, pattern: re.search(pattern, value) is not None,
    "lowerAscii": str.lower,
    "upperAscii": str.upper,
    "trim": str.strip,
    "split": str.split,
    "join": lambda values, separator="": separator.join(values),
}
