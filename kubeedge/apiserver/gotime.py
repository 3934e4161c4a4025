"""RFC 3339 times as the API reads and writes them, durations as kubectl shows them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_TIME = re.compile(r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9})\d*)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
# The elements of the layout in order, for the words of a real server about the first that doesn't match.
_ELEMENTS = (
    ("2006", r"\d{4}"),
    ("-", "-"),
    ("01", r"\d{2}"),
    ("-", "-"),
    ("02", r"\d{2}"),
    ("T", "T"),
    ("15", r"\d{2}"),
    (":", ":"),
    ("04", r"\d{2}"),
    (":", ":"),
    ("05", r"\d{2}"),
    ("Z07:00", r"(?:[.,]\d+)?(?:Z|[+-]\d{2}:\d{2})"),
)
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


class TimeError(ValueError):
    """A text that is no RFC 3339 time."""


def parse_time(text: str, micro: bool = False) -> datetime:
    """The moment that text names. Raises TimeError with the server's words."""
    layout = _MICRO_LAYOUT if micro else _LAYOUT
    match = _TIME.fullmatch(text)
    if match is None:
        position = 0
        for element, pattern in _ELEMENTS:
            part = re.compile(pattern, re.ASCII).match(text, position)
            if part is None:
                raise TimeError(f'parsing time "{text}" as "{layout}": cannot parse "{text[position:]}" as "{element}"')
            position = part.end()
        raise TimeError(f'parsing time "{text}": extra text: "{text[position:]}"')
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    offset = UTC
    if zone != "Z":
        sign = -1 if zone[0] == "-" else 1
        offset = timezone(sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:])))
    try:
        microsecond = int((fraction or "").ljust(6, "0")[:6])
        return datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), microsecond, tzinfo=offset
        )
    except ValueError as error:
        element = str(error).partition(" ")[0]
        raise TimeError(f'parsing time "{text}": {element} out of range') from None


def canonical_time(text: str, micro: bool = False) -> str:
    """text in UTC with whole seconds, or with six digits of microseconds. Raises TimeError."""
    if len(text) == (27 if micro else 20) and text[-1] == "Z" and "," not in text and _TIME.fullmatch(text):
        try:
            # Of times in this form it only has to be known whether there is such a day and hour.
            datetime.fromisoformat(text[:-1])
        except ValueError:
            pass
        else:
            return text
    return format_time(parse_time(text, micro), micro)


def format_time(moment: datetime, micro: bool = False) -> str:
    """`2026-01-31T12:00:00Z`, or with microseconds `2026-01-31T12:00:00.000000Z`."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def seconds(text: str | None) -> float:
    """Unix time of a time of the API; 0 for an absent one."""
    return parse_time(text).timestamp() if text else 0.0


def human_duration(duration_s: float) -> str:
    """A duration in at most two units, as tables show ages: `5s`, `3m20s`, `5h12m`, `2d3h`, `400d`, `2y35d`."""
    s = int(duration_s)
    if s < -1:
        return "<invalid>"
    if s < 0:  # clocks of two machines may differ a little
        return "0s"
    if s < 120:
        return f"{s}s"
    minutes = s // 60
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if hours < 365 * 24 * 2:
        return f"{days}d"
    years = days // 365
    if hours < 365 * 24 * 8:
        return f"{years}y{days % 365}d" if days % 365 else f"{years}y"
    return f"{years}y"


def age(text: str | None, now_s: float) -> str:
    """How long ago, `<unknown>` when absent."""
    return human_duration(now_s - seconds(text)) if text else "<unknown>"
