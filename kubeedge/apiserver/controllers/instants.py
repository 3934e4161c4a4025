"""Points in time as the API writes them: RFC 3339 in UTC, whole seconds or microseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(now_s: float) -> str:
    """Return Unix time as metav1.Time: `2026-08-01T10:00:00Z`."""
    return datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(now_s: float) -> str:
    """Return Unix time as metav1.MicroTime: `2026-08-01T10:00:00.123456Z`."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix_time(text: str | None, default: float = 0.0) -> float:
    """Return the Unix time of a timestamp of the API; default when it is empty or no timestamp at all."""
    if not text:
        return default
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return default
