"""Times in the forms that Kubernetes writes and reads."""

from __future__ import annotations

from datetime import UTC, datetime

NANOSECOND = 1_000_000_000


def rfc3339(seconds: float) -> str:
    """Unix time as `2026-08-01T10:00:00Z`, cut to whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Unix time as `2026-08-01T10:00:00.123456Z`, the form of a Lease."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix_time(text: str | None) -> float | None:
    """Read an RFC 3339 time; None where there is none or where it cannot be read."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def short_duration(seconds: float) -> str:
    """A duration in Kubernetes' words: `10s`, `1m20s`, `5m0s`, `1h0m0s`."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, seconds_left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds_left}s"
    if minutes:
        return f"{minutes}m{seconds_left}s"
    return f"{seconds_left}s"
