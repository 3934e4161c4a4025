"""Units and words of time."""

from __future__ import annotations

NANOSECOND = 1_000_000_000


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
