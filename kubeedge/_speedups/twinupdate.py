"""A request applied to the twins of a device: versions, what is answered, what the cloud has to hear (spec 04 §3.6)."""

from __future__ import annotations

from sys import intern
from typing import Final

from kubeedge._speedups.twin import ACTUAL, EXPECTED, OPTIONAL, TYPE, WHOLE, Device, Side, Twin, quote
from kubeedge._speedups.twinrequest import DELETED, NO_SYNC, STRING, Request, Wanted, check_value

# A value that is reported again unchanged goes to the cloud this often (spec 04 Q24).
REPEAT_MS: Final = 60_000


class Changes:
    """What a group of requests has changed and the database has not: rows of twins, and new marks for the cloud."""

    __slots__ = ("dirty", "marks")

    def __init__(self) -> None:
        self.dirty: list[Twin] = []
        self.marks: list[Twin] = []


class Outcome:
    """What becomes of a request: reason says why it was refused, else the payloads to publish once it is stored.

    A payload is empty when there is none. has_news tells that the cloud has to hear of it.
    """

    __slots__ = ("delta", "document", "has_news", "reason", "result")

    def __init__(self) -> None:
        self.reason = ""
        self.result = b""
        self.document = b""
        self.delta = b""
        self.has_news = False


def report(device: Device, request: Request, now_ms: int, delta_id: str, changes: Changes) -> Outcome:
    """Apply an update that comes from the device or a client: always accepted, all or nothing (deal type 0).

    delta_id is the event id of the delta, if there will be one.
    """
    outcome = Outcome()
    for wanted in request.twins:
        reason = "" if wanted.is_null else _refusal(device.twins.get(wanted.name), wanted)
        if reason:
            outcome.reason = reason
            return outcome
    results = ""
    documents = ""
    for wanted in request.twins:
        twin = device.twins.get(wanted.name)
        last = "null"
        bits = 0
        is_news = True
        if wanted.is_null:
            if twin is None:
                documents += f',{quote(wanted.name)}:{{"last":null,"current":null}}'
                continue
            if not twin.is_optional:
                continue
            documents += twin.member(f'{{"last":{twin.entry(WHOLE, False)},"current":null}}')
            if twin.type == DELETED:
                continue
            _delete(twin)
            bits = WHOLE
            results += twin.member("null")
        else:
            if twin is None:
                twin = _added(device, wanted)
                bits = WHOLE
                _add_side(twin.expected, wanted.has_expected, wanted.expected, now_ms)
                _add_side(twin.actual, wanted.has_actual, wanted.actual, now_ms)
            else:
                if twin.type != DELETED:
                    last = twin.entry(WHOLE, False)
                is_news = False
                if wanted.has_expected:
                    bits = EXPECTED | OPTIONAL | TYPE
                    is_news = _set_side(twin.expected, wanted.expected, now_ms)
                if wanted.has_actual:
                    bits |= ACTUAL | OPTIONAL | TYPE
                    is_news = _set_side(twin.actual, wanted.actual, now_ms) or is_news
                if wanted.optional == 0 and twin.is_optional:
                    twin.is_optional = False
                    is_news = True
                    bits |= OPTIONAL
                if twin.type == DELETED:
                    twin.type = STRING if wanted.type is None else wanted.type
                    is_news = True
                    bits |= TYPE
                elif bits == 0 and (wanted.type is None or wanted.type == twin.type):
                    continue
            if twin.type == DELETED:
                documents += twin.member(f'{{"last":{last},"current":null}}')
            else:
                documents += twin.member(f'{{"last":{last},"current":{twin.entry(WHOLE, False)}}}')
                results += twin.member(twin.entry(bits, False))
        _note(twin, bits, is_news, now_ms, changes, outcome)
    outcome.result = device.document(request.event_id, now_ms, results)
    if documents:
        outcome.document = device.document(request.event_id, now_ms, documents)
    outcome.delta = device.delta_payload(delta_id, now_ms)
    return outcome


def sync(device: Device, request: Request, now_ms: int, delta_id: str, changes: Changes) -> Outcome:
    """Apply an update that comes from the cloud: only newer versions are taken (deal types 1 and 3).

    A twin that is refused for its version goes back to the cloud with the local value.
    """
    outcome = Outcome()
    documents = ""
    for wanted in request.twins:
        if wanted.is_null or wanted.type is None:
            # Upstream's worker dies of it (spec 04 Q6).
            outcome.reason = NO_SYNC
            return outcome
    for wanted in request.twins:
        twin = device.twins.get(wanted.name)
        last = "null"
        refused = 0
        is_changed = False
        if twin is None:
            if _is_addable(wanted):
                twin = _added(device, wanted)
                if wanted.has_expected or twin.type == DELETED:
                    _add_synced_side(twin.expected, wanted.expected, wanted.expected_version, now_ms)
                if wanted.has_actual or twin.type == DELETED:
                    _add_synced_side(twin.actual, wanted.actual, wanted.actual_version, now_ms)
                is_changed = True
        elif wanted.type == DELETED:
            if twin.type == DELETED:
                continue
            if _is_older(twin.expected, wanted.expected_version) or _is_older(twin.actual, wanted.actual_version):
                refused = WHOLE
            else:
                last = twin.entry(WHOLE, False)
                _take_version(twin.expected, wanted.expected_version)
                _take_version(twin.actual, wanted.actual_version)
                _clear(twin)
                is_changed = True
        else:
            if twin.type != DELETED:
                last = twin.entry(WHOLE, False)
            if wanted.has_expected and not (twin.expected.is_set and _is_wrong(twin, wanted, wanted.expected)):
                if wanted.expected_version is None or _is_older(twin.expected, wanted.expected_version):
                    refused = EXPECTED | OPTIONAL | TYPE
                else:
                    _take_version(twin.expected, wanted.expected_version)
                    _set_value(twin.expected, wanted.expected, now_ms)
                    is_changed = True
            if refused == 0 and wanted.has_actual and not _is_wrong(twin, wanted, wanted.actual):
                if wanted.actual_version is None or _is_older(twin.actual, wanted.actual_version):
                    refused = ACTUAL | OPTIONAL | TYPE
                else:
                    _take_version(twin.actual, wanted.actual_version)
                    _set_value(twin.actual, wanted.actual, now_ms)
                    is_changed = True
            if refused == 0:
                if wanted.optional == 0 and twin.is_optional:
                    twin.is_optional = False
                    is_changed = True
                if twin.type == DELETED and wanted.type is not None:
                    twin.type = wanted.type
                    is_changed = True
        if twin is None:
            continue
        if is_changed:
            current = "null" if twin.type == DELETED else twin.entry(WHOLE, False)
            documents += twin.member(f'{{"last":{last},"current":{current}}}')
            _touch(twin, changes)
        if refused:
            _note(twin, refused, True, now_ms, changes, outcome)
    if documents:
        outcome.document = device.document(request.event_id, now_ms, documents)
    outcome.delta = device.delta_payload(delta_id, now_ms)
    return outcome


