"""Rows of DeviceTwin's tables: devices made from them, and what a group of changes writes (spec 04 §3.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw
import orjson

from kubeedge._speedups.twin import Device, Side, Twin
from kubeedge.store.database import Database

log = logging.getLogger(__name__)

Statement = tuple[str, tuple[Any, ...]]

# Rows of twins that are read at once.
PAGE = 500

# A twin keeps its row; description and metadata have never had another content.
_UPDATE_TWIN = (
    "UPDATE device_twin SET expected=?,actual=?,expected_meta=?,actual_meta=?,expected_version=?,actual_version=?,"
    "optional=?,attr_type=? WHERE id=?"
)
_INSERT_TWIN = (
    "INSERT INTO device_twin (expected,actual,expected_meta,actual_meta,expected_version,actual_version,optional,"
    "attr_type,deviceid,name,description,metadata) VALUES (?,?,?,?,?,?,?,?,?,?,'','{}')"
)
_INSERT_MARK = "INSERT OR IGNORE INTO kubeedge_twin_unsent (device,name) VALUES (?,?)"
_DELETE_MARK = "DELETE FROM kubeedge_twin_unsent WHERE device=? AND name=?"


class Attribute:
    """An attribute of a device, a left-over of old clouds (spec 04 §3.9)."""

    __slots__ = ("is_optional", "type", "value")

    def __init__(self, value: str, is_optional: bool, type_: str) -> None:
        self.value = value
        self.is_optional = is_optional
        self.type = type_


class Loaded(NamedTuple):
    """What the database holds: devices by id, and the ids of those whose state the cloud may not have heard of."""

    devices: dict[str, Device]
    unsent_states: set[str]


def load(database: Database, device_id: str | None = None) -> Loaded:
    """Read all devices, or only the one of that id. Raises StoreError.

    What cannot be understood in a row is taken as absent and logged: another program may have written it.
    """
    devices: dict[str, Device] = {}
    unsent_states: set[str] = set()
    for id_, *texts in _select(database, "id,name,description,state,last_online FROM device", "id", device_id):
        devices[id_] = Device(id_, *(text or "" for text in texts))
    # Types are few: one object each, not one for each twin. Names of properties as well.
    shared: dict[str, str] = {}
    for row in _twin_rows(database, device_id):
        device = devices.get(row[0])
        if device is not None and row[1]:
            device.add(_twin(device.id, shared.setdefault(row[1], row[1]), row, shared))
    columns = "deviceid,name,value,optional,attr_type FROM device_attr"
    for id_, name, value, optional, type_ in _select(database, columns, "deviceid", device_id, " ORDER BY id"):
        device = devices.get(id_)
        if device is not None:
            if device.attributes is None:
                device.attributes = {}
            device.attributes[name] = Attribute(value or "", bool(optional), type_ or "")
    for id_, name in _select(database, "device,name FROM kubeedge_twin_unsent", "device", device_id):
        device = devices.get(id_)
        if device is None:
            continue
        if not name:
            unsent_states.add(id_)
        elif (twin := device.twins.get(name)) is not None:
            twin.mark()
    return Loaded(devices, unsent_states)


def _select(
    database: Database, columns: str, key: str, device_id: str | None, order: str = ""
) -> list[tuple[Any, ...]]:
    if device_id is None:
        return database.read(f"SELECT {columns}{order}")
    return database.read(f"SELECT {columns} WHERE {key}=?{order}", (device_id,))


def _twin_rows(database: Database, device_id: str | None) -> Iterator[tuple[Any, ...]]:
    """Give the rows of twins in the order of their ids, a page at a time: all at once would take what the twins do."""
    condition, bindings = ("", ()) if device_id is None else ("AND deviceid=?", (device_id,))
    sql = (
        "SELECT deviceid,name,expected,actual,expected_meta,actual_meta,expected_version,actual_version,optional,"
        f"attr_type,id FROM device_twin WHERE id>? {condition} ORDER BY id LIMIT {PAGE}"
    )
    last = -1
    while page := database.read(sql, (last, *bindings)):
        yield from page
        last = page[-1][-1]


def _twin(device_id: str, name: str, row: tuple[Any, ...], shared: dict[str, str]) -> Twin:
    _, _, expected, actual, expected_meta, actual_meta, expected_version, actual_version, optional, type_, id_ = row
    twin = Twin(device_id, name)
    twin.type = shared.setdefault(type_ or "", type_ or "")
    twin.is_optional = optional is None or bool(optional)
    twin.row = id_
    try:
        _fill(twin.expected, expected, expected_meta, expected_version)
        _fill(twin.actual, actual, actual_meta, actual_version)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        log.warning("row of a twin cannot be understood device=%s name=%s reason=%s", device_id, name, error)
    return twin


def _fill(side: Side, value: str | None, meta: str | None, version: str | None) -> None:
    if version:
        numbers = orjson.loads(version)
        side.cloud, side.edge = numbers.get("cloud", 0), numbers.get("edge", 0)
        side.has_version = True
    if meta:
        side.timestamp_ms = orjson.loads(meta).get("timestamp", 0)
    # Only the time tells an empty value from none (spec 04 Q26).
    if value or (value == "" and meta):
        side.value = value
        side.is_set = True


class Writing(NamedTuple):
    """What one transaction writes: statements in their order, then twins and marks. Made of plain values."""

    statements: Sequence[Statement]
    updates: Sequence[tuple[Any, ...]]
    inserts: Sequence[tuple[Any, ...]]
    marks: Sequence[tuple[str, str]]

    def write(self, connection: apsw.Connection) -> list[int]:
        """Write all of it and return the rows of the inserted twins; runs on the writer thread."""
        for sql, bindings in self.statements:
            connection.execute(sql, bindings)
        if self.updates:
            connection.executemany(_UPDATE_TWIN, self.updates)
        rows = []
        for bindings in self.inserts:
            connection.execute(_INSERT_TWIN, bindings)
            rows.append(connection.last_insert_rowid())
        if self.marks:
            connection.executemany(_INSERT_MARK, self.marks)
        return rows


def insert_device(device: Device) -> Statement:
    """Return what stores a new device."""
    columns = (device.id, device.name, device.description, device.state, device.last_online)
    return "INSERT OR REPLACE INTO device (id,name,description,state,last_online) VALUES (?,?,?,?,?)", columns


def update_state(device: Device) -> Statement:
    """Return what stores the state of a device."""
    return "UPDATE device SET state=?,last_online=? WHERE id=?", (device.state, device.last_online, device.id)


def delete_device(device_id: str) -> list[Statement]:
    """Return what removes a device and all that belongs to it."""
    return [
        ("DELETE FROM device WHERE id=?", (device_id,)),
        ("DELETE FROM device_attr WHERE deviceid=?", (device_id,)),
        ("DELETE FROM device_twin WHERE deviceid=?", (device_id,)),
        ("DELETE FROM kubeedge_twin_unsent WHERE device=?", (device_id,)),
    ]


def delete_attribute(device_id: str, name: str) -> Statement:
    """Return what removes an attribute."""
    return "DELETE FROM device_attr WHERE deviceid=? AND name=?", (device_id, name)


def replace_attribute(device_id: str, name: str, attribute: Attribute) -> list[Statement]:
    """Return what stores an attribute, of which there may be a row already."""
    columns = (device_id, name, attribute.value, int(attribute.is_optional), attribute.type)
    insert = (
        "INSERT INTO device_attr (deviceid,name,value,optional,attr_type,description,metadata)"
        " VALUES (?,?,?,?,?,'','{}')"
    )
    return [delete_attribute(device_id, name), (insert, columns)]


def delete_marks(marks: Sequence[tuple[str, str]], connection: apsw.Connection) -> None:
    """Forget that the cloud may not have heard of these twins and states (device, name)."""
    connection.executemany(_DELETE_MARK, marks)
