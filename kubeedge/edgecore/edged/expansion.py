"""Expansion of `$(NAME)` in commands, arguments and environment values (spec 05 §5.3, §5.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace references to known names; `$$(NAME)` gives `$(NAME)`, an unknown name stays as it is."""

    def replacement(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return values.get(match.group(2), match.group(0))

    return _REFERENCE.sub(replacement, text)


def expand_strictly(text: str, values: Mapping[str, str]) -> str:
    """Expand, but raise KeyError(name) for an unknown name: a path must not be made from a half."""
    for match in _REFERENCE.finditer(text):
        if match.group(1) != "$" and match.group(2) not in values:
            raise KeyError(match.group(2))
    return expand(text, values)
