"""The envelope of the cloud-edge link: scanned for header and route, its content left as bytes (spec 01 §1)."""

from __future__ import annotations

import orjson


class EnvelopeError(ValueError):
    """An envelope that cannot be read. offset is the position in bytes, as far as it is known."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Message:
    """One beehive message. content is JSON text; timestamp_ms is Unix time in milliseconds."""

    __slots__ = (
        "content",
        "destination",
        "group",
        "id",
        "operation",
        "parent_id",
        "resource",
        "resource_version",
        "source",
        "timestamp_ms",
    )

    def __init__(
        self,
        id: str,
        parent_id: str,
        timestamp_ms: int,
        resource_version: str,
        source: str,
        group: str,
        operation: str,
        resource: str,
        content: bytes,
        destination: str = "",
    ) -> None:
        self.id = id
        self.parent_id = parent_id
        self.timestamp_ms = timestamp_ms
        self.resource_version = resource_version
        self.source = source
        self.group = group
        self.operation = operation
        self.resource = resource
        self.content = content
        self.destination = destination

    def __repr__(self) -> str:
        return f"Message({self.id} {self.source} {self.operation} {self.resource})"


def decode(data: bytes) -> Message:
    """Read one envelope. Raises EnvelopeError."""
    try:
        envelope = orjson.loads(data)
        header, route = envelope.get("header") or {}, envelope.get("route") or {}
        return Message(
            header.get("msg_id", ""),
            header.get("parent_msg_id", ""),
            header.get("timestamp", 0),
            header.get("resourceversion", ""),
            route.get("source", ""),
            route.get("group", ""),
            route.get("operation", ""),
            route.get("resource", ""),
            orjson.dumps(envelope.get("content")),
            route.get("destination", ""),
        )
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise EnvelopeError(str(error), 0) from None


def encode(message: Message) -> bytes:
    """Write the envelope of message, ending in a newline as the Go side does."""
    header: dict[str, object] = {"msg_id": message.id}
    if message.parent_id:
        header["parent_msg_id"] = message.parent_id
    header["timestamp"] = message.timestamp_ms
    if message.resource_version:
        header["resourceversion"] = message.resource_version
    route = {
        key: value
        for key, value in (
            ("source", message.source),
            ("destination", message.destination),
            ("group", message.group),
            ("operation", message.operation),
            ("resource", message.resource),
        )
        if value
    }
    return (
        b'{"header":'
        + orjson.dumps(header)
        + b',"route":'
        + orjson.dumps(route)
        + b',"content":'
        + message.content
        + b"}\n"
    )
