"""The envelope of the cloud-edge link: scanned for header and route, its content left as bytes (spec 01 §1)."""

from __future__ import annotations

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

import orjson

from kubeedge._speedups.scan import ScanError, Scanner


class EnvelopeError(ValueError):
    """An envelope that cannot be read.

    offset is the position in bytes of what is wrong; message_id is the id of the envelope when that much was read.
    """

    def __init__(self, reason: str, offset: int, message_id: str = "") -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset
        self.message_id = message_id


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
    """Read the envelope at the start of data; what follows it is ignored. Raises EnvelopeError.

    As in Go names of fields are matched without regard to case, unknown fields are passed over, null leaves a field
    as it is, the last of several wins, and a wrong type is an error (spec 01 §1.1, §2.1.3).
    """
    message = _empty()
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise EnvelopeError("envelope is no UTF-8", error.start) from None
    scan = Scanner(data)
    try:
        if scan.enter_object("envelope"):
            while scan.next_member():
                if not _read_member(scan, message):
                    scan.fold_key()
                    if not _read_member(scan, message):
                        scan.skip()
    except ScanError as error:
        raise EnvelopeError(error.reason, error.offset, message.id) from None
    return message


def _empty() -> Message:
    # Past the constructor, whose arguments would be packed into a tuple: it saves a quarter of decode.
    message = Message.__new__(Message)
    message.id = message.parent_id = message.resource_version = message.source = message.destination = ""
    message.group = message.operation = message.resource = ""
    message.timestamp_ms = 0
    message.content = b"null"
    return message


def _read_member(scan: Scanner, message: Message) -> bool:
    """Pass the value of a member of that name; False, and nothing passed, when the name is unknown."""
    if scan.is_key(b"header"):
        if scan.enter_object("header"):
            while scan.next_member():
                if not _read_header(scan, message):
                    scan.fold_key()
                    if not _read_header(scan, message):
                        scan.skip()
    elif scan.is_key(b"route"):
        if scan.enter_object("route"):
            while scan.next_member():
                if not _read_route(scan, message):
                    scan.fold_key()
                    if not _read_route(scan, message):
                        scan.skip()
    elif scan.is_key(b"content"):
        scan.skip()
        message.content = scan.value()
    else:
        return False
    return True


def _read_header(scan: Scanner, message: Message) -> bool:
    if scan.is_key(b"msg_id"):
        message.id = scan.text(message.id, "msg_id")
    elif scan.is_key(b"parent_msg_id"):
        message.parent_id = scan.text(message.parent_id, "parent_msg_id")
    elif scan.is_key(b"timestamp"):
        message.timestamp_ms = scan.integer(message.timestamp_ms, "timestamp")
    elif scan.is_key(b"resourceversion"):
        message.resource_version = scan.text(message.resource_version, "resourceversion")
    elif scan.is_key(b"sync"):
        scan.boolean("sync")
    elif scan.is_key(b"type"):
        scan.text("", "type")
    else:
        return False
    return True


def _read_route(scan: Scanner, message: Message) -> bool:
    if scan.is_key(b"source"):
        message.source = scan.text(message.source, "source")
    elif scan.is_key(b"group"):
        message.group = scan.text(message.group, "group")
    elif scan.is_key(b"operation"):
        message.operation = scan.text(message.operation, "operation")
    elif scan.is_key(b"resource"):
        message.resource = scan.text(message.resource, "resource")
    elif scan.is_key(b"destination"):
        message.destination = scan.text(message.destination, "destination")
    else:
        return False
    return True


def encode(message: Message, resource: str = "") -> bytes:
    """Write the envelope of message, ending in a newline as the Go side does; resource stands in for its own if given.

    Keys stand in Go's order, empty ones are left out (spec 01 §1.1). Surrogates that stand alone become U+FFFD.
    """
    head = f'{{"header":{{"msg_id":{_quote(message.id)}'
    if message.parent_id:
        head += f',"parent_msg_id":{_quote(message.parent_id)}'
    head += f',"timestamp":{message.timestamp_ms}'
    if message.resource_version:
        head += f',"resourceversion":{_quote(message.resource_version)}'
    route = ""
    if message.source:
        route += f',"source":{_quote(message.source)}'
    if message.destination:
        route += f',"destination":{_quote(message.destination)}'
    if message.group:
        route += f',"group":{_quote(message.group)}'
    if message.operation:
        route += f',"operation":{_quote(message.operation)}'
    if resource or message.resource:
        route += f',"resource":{_quote(resource or message.resource)}'
    head += f'}},"route":{{{route[1:]}}},"content":'
    return b"".join((head.encode(), message.content, b"}\n"))


def _quote(text: str) -> str:
    # Nearly all are plain; the look saves building a bytes object and decoding it again.
    if cython.compiled:
        is_plain = True
        for char in text:
            if not 32 <= char <= 126 or char in (34, 92):
                is_plain = False
                break
    else:
        is_plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    if is_plain:
        return f'"{text}"'
    try:
        return orjson.dumps(text).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).decode()


def message_ids(random: bytes) -> list[str]:
    """Make a message id of each 16 random bytes: a UUID of version 4, variant a (spec 01 §1.1, RFC 9562 §5.4)."""
    digits = random.hex()
    ids = []
    for i in range(0, len(digits), 32):
        d = digits[i : i + 32]
        ids.append(f"{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-{d[20:]}")
    return ids
