"""MQTT 3.1.1 packets out of what arrives, in pieces of any size. Pure state: bytes in, calls out."""

from __future__ import annotations

from typing import Protocol

# A publication larger than this is not for a node's memory: it is acknowledged and thrown away as it comes.
MAX_PACKET_BYTES = 16 << 20
# What of such a packet is read nevertheless: length, topic and id.
HEAD_BYTES = 5 + 2 + 65_535 + 2

_PUBLISH = 0x30
_PUBACK = 0x40
# The two bits of the quality in the first byte of PUBLISH, and the one of QoS 1.
_QUALITY = 0x06
_QUALITY_1 = 0x02


class MalformedError(ValueError):
    """The peer does not speak MQTT; the connection cannot go on."""


class Listener(Protocol):
    """Who is told what arrives."""

    def publication(self, topic: str, payload: bytes, id_: bytes) -> None:
        """Take a publication; id_ is two bytes at QoS 1 and empty at QoS 0."""

    def refused(self, reason: str, id_: bytes) -> None:
        """Hear of a publication that cannot be taken."""

    def acknowledged(self, number: int) -> None:
        """Take the acknowledgement of a publication of ours."""

    def packet(self, kind: int, body: bytes) -> None:
        """Take any other packet: its first byte, and what follows its length."""


class PacketReader:
    """Cuts what is fed to it into packets, and takes PUBLISH and PUBACK apart."""

    def __init__(self, listener: Listener, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self._listener = listener
        self._max_packet_bytes = max_packet_bytes
        self._rest = bytearray()
        # Bytes of the packet at the start of _rest, as far as they are wanted; 0 while its length is not known.
        self._wanted = 0
        # Bytes of a packet that are still to come and not wanted.
        self._skip = 0

    def feed(self, data: bytes) -> int:
        """Take what has arrived; return how many publications were in it. Raises MalformedError."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return 0
            data = bytes(self._rest)
            self._rest.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> int:
        position = publications = 0
        size = len(data)
        self._wanted = 0
        while size - position >= 2:
            kind = data[position]
            body = position + 2
            length = data[position + 1]
            if length > 127:
                body, length = _length(data, position + 1)
                if not body:
                    break
            end = body + length
            if end > size:
                self._wanted = end - position
                if self._wanted > self._max_packet_bytes:
                    self._wanted = min(self._wanted, HEAD_BYTES)
                    if size - position >= self._wanted:
                        self._refuse_large(kind, data, body)
                        self._skip = end - size
                        return publications
                break
            if kind & 0xF0 == _PUBLISH:
                publications += 1
                self._publication(kind, data, body, end)
            elif kind == _PUBACK and length == 2:
                self._listener.acknowledged(data[body] << 8 | data[body + 1])
            else:
                self._listener.packet(kind, data[body:end])
            position = end
        if position < size:
            self._rest += data[position:]
        return publications

    def _publication(self, kind: int, data: bytes, body: int, end: int) -> None:
        start = body + 2
        topic_end = start + (data[body] << 8 | data[body + 1]) if start <= end else end
        quality = kind & _QUALITY
        payload = topic_end + 2 if quality else topic_end
        if payload > end or start > end:
            raise MalformedError("publication is shorter than its topic")
        if quality > _QUALITY_1:
            raise MalformedError("publication at a quality that was not asked for")
        try:
            topic = str(data[start:topic_end], "utf-8")
        except UnicodeDecodeError:
            self._listener.refused("topic is no text", data[topic_end:payload])
            return
        self._listener.publication(topic, data[payload:end], data[topic_end:payload])

    def _refuse_large(self, kind: int, data: bytes, body: int) -> None:
        if kind & 0xF0 != _PUBLISH:
            raise MalformedError("packet is too large")
        at = body + 2 + (data[body] << 8 | data[body + 1])
        self._listener.refused("too large", data[at : at + 2] if kind & _QUALITY else b"")


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Read the remaining length at a position (MQTT 3.1.1 §2.2.3): where the body begins, and the length.

    The first is 0 when more bytes are needed. Raises MalformedError.
    """
    length = shift = 0
    for position in range(at, min(at + 4, len(data))):
        byte = data[position]
        length |= (byte & 127) << shift
        if byte < 128:
            return position + 1, length
        shift += 7
    if shift == 28:
        raise MalformedError("length of a packet is too long")
    return 0, 0
