"""The envelope of the cloud-edge link: scanned for header and route, its content left as bytes (spec 01 §1)."""

from __future__ import annotations

from typing import Final

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

import orjson

from kubeedge._speedups.scan import ScanError, Scanner

# Room for the head of an envelope that is written in one go.
_PLAIN_BYTES: Final = 1024
if not cython.compiled:
    # Only the compiled build writes there.
    _plain = bytearray()


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
    if cython.compiled:
        # Nearly all heads are short and need no escapes: written straight into one place they take a third of the time.
        size = _plain_head(_plain, message, resource or message.resource)
        if size > 0:
            return b"".join((_plain[:size], message.content, b"}\n"))
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


def _plain_head(target: bytearray, message: Message, resource: str) -> int:
    """Write what stands before the content to target; return its size, -1 when it needs escapes or more room.

    Only the compiled build calls this and what is below it.
    """
    size = _member(target, 0, b'{"header":{"msg_id":"', message.id)
    size = _member(target, size, b',"parent_msg_id":"', message.parent_id)
    size = _bytes(target, size, b',"timestamp":')
    size = _bytes(target, size, str(message.timestamp_ms).encode())
    size = _member(target, size, b',"resourceversion":"', message.resource_version)
    size = start = _bytes(target, size, b'},"route":')
    size = _member(target, size, b',"source":"', message.source)
    size = _member(target, size, b',"destination":"', message.destination)
    size = _member(target, size, b',"group":"', message.group)
    size = _member(target, size, b',"operation":"', message.operation)
    size = _member(target, size, b',"resource":"', resource)
    if size == start:
        size = _bytes(target, size, b"{")
    elif size > 0:
        # In place of the comma before the first member.
        target[start] = 123
    return _bytes(target, size, b'},"content":')


def _member(target: bytearray, pos: int, name: bytes, text: str) -> int:
    """Write a member and return where the next one goes; nothing when text is empty, unless it is the id."""
    if cython.compiled:
        if pos > 0 and not text:
            return pos
        pos = _bytes(target, pos, name)
        if pos < 0 or pos + len(text) >= _PLAIN_BYTES:
            return -1
        for char in text:
            if not 32 <= char <= 126 or char in (34, 92):
                return -1
            target[pos] = char
            pos += 1
        target[pos] = 34
        return pos + 1
    return -1


def _bytes(target: bytearray, pos: int, data: bytes) -> int:
    """Write data at pos, which is -1 after a failure, and return where it ends."""
    if pos < 0 or pos + len(data) > _PLAIN_BYTES:
        return -1
    for byte in data:
        target[pos] = byte
        pos += 1
    return pos


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
    ids = []
    if not cython.compiled:
        digits = random.hex()
        for i in range(0, len(digits), 32):
            d = digits[i : i + 32]
            ids.append(f"{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-{d[20:]}")
    else:
        source = random
        hexadecimal = b"0123456789abcdef"
        last = source + len(random) - 16
        while source <= last:
            pos = 0
            for j in range(16):
                if j in (4, 6, 8, 10):
                    _plain[pos] = 45
                    pos += 1
                _plain[pos] = hexadecimal[source[j] >> 4]
                _plain[pos + 1] = hexadecimal[source[j] & 15]
                pos += 2
            # Version and variant.
            _plain[14] = 52
            _plain[19] = 97
            ids.append(_plain[:36].decode("ascii"))
            source += 16
    return ids
