"""Points in time as the API writes them: RFC 3339 in UTC, whole seconds or microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

D = TypeVar("D")


def timestamp(unix_s: float) -> str:
    """Return Unix time as metav1.Time, cut to whole seconds: `2026-08-01T10:00:00Z`."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(unix_s: float) -> str:
    """Return Unix time as metav1.MicroTime: `2026-08-01T10:00:00.123456Z`."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix_time(text: str | None, default: D) -> float | D:
    """Return the Unix time of a timestamp; default when there is none or it is no timestamp at all."""
    if not text:
        return default
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return default
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()