def _refusal(twin: Twin | None, wanted: Wanted) -> str:
    """Return why the values of a report don't have the type that their twin has or shall have."""
    if twin is None or twin.type == DELETED:
        value_type = STRING if wanted.type is None else wanted.type
    else:
        value_type = twin.type
    reason = ""
    # Upstream doesn't look at an expected value where there was none.
    if wanted.expected is not None and (twin is None or twin.expected.is_set):
        reason = check_value(value_type, wanted.expected)
    if not reason and wanted.actual is not None:
        reason = check_value(value_type, wanted.actual)
    return reason


def _is_wrong(twin: Twin, wanted: Wanted, value: str | None) -> bool:
    value_type = (wanted.type or "") if twin.type == DELETED else twin.type
    return check_value(value_type, value or "") != ""


def _is_addable(wanted: Wanted) -> bool:
    """Tell whether a twin that the cloud knows can be made here: its values have versions and the right type."""
    for value, has_value, version in (
        (wanted.expected, wanted.has_expected, wanted.expected_version),
        (wanted.actual, wanted.has_actual, wanted.actual_version),
    ):
        if has_value and (
            version is None or version[0] < 0 or version[1] < 0 or check_value(wanted.type or "", value or "")
        ):
            return False
    return True


def _added(device: Device, wanted: Wanted) -> Twin:
    # Devices of one model have the same names and types: interned, they are there once.
    twin = Twin(device.id, intern(wanted.name))
    if wanted.type is not None:
        twin.type = intern(wanted.type)
    twin.is_optional = wanted.optional != 0
    device.add(twin)
    return twin


def _add_side(side: Side, is_given: bool, value: str | None, now_ms: int) -> None:
    if is_given:
        side.has_version = True
        side.edge += 1
        # An empty value is none to begin with, but one like any other later (spec 04 §3.8).
        if value:
            _set_value(side, value, now_ms)


def _add_synced_side(side: Side, value: str | None, version: tuple[int, int] | None, now_ms: int) -> None:
    _take_version(side, version)
    if value:
        _set_value(side, value, now_ms)


def _set_side(side: Side, value: str | None, now_ms: int) -> bool:
    """Give side a reported value; tell whether it is another one than before."""
    is_news = not side.is_set or side.value != value
    side.has_version = True
    side.edge += 1
    _set_value(side, value, now_ms)
    return is_news


def _set_value(side: Side, value: str | None, now_ms: int) -> None:
    side.value = value
    side.timestamp_ms = now_ms
    side.is_set = True


def _is_older(side: Side, version: tuple[int, int] | None) -> bool:
    """Tell whether version is older than what side has."""
    return version is not None and (side.cloud > version[0] or side.edge > version[1])


def _take_version(side: Side, version: tuple[int, int] | None) -> None:
    if version is not None:
        side.has_version = True
        side.cloud, side.edge = version


def _delete(twin: Twin) -> None:
    """Clear a twin for a client: its row stays, as its versions do."""
    twin.expected.edge += twin.expected.has_version
    twin.actual.edge += twin.actual.has_version
    _clear(twin)
    # A version 0/0, so that the cloud is told of one, as by upstream.
    twin.expected.has_version = True


def _clear(twin: Twin) -> None:
    _clear_side(twin.expected)
    _clear_side(twin.actual)
    twin.type = DELETED


def _clear_side(side: Side) -> None:
    side.is_set = side.is_set or side.has_version
    side.value = None
    side.timestamp_ms = -1


def _touch(twin: Twin, changes: Changes) -> None:
    if not twin.is_dirty:
        twin.is_dirty = True
        changes.dirty.append(twin)


def _note(twin: Twin, bits: int, is_news: bool, now_ms: int, changes: Changes, outcome: Outcome) -> None:
    """Note that a twin has to be stored and, unless it repeats itself too soon, that the cloud has to hear of it."""
    _touch(twin, changes)
    # The second report always goes up: upstream's cloud loses the first value of a property (spec 04 Q1, Q24).
    if is_news or now_ms - twin.sent_ms >= REPEAT_MS or now_ms < twin.sent_ms:
        outcome.has_news = True
        twin.unsent |= bits
        if not twin.is_marked:
            twin.is_marked = True
            changes.marks.append(twin)
    elif twin.unsent:
        twin.unsent |= bits
