"""Requests to change the twins of a device: read without a dict on the way, and checked (spec 04 §3.4, §3.6)."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Final

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

import orjson

from kubeedge._speedups.scan import ScanError, Scanner

# The longest key and value that a client may send, in characters (spec 04 §3.6).
KEY_LIMIT: Final = 128
VALUE_LIMIT: Final = 512

# Types of values that are more than a name for a check: the one of twins without type, and the one of deleted twins.
STRING: Final = "string"
DELETED: Final = "deleted"

# What a client is told, in upstream's words (spec 04 §3.7).
NO_REQUEST: Final = "Unmarshal update request body failed, please check the request"
NO_TWIN: Final = "Update twin error, key:twin does not exist"
BAD_KEY: Final = (
    "The key of twin must only include upper or lowercase letters, number, english, and special letter "
    "- _ . , : / @ # and the length of key should be less than 128 bytes"
)
BAD_VALUE: Final = (
    "The value of twin must only include upper or lowercase letters, number, english, and special letter "
    "- _ . , : / @ # and the length of value should be less than 512 bytes"
)
NO_SYNC: Final = "unmarshal update request body failed, Please check the request"
NOT_INT: Final = "the value is not int or integer"
NOT_FLOAT: Final = "the value is not float"
NOT_BOOLEAN: Final = "the bool value must be true or false"
NO_TYPE: Final = "the value type is not allowed"

_INTEGER = re.compile("([+-]?)0*([0-9]{1,19})", re.ASCII)
_DIGITS = "[0-9](?:_?[0-9])*"
_HEX = "[0-9a-f](?:_?[0-9a-f])*"
# What Go's ParseFloat reads.
_FLOAT = re.compile(
    rf"[+-]?(?:inf|infinity|(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:e[+-]?{_DIGITS})?)|nan", re.IGNORECASE
)
_HEX_FLOAT = re.compile(rf"[+-]?0x(?:_?{_HEX}\.?(?:{_HEX})?|\.{_HEX})p[+-]?{_DIGITS}", re.IGNORECASE)
_PLAIN = re.compile(r"[a-zA-Z0-9_.,:/@#-]*")
_INT64 = 2**63
_name = attrgetter("name")


class RequestError(ValueError):
    """A request that cannot be read. event_id is the request's when that much could be read, else empty."""

    def __init__(self, reason: str, event_id: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.event_id = event_id


class Wanted:
    """What a request says of one twin. type is None when it has no metadata, versions are (cloud, edge)."""

    __slots__ = (
        "actual",
        "actual_version",
        "expected",
        "expected_version",
        "has_actual",
        "has_expected",
        "is_null",
        "name",
        "optional",
        "type",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_null = False
        self.has_expected = False
        self.has_actual = False
        self.expected: str | None = None
        self.actual: str | None = None
        # -1 when not given.
        self.optional = -1
        self.type: str | None = None
        self.expected_version: tuple[int, int] | None = None
        self.actual_version: tuple[int, int] | None = None


class Request:
    """A request to change twins, ordered by name."""

    __slots__ = ("event_id", "timestamp_ms", "twins")

    def __init__(self) -> None:
        self.event_id = ""
        self.timestamp_ms = 0
        self.twins: list[Wanted] = []


# Reading


def parse(payload: bytes, is_checked: bool = True) -> Request:
    """Read a request as Go does: names of fields in any case, unknown ones passed over. Raises RequestError.

    With is_checked keys and values may only hold the characters that upstream allows (spec 04 §3.6).
    """
    request = Request()
    twins: dict[str, Wanted] | None = None
    scan = Scanner(payload)
    try:
        if scan.enter_object("request"):
            while scan.next_member():
                if scan.is_key(b"twin"):
                    twins = _read_twins(scan, twins)
                elif not _read_base(scan, request):
                    scan.fold_key()
                    if scan.is_key(b"twin"):
                        twins = _read_twins(scan, twins)
                    elif not _read_base(scan, request):
                        scan.skip()
        if scan.peek() != -1:
            raise ScanError("text behind the request", scan.pos)
    except ScanError:
        raise RequestError(NO_REQUEST, request.event_id or event_id_of(payload)) from None
    if twins is None:
        raise RequestError(NO_TWIN, request.event_id)
    request.twins = list(twins.values())
    if len(request.twins) > 1:
        request.twins.sort(key=_name)
    for wanted in request.twins:
        if is_checked:
            if not wanted.name or len(wanted.name) > KEY_LIMIT or not _is_plain(wanted.name):
                raise RequestError(BAD_KEY, request.event_id)
            if not _is_fit(wanted.expected) or not _is_fit(wanted.actual):
                raise RequestError(BAD_VALUE, request.event_id)
        if (wanted.has_expected and wanted.expected is None) or (wanted.has_actual and wanted.actual is None):
            # Upstream's worker dies of it (spec 04 Q6).
            raise RequestError(NO_REQUEST, request.event_id)
    return request


def event_id_of(payload: bytes) -> str:
    """Return the event id of a request that is wrong elsewhere, empty when it has none (spec 04 Q3)."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return ""
    event_id = document.get("event_id") if isinstance(document, dict) else None
    return event_id if isinstance(event_id, str) else ""


def _read_base(scan: Scanner, request: Request) -> bool:
    if scan.is_key(b"event_id"):
        request.event_id = scan.text(request.event_id, "event_id")
    elif scan.is_key(b"timestamp"):
        request.timestamp_ms = scan.integer(request.timestamp_ms, "timestamp")
    else:
        return False
    return True


def _read_twins(scan: Scanner, twins: dict[str, Wanted] | None) -> dict[str, Wanted] | None:
    if not scan.enter_object("twin"):
        return None
    if twins is None:
        twins = {}
    while scan.next_member():
        wanted = Wanted(scan.key())
        if scan.enter_object("twin of a property"):
            while scan.next_member():
                if not _read_wanted(scan, wanted):
                    scan.fold_key()
                    if not _read_wanted(scan, wanted):
                        scan.skip()
        else:
            wanted.is_null = True
        twins[wanted.name] = wanted
    return twins


def _read_wanted(scan: Scanner, wanted: Wanted) -> bool:
    if scan.is_key(b"actual"):
        wanted.has_actual = scan.enter_object("actual")
        wanted.actual = _read_value(scan, wanted.actual) if wanted.has_actual else None
    elif scan.is_key(b"expected"):
        wanted.has_expected = scan.enter_object("expected")
        wanted.expected = _read_value(scan, wanted.expected) if wanted.has_expected else None
    elif scan.is_key(b"metadata"):
        wanted.type = _read_type(scan, wanted.type or "") if scan.enter_object("metadata") else None
    elif scan.is_key(b"optional"):
        first = scan.peek()
        scan.boolean("optional")
        wanted.optional = 1 if first == 116 else 0 if first == 102 else -1
    elif scan.is_key(b"expected_version"):
        wanted.expected_version = _read_version(scan, wanted.expected_version)
    elif scan.is_key(b"actual_version"):
        wanted.actual_version = _read_version(scan, wanted.actual_version)
    else:
        return False
    return True


def _read_value(scan: Scanner, value: str | None) -> str | None:
    while scan.next_member():
        if not (scan.is_key(b"value") or scan.is_key(b"metadata")):
            scan.fold_key()
        if scan.is_key(b"value"):
            if scan.peek() == 110:
                scan.skip()
                value = None
            else:
                value = scan.text("", "value")
        elif scan.is_key(b"metadata"):
            if scan.enter_object("metadata"):
                while scan.next_member():
                    if not scan.is_key(b"timestamp"):
                        scan.fold_key()
                    if scan.is_key(b"timestamp"):
                        scan.integer(0, "timestamp")
                    else:
                        scan.skip()
        else:
            scan.skip()
    return value


def _read_type(scan: Scanner, value_type: str) -> str:
    while scan.next_member():
        if not scan.is_key(b"type"):
            scan.fold_key()
        if scan.is_key(b"type"):
            value_type = scan.text(value_type, "type")
        else:
            scan.skip()
    return value_type


def _read_version(scan: Scanner, version: tuple[int, int] | None) -> tuple[int, int] | None:
    if not scan.enter_object("version"):
        return None
    cloud, edge = version or (0, 0)
    while scan.next_member():
        if not (scan.is_key(b"cloud") or scan.is_key(b"edge")):
            scan.fold_key()
        if scan.is_key(b"cloud"):
            cloud = scan.integer(cloud, "cloud")
        elif scan.is_key(b"edge"):
            edge = scan.integer(edge, "edge")
        else:
            scan.skip()
    return cloud, edge


# Checking


def _is_plain(text: str) -> bool:
    """Tell whether text holds no other characters than upstream allows in keys and values."""
    if cython.compiled:
        for char in text:
            if 97 <= char <= 122 or 44 <= char <= 58 or 64 <= char <= 90 or char in (95, 35):
                continue
            return False
        return True
    else:
        return _PLAIN.fullmatch(text) is not None


def _is_fit(value: str | None) -> bool:
    return value is None or (len(value) <= VALUE_LIMIT and _is_plain(value))


def check_value(value_type: str, value: str) -> str:
    """Return what is wrong with value as one of that type, empty when nothing is (spec 04 §3.6).

    `double` is taken as `float`, which upstream refuses (spec 04 Q12).
    """
    if value_type in (STRING, "", DELETED):
        return ""
    if value_type in ("float", "double"):
        return "" if _is_decimal(value) or _is_float(value) else NOT_FLOAT
    if value_type in ("int", "integer"):
        return "" if (_is_decimal(value) and len(value) < 19 and "." not in value) or _is_integer(value) else NOT_INT
    if value_type == "boolean":
        return "" if value in ("true", "false") else NOT_BOOLEAN
    return NO_TYPE


def _is_decimal(text: str) -> bool:
    """Tell whether text is a number as nearly all are written; False means that a closer look is needed."""
    if cython.compiled:
        digits = points = 0
        for char in text:
            if 48 <= char <= 57:
                digits += 1
            elif char == 46 and digits and not points:
                points = digits
            elif char != 45 or digits:
                return False
        return points < digits < 300 and len(text) <= digits + (2 if points else 1)
    else:
        return False


def _is_integer(text: str) -> bool:
    match = _INTEGER.fullmatch(text)
    return match is not None and -_INT64 <= int(match[1] + match[2]) < _INT64


def _is_float(text: str) -> bool:
    if _FLOAT.fullmatch(text) is not None:
        return "n" in text or "N" in text or abs(float(text.replace("_", ""))) != float("inf")
    if _HEX_FLOAT.fullmatch(text) is None:
        return False
    try:
        float.fromhex(text.replace("_", ""))
    except OverflowError:
        return False
    return True
