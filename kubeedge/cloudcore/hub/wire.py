"""What cloudcore and its workers say to each other: the records of _speedups.records, by verb."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE
from kubeedge._speedups.records import Record, RecordError, pack
from kubeedge.cloudcore.hub.outbox import Delivery, SyncRef
from kubeedge.message import Message

# A message in its longest form, escaped once more than it came, and what stands around it.
MAX_RECORD: Final = 2 * DEFAULT_MAX_MESSAGE + (1 << 20)


class Up(IntEnum):
    """Verbs of a worker. The first number of those about a session is the session's."""

    CONNECTIONS = 1
    """How many connections there are, with those that have no session yet. numbers: count."""
    ASK = 2
    """May this node have a session? texts: node, address of the peer."""
    ENDED = 3
    """A session is gone."""
    MESSAGE = 4
    """A message for somebody behind the gate; detail is its kind (routing.upstream)."""
    ACK = 5
    """A node has what a delivery says. detail and texts as in OFFER, without the frame."""
    METRICS = 6
    """What counters rose by since the last such record, which is also a sign of life. tail: JSON."""


class Down(IntEnum):
    """Verbs of cloudcore. numbers are those of sessions."""

    SETTINGS = 1
    """The first record. tail: JSON."""
    ADMIT = 2
    """The node that was asked for may have its session."""
    REFUSE = 3
    """It may not. texts: reason; detail: 1 when that is for now."""
    SEND = 4
    """A message that needs no acknowledgement, for each of the sessions. tail: its frame."""
    OFFER = 5
    """A reliable message for each of the sessions. tail: its frame."""
    CLOSE = 6
    """End a session. numbers: session, close code; texts: reason."""
    LIMIT = 7
    """Accept while there are fewer connections than that. numbers: limit."""


_IS_FINAL: Final = 1
_HAS_SYNC: Final = 2
_DELIVERY_TEXTS: Final = 11


def pack_delivery(verb: Up | Down, numbers: list[int], delivery: Delivery, framed: bytes = b"") -> bytes:
    """Return the record of a delivery to all of numbers, or of the acknowledgement of one."""
    sync, message = delivery.sync, delivery.message
    return pack(
        verb,
        (_IS_FINAL if delivery.is_final else 0) | (_HAS_SYNC if sync is not None else 0),
        numbers,
        (
            message.id,
            message.operation,
            message.source,
            delivery.resource,
            delivery.key,
            delivery.version,
            delivery.api_version,
            delivery.kind,
            delivery.name,
            "" if sync is None else sync.namespace,
            "" if sync is None else sync.uid,
        ),
        framed,
    )


def unpack_delivery(record: Record, node: str) -> Delivery:
    """Return the delivery that pack_delivery() put in, for that node. Raises RecordError when there is none."""
    if len(record.texts) != _DELIVERY_TEXTS:
        raise RecordError(f"{len(record.texts)} texts are no delivery")
    id_, operation, source, resource, key, version, api_version, kind, name, namespace, uid = record.texts
    return Delivery(
        Message(id_, "", 0, "", source, "", operation, "", b""),
        resource,
        key,
        SyncRef(node, namespace, uid) if record.detail & _HAS_SYNC else None,
        version,
        is_final=record.detail & _IS_FINAL != 0,
        api_version=api_version,
        kind=kind,
        name=name,
        framed=record.tail,
    )


def text_of(record: Record, count: int = 1) -> str:
    """Return the first text of a record that has count texts. Raises RecordError."""
    if len(record.texts) != count:
        raise RecordError(f"{len(record.texts)} texts instead of {count}")
    text: str = record.texts[0]
    return text
