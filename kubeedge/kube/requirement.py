"""One requirement of a selector, on a label or a field of an object (`NodeSelectorRequirement`, `matchExpressions`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def is_integer(text: str) -> bool:
    """Tell whether text is a number that `Gt` and `Lt` can compare."""
    return _INTEGER.fullmatch(text) is not None


def is_met(operator: str, value: str | None, values: Sequence[str]) -> bool:
    """Tell whether value meets operator with values; value is None where the object has no such label.

    What has no value is never `In`, always `NotIn`; an operator that does not exist is never met.
    """
    match operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or len(values) != 1 or not is_integer(value) or not is_integer(values[0]):
                return False
            number, bound = int(value), int(values[0])
            return number > bound if operator == "Gt" else number < bound
    return False
