"""The part of JSONPath that columns and scales of custom kinds use: `.a.b[0]['c\\.d'][?(@.type=="Ready")].status`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

_STEP = re.compile(
    r"""\.?\[\?\(\s*@(?P<filter>(?:\.[\w\-]+)+)\s*(?P<op>==|!=)\s*(?P<quote>['"]?)(?P<value>[^'"\)]*)(?P=quote)\s*\)\]"""
    r"""|\.?\[(?P<index>-?\d+|\*)\]"""
    r"""|\.?\[(?P<q>['"])(?P<key>.*?)(?P=q)\]"""
    r"""|\.(?P<name>(?:\\.|[^.\[\\])+)"""
)


class _Step(NamedTuple):
    kind: str
    """`key`, `index`, `all` or `filter`."""
    key: str = ""
    position: int = 0
    path: tuple[str, ...] = ()
    wanted: str = ""
    equal: bool = True


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[_Step, ...]:
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = f".{text}"
    steps, position = [], 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"cannot read JSONPath {path!r} at {text[position:]!r}")
        position = match.end()
        if match["filter"]:
            keys = tuple(match["filter"].strip(".").split("."))
            steps.append(_Step("filter", path=keys, wanted=match["value"], equal=match["op"] == "=="))
        elif match["index"] == "*":
            steps.append(_Step("all"))
        elif match["index"]:
            steps.append(_Step("index", position=int(match["index"])))
        else:
            key = match["key"] if match["key"] is not None else match["name"]
            steps.append(
                _Step("all") if key == "*" and match["name"] else _Step("key", key=re.sub(r"\\(.)", r"\1", key))
            )
    return tuple(steps)


def _below(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _take(value: Any, step: _Step) -> list[Any]:
    if step.kind == "key":
        return [value[step.key]] if isinstance(value, dict) and step.key in value else []
    if step.kind == "all":
        return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if step.kind == "index":
        return value[step.position :][:1] if -len(value) <= step.position < len(value) else []
    return [item for item in value if (str(_below(item, step.path)) == step.wanted) is step.equal]


def find(document: Any, path: str) -> list[Any]:
    """The values that path names in document. Raises ValueError for a path that can't be read."""
    values = [document]
    for step in _steps(path):
        values = [found for value in values for found in _take(value, step)]
    return values


def is_readable(path: str) -> bool:
    """Whether find() understands path."""
    try:
        _steps(path)
    except ValueError:
        return False
    return True
