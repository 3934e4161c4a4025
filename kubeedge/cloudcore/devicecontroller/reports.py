"""What nodes report of their devices, read from their messages (spec 04 §2.5, §3.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeedge.message import EnvelopeError, Message, content_bytes


class MalformedReportError(ValueError):
    """The content of a report is none."""


class _Metadata(msgspec.Struct):
    timestamp: int | None = None


class _Value(msgspec.Struct):
    value: str | None = None
    metadata: _Metadata | None = None


class _Type(msgspec.Struct):
    type: str = ""


class _Twin(msgspec.Struct):
    expected: _Value | None = None
    actual: _Value | None = None
    metadata: _Type | None = None


class _TwinReport(msgspec.Struct):
    twin: dict[str, _Twin | None]


class _State(msgspec.Struct, rename="camel"):
    state: str = ""
    last_online_time: str = ""


class _StateReport(msgspec.Struct):
    device: _State


class _GoStateReport(msgspec.Struct, rename={"device": "Device"}):
    device: _State


_twin_report = msgspec.json.Decoder(_TwinReport)
_state_report = msgspec.json.Decoder(_StateReport)
_go_state_report = msgspec.json.Decoder(_GoStateReport)

# As a twin property stands in DeviceStatus: value and, where there is any, metadata.
Side = dict[str, Any]


@dataclass(slots=True)
class Report:
    """News of one device: sides of its properties by name, and its state. The later of two is laid over the earlier."""

    reported: dict[str, Side] = field(default_factory=dict)
    observed: dict[str, Side] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)

    def add(self, later: Report) -> None:
        """Take over what a later report says."""
        self.reported.update(later.reported)
        self.observed.update(later.observed)
        self.state.update(later.state)


def read_twins(message: Message) -> Report:
    """Read a message `…/twin/edge_updated`; twins that were deleted say nothing. Raises MalformedReportError."""
    content = _content(message)
    try:
        twins = _twin_report.decode(content).twin
    except msgspec.DecodeError as error:
        raise MalformedReportError(f"twin report: {error}") from None
    report = Report()
    for name, twin in twins.items():
        if twin is None:
            continue
        for value, sides in ((twin.actual, report.reported), (twin.expected, report.observed)):
            if value is not None and value.value is not None:
                sides[name] = _side(value, twin.metadata)
    return report


def read_state(message: Message) -> Report:
    """Read a message `…/state/update`, whose key `device` Go edges may write large. Raises MalformedReportError."""
    content = _content(message)
    try:
        state = _state_report.decode(content).device
    except msgspec.DecodeError as error:
        try:
            state = _go_state_report.decode(content).device
        except msgspec.DecodeError:
            raise MalformedReportError(f"state report: {error}") from None
    found = {"state": state.state, "lastOnlineTime": state.last_online_time}
    return Report(state={key: value for key, value in found.items() if value})


def _content(message: Message) -> bytes:
    try:
        return content_bytes(message)
    except EnvelopeError as error:
        raise MalformedReportError(str(error)) from None


def _side(value: _Value, type_: _Type | None) -> Side:
    metadata: dict[str, str] = {}
    if value.metadata is not None:
        metadata["timestamp"] = str(value.metadata.timestamp or 0)
    if type_ is not None:
        metadata["type"] = type_.type
    side: Side = {"value": value.value}
    if metadata:
        side["metadata"] = metadata
    return side


def merged(twins: list[dict[str, Any]], report: Report, properties: set[str]) -> list[dict[str, Any]]:
    """Return the twins of a DeviceStatus with a report laid over them, only those of properties that the device has.

    Upstream loses the first value of each property (quirk Q1).
    """
    result = {twin["propertyName"]: dict(twin) for twin in twins if isinstance(twin, dict) and twin.get("propertyName")}
    for key, sides in (("reported", report.reported), ("observedDesired", report.observed)):
        for name, side in sides.items():
            entry = result.setdefault(
                name, {"propertyName": name, "reported": {"value": ""}, "observedDesired": {"value": ""}}
            )
            entry[key] = side
    return [twin for name, twin in result.items() if name in properties]
