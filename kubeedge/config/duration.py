"""Durations as Go writes them: `300ms`, `1m0s`, `-1.5h`."""

from __future__ import annotations

import re

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
# Go counts nanoseconds in 64 bits.
_LIMIT_NS = 2**63


class Duration(float):
    """A time span in seconds that reads and prints itself as Go does."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read Go's notation. Raises ValueError."""
        sign, rest = (text[:1], text[1:]) if text[:1] in ("-", "+") else ("", text)
        if rest == "0":
            return cls(0)
        nanoseconds = end = 0
        for part in _PART.finditer(rest):
            if part.start() != end:
                break
            end = part.end()
            whole, _, fraction = part[1].partition(".")
            # As in Go each part is cut to whole nanoseconds.
            nanoseconds += int(whole + fraction) * _NANOSECONDS[part[2]] // 10 ** len(fraction)
        if not rest or end != len(rest):
            raise ValueError(f"{text!r} is no duration such as 10s, 1m30s or 2h")
        if nanoseconds >= _LIMIT_NS:
            raise ValueError(f"{text!r} is longer than 290 years")
        return cls((-1 if sign == "-" else 1) * nanoseconds / 1e9)

    def __str__(self) -> str:
        nanoseconds = round(abs(self) * 1e9)
        if nanoseconds == 0:
            return "0s"
        sign = "-" if self < 0 else ""
        for unit in ("ns", "µs", "ms"):
            if nanoseconds < _NANOSECONDS[unit] * 1000:
                return f"{sign}{_decimal(nanoseconds, _NANOSECONDS[unit])}{unit}"
        minutes, below_minute = divmod(nanoseconds, _NANOSECONDS["m"])
        hours, minutes = divmod(minutes, 60)
        text = f"{_decimal(below_minute, _NANOSECONDS['s'])}s"
        if hours:
            return f"{sign}{hours}h{minutes}m{text}"
        return f"{sign}{minutes}m{text}" if minutes else sign + text

    __repr__ = __str__


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"
