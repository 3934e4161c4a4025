"""Records between two processes of one program: a verb, small numbers, texts, and bytes that nobody looks into.

    u32 size of what follows | u8 verb | u8 detail | u16 texts | u32 numbers | u32 bytes of all texts together
    numbers, u32 each | lengths of the texts, u32 each | the texts, UTF-8 | the tail

All little-endian. Lengths of texts are in characters, so that all of them are encoded and decoded at once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

from kubeedge._speedups.envelope import Message

HEAD: Final = 16
MESSAGE_TEXTS: Final = 9
# Most records have one number, and those from cloudcore no texts: these stand for the lists that they would need.
_NO_NUMBERS: list[int] = []
_NO_TEXTS: list[str] = []


class RecordError(ValueError):
    """Bytes that are no record: the other end is not what it should be."""


class Record:
    """One record as it came. number is its first one, 0 without any, and more are those after it; not to be changed."""

    __slots__ = ("detail", "more", "number", "tail", "texts", "verb")

    def __init__(self) -> None:
        self.verb = 0
        self.detail = 0
        self.number = 0
        self.more = _NO_NUMBERS
        self.texts = _NO_TEXTS
        self.tail = b""

    def __repr__(self) -> str:
        numbers = [self.number, *self.more]
        return f"Record({self.verb} {self.detail} {numbers} {len(self.texts)} texts {len(self.tail)} bytes)"

    def message(self) -> Message:
        """Return the message that pack_message() put in. Raises RecordError when this is another record."""
        texts = self.texts
        if len(texts) != MESSAGE_TEXTS:
            raise RecordError(f"{len(texts)} texts are no message")
        # Past the constructor, as decode() does.
        message = Message.__new__(Message)
        message.id = texts[0]
        message.parent_id = texts[1]
        message.resource_version = texts[2]
        message.source = texts[3]
        message.group = texts[4]
        message.operation = texts[5]
        message.resource = texts[6]
        message.destination = texts[7]
        message.content = self.tail
        try:
            message.timestamp_ms = int(texts[8])
        except (ValueError, OverflowError):
            raise RecordError("time of a message is no number") from None
        return message


def pack(
    verb: int, detail: int = 0, numbers: Sequence[int] = (), texts: tuple[str, ...] = (), tail: bytes = b""
) -> bytes:
    """Return the bytes of one record: verb and detail below 2^8, numbers below 2^32."""
    joined = _joined(texts) if texts else b""
    text_count = len(texts)
    number_count = len(numbers)
    joined_size = len(joined)
    size = HEAD - 4 + 4 * (number_count + text_count) + joined_size + len(tail)
    what = verb | detail << 8 | text_count << 16
    if not cython.compiled:
        lengths = [len(text) for text in texts]
        head = struct.pack(
            f"<{4 + number_count + text_count}I", size, what, number_count, joined_size, *numbers, *lengths
        )
    else:
        head = bytes(HEAD + 4 * (number_count + text_count))
        target = head
        _put(target, size)
        _put(target + 4, what)
        _put(target + 8, number_count)
        _put(target + 12, joined_size)
        target += HEAD
        for number in numbers:
            _put(target, number)
            target += 4
        for text in texts:
            _put(target, len(text))
            target += 4
    return b"".join((head, joined, tail))


def _joined(texts: tuple[str, ...]) -> bytes:
    text = "".join(texts)
    # A peer's JSON may hold halves of surrogate pairs; they pass as they are. Asking first saves looking up a codec.
    return text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")


def pack_message(verb: int, detail: int, number: int, message: Message, resource: str) -> bytes:
    """Return the record of a message, with that resource instead of its own and with number as its only number."""
    texts = (
        message.id,
        message.parent_id,
        message.resource_version,
        message.source,
        message.group,
        message.operation,
        resource,
        message.destination,
        str(message.timestamp_ms),
    )
    return pack(verb, detail, (number,), texts, message.content)


class RecordReader:
    """Takes records apart, however the bytes are cut. Memory held is what has arrived of one record."""

    __slots__ = ("_held", "_max_record", "_need")

    def __init__(self, max_record: int) -> None:
        """max_record in bytes is the longest record that is taken."""
        self._max_record = max_record
        self._held = bytearray()
        self._need = 4

    def feed(self, data: bytearray, size: int) -> list[Record]:
        """Take the first size bytes of data; return the records that they complete, in order. data may be reused.

        Raises RecordError; what is fed afterwards means nothing.
        """
        records: list[Record] = []
        if self._held:
            self._held += data[:size]
            size = len(self._held)
            if size < self._need:
                return records
            data = self._held
            self._held = bytearray()
        source = data
        pos = 0
        self._need = 4
        while size - pos >= 4:
            # In two steps: the sum does not fit into the type of the first.
            length = _u32(source, pos)
            length += 4
            if length < HEAD or length > self._max_record:
                raise RecordError(f"record of {length} bytes")
            if size - pos < length:
                self._need = length
                break
            records.append(_read(source, pos, length))
            pos += length
        if pos < size:
            self._held += data[pos:size]
        return records


def _read(source: bytearray, pos: int, length: int) -> Record:
    what = _u32(source, pos + 4)
    number_count = _u32(source, pos + 8)
    joined_size = _u32(source, pos + 12)
    text_count = what >> 16
    begin = HEAD + 4 * (number_count + text_count)
    if begin + joined_size > length:
        raise RecordError(f"record of {length} bytes for {number_count} numbers and {joined_size} bytes of text")
    # Past the constructor: it saves a tenth of a microsecond.
    record = Record.__new__(Record)
    record.verb = what & 0xFF
    record.detail = what >> 8 & 0xFF
    record.number = 0
    record.more = _NO_NUMBERS
    record.texts = _NO_TEXTS
    start = pos + HEAD
    if number_count:
        record.number = _u32(source, start)
        if number_count > 1:
            record.more = [_u32(source, at) for at in range(start + 4, start + 4 * number_count, 4)]
    start += 4 * number_count
    begin += pos
    if text_count:
        record.texts = _texts(source, start, text_count, begin, joined_size)
    elif joined_size:
        raise RecordError(f"{joined_size} bytes of no text")
    record.tail = bytes(source[begin + joined_size : pos + length])
    return record


def _texts(source: bytearray, pos: int, count: int, begin: int, size: int) -> list[str]:
    """Return count texts whose lengths stand at pos, and they together in size bytes at begin."""
    try:
        joined = source[begin : begin + size].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise RecordError("text of a record is no UTF-8") from None
    texts: list[str] = []
    total = len(joined)
    start = 0
    for _ in range(count):
        end = start + _u32(source, pos)
        if end > total:
            raise RecordError(f"texts of more than {total} characters")
        texts.append(joined[start:end])
        start = end
        pos += 4
    if start != total:
        raise RecordError(f"texts of {start} characters in {total}")
    return texts


def _u32(source: bytearray, pos: int) -> int:
    return source[pos] | source[pos + 1] << 8 | source[pos + 2] << 16 | source[pos + 3] << 24


def _put(target: bytearray, value: int) -> None:
    """Write a number at the start of target; only the compiled build calls it."""
    target[0] = value & 0xFF
    target[1] = value >> 8 & 0xFF
    target[2] = value >> 16 & 0xFF
    target[3] = value >> 24 & 0xFF
