"""What tests say of objects of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_ready(found: dict[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def has_phase(phase: str) -> Callable[[dict[str, Any]], object]:
    return lambda found: found.get("status", {}).get("phase") == phase


def first(found: dict[str, Any]) -> dict[str, Any]:
    """The status of the first container."""
    statuses: list[dict[str, Any]] = found.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0]


def waits_for(reason: str) -> Callable[[dict[str, Any]], object]:
    return lambda found: first(found).get("state", {}).get("waiting", {}).get("reason") == reason


def sh(script: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", script], **fields}
