"""Checks of what a node sent, where it has to be read and not only passed on."""

from __future__ import annotations

from typing import Any

from kubeedge.cloudcore.edgecontroller.request import BadRequestError


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Return value, a JSON object; null counts as an empty one. Raises BadRequestError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequestError(f"{what} is no JSON object")
    return value


def mappings(value: Any, what: str) -> list[dict[str, Any]]:
    """Return value, a list of JSON objects; null counts as an empty one. Raises BadRequestError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequestError(f"{what} is no list")
    for item in value:
        mapping(item, f"an item of {what}")
        if item is None:
            raise BadRequestError(f"an item of {what} is null")
    return value


def text(value: Any) -> str:
    """Return value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""
