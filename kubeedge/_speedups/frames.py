"""WebSocket frames: bytes in, messages and control frames out, for both ends of a connection (RFC 6455 §5).

No I/O and no clock; randomness comes in as the masking key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

if TYPE_CHECKING:
    from collections.abc import Callable

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

# Close codes that this side sends (RFC 6455 §7.4.1).
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
# What is reported for a close frame without a code; never sent.
NO_CODE: Final = 1005

MAX_CONTROL_PAYLOAD: Final = 125
# Two bytes, eight of length, four of masking key.
MAX_HEAD: Final = 14
# A peer whose messages have no limit must not be able to fill our memory (spec 01 §2.1.3 asks for at least 32 MiB).
DEFAULT_MAX_MESSAGE: Final = 64 * 1024 * 1024
_KEY_BLOCK_BYTES: Final = 1024


class FrameReader:
    """Takes frames apart and puts messages together, however the bytes are cut.

    Feed it everything that arrives. After the first offence, or a close frame, it ignores what follows; failure_code is
    then the close code that the peer should get, and failure says why. Memory held is what has arrived of one message.
    """

    __slots__ = (
        "_body",
        "_done",
        "_final",
        "_have",
        "_head",
        "_is_server",
        "_key",
        "_left",
        "_max_message",
        "_message_opcode",
        "_opcode",
        "failure",
        "failure_code",
    )

    def __init__(self, is_server: bool, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        """is_server says which end this is: a server takes masked frames only, a client none. max_message in bytes."""
        self._is_server = is_server
        self._max_message = max_message
        self._head = b""
        self._key = b""
        # Of the present frame: bytes to come (-1 between frames) and bytes that came.
        self._left = -1
        self._have = 0
        self._opcode = 0
        self._final = False
        # Opcode of the message whose frames are being collected; 0 when there is none.
        self._message_opcode = 0
        self._body: bytearray | None = None
        self._done = False
        self.failure_code = 0
        self.failure = ""

    def feed(self, data: bytearray, size: int) -> list[tuple[int, bytes]]:
        """Take the first size bytes of data; return what they complete, in order, as (opcode, payload).

        The opcode is TEXT or BINARY for a whole message, else CLOSE, PING or PONG. Text is valid UTF-8. The payload
        of a close frame is empty or a valid code and reason; see close_reason(). data may be reused afterwards.
        """
        events: list[tuple[int, bytes]] = []
        source = data
        pos = 0
        while not self._done:
            # A message in one frame and nothing kept from before: done without objects for head and key, 0.4 us less.
            if cython.compiled and self._left < 0 and self._message_opcode == 0 and not self._head:
                stop = self._whole_message(source, pos, size, events)
                if stop > pos:
                    pos = stop
                    continue
                if self._done:
                    break
            if self._left < 0:
                pos = self._read_head(source, pos, size)
                if self._left < 0:
                    break
            take = size - pos
            if take > self._left:
                take = self._left
            elif take == 0 and self._left > 0:
                break
            is_whole = take == self._left and self._have == 0 and self._final
            if is_whole and self._opcode < CLOSE and self._message_opcode == 0:
                # The usual case, a message in one piece: straight from the buffer of the socket.
                payload = _unmasked(source, pos, take, self._key, 0)
                pos += take
                self._left = -1
                self._finish_message(events, self._opcode, payload)
                continue
            if self._opcode >= CLOSE:
                # Control frames have few bytes and may come between the frames of a message: they collect in _head.
                self._head += _unmasked(source, pos, take, self._key, self._have)
            else:
                if self._body is None:
                    self._body = bytearray()
                if self._message_opcode == 0:
                    self._message_opcode = self._opcode
                self._body += _unmasked(source, pos, take, self._key, self._have)
            pos += take
            self._have += take
            self._left -= take
            if self._left == 0:
                self._left = -1
                self._finish_frame(events)
        return events

    def _whole_message(self, source: bytearray, pos: int, size: int, events: list[tuple[int, bytes]]) -> int:
        """Take the frame at pos when it is a message of its own and all there; return where it ends, else pos.

        Only the compiled build calls this: everything else, and every offence, is for the general way.
        """
        if cython.compiled:
            start = pos + 2
            if size < start:
                return pos
            first = source[pos]
            second = source[pos + 1]
            if not 0x81 <= first <= 0x82 or (second & 0x80 != 0) != self._is_server:
                return pos
            length = second & 0x7F
            if length >= 126:
                stop = start + (2 if length == 126 else 8)
                # No message that is in the buffer needs more than four bytes of the eight.
                if size < stop or (stop - start == 8 and (source[start] | source[start + 1] | source[start + 2])):
                    return pos
                length = 0
                while start < stop:
                    length = length << 8 | source[start]
                    start += 1
            i = start
            if self._is_server:
                start += 4
            if length > size - start or length > self._max_message:
                return pos
            if self._is_server and length == 1:
                # Bytes objects of this length are shared by all.
                return pos
            payload = source[start : start + length]
            may_be_broken = _mask(payload, length, source + i, 0) if self._is_server else True
            if first == 0x81 and may_be_broken and not is_utf8(payload):
                self._fail(INVALID_TEXT, "text is no UTF-8")
                return pos
            events.append((first & 0x0F, payload))
            return start + length
        return pos

    def _read_head(self, source: bytearray, pos: int, size: int) -> int:
        """Read the head of a frame at pos, return where its payload begins; _left stays -1 when bytes are missing."""
        kept = len(self._head)
        stop = pos + MAX_HEAD - kept
        stop = min(stop, size)
        head = self._head + bytes(source[pos:stop])
        have = len(head)
        if have < 2:
            self._head = head
            return size
        first = head[0]
        second = head[1]
        self._check_head(first, second)
        if self._done:
            return size
        length = second & 0x7F
        need = 2
        if length == 126:
            need = 4
        elif length == 127:
            need = 10
        if have < need:
            self._head = head
            return size
        if need > 2:
            length = 0
            for i in range(2, need):
                # Every length above the limit is treated alike, so the sum need not exceed 63 bits.
                length = (length & 0x7FFFFFFFFFFFFF) << 8 | head[i]
            if need == 10 and head[2] & 0x80:
                length = 0x7FFFFFFFFFFFFFFF
        opcode = first & 0x0F
        if opcode < CLOSE and length > self._max_message - (0 if self._body is None else len(self._body)):
            self._fail(TOO_BIG, f"message of more than {self._max_message} bytes")
            return size
        if second & 0x80:
            if have < need + 4:
                self._head = head
                return size
            self._key = head[need : need + 4]
            need += 4
        self._head = b""
        self._opcode = opcode
        self._final = first & 0x80 != 0
        self._left = length
        self._have = 0
        return pos + need - kept

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            self._fail(PROTOCOL_ERROR, "reserved bits are set")
        elif opcode > PONG or BINARY < opcode < CLOSE:
            self._fail(PROTOCOL_ERROR, f"unknown opcode {opcode}")
        elif (second & 0x80 != 0) != self._is_server:
            self._fail(PROTOCOL_ERROR, "frame is not masked" if self._is_server else "frame is masked")
        elif opcode >= CLOSE:
            if not first & 0x80:
                self._fail(PROTOCOL_ERROR, "control frame is fragmented")
            elif second & 0x7F > MAX_CONTROL_PAYLOAD:
                self._fail(PROTOCOL_ERROR, "control frame is too long")
        elif opcode == CONTINUATION:
            if self._message_opcode == 0:
                self._fail(PROTOCOL_ERROR, "continuation of no message")
        elif self._message_opcode != 0:
            self._fail(PROTOCOL_ERROR, "new message inside a message")

    def _finish_frame(self, events: list[tuple[int, bytes]]) -> None:
        opcode = self._opcode
        if opcode < CLOSE:
            if self._final:
                payload = bytes(self._body or b"")
                opcode = self._message_opcode
                self._body = None
                self._message_opcode = 0
                self._finish_message(events, opcode, payload)
            return
        payload = self._head
        self._head = b""
        if opcode == CLOSE:
            self._check_close(payload)
            if self._done:
                return
            self._done = True
        events.append((opcode, payload))

    def _finish_message(self, events: list[tuple[int, bytes]], opcode: int, payload: bytes) -> None:
        if opcode == TEXT and not is_utf8(payload):
            self._fail(INVALID_TEXT, "text is no UTF-8")
            return
        events.append((opcode, payload))

    def _check_close(self, payload: bytes) -> None:
        if not payload:
            return
        if len(payload) == 1:
            self._fail(PROTOCOL_ERROR, "close frame with half a code")
            return
        code = payload[0] << 8 | payload[1]
        if not is_utf8(payload[2:]):
            self._fail(INVALID_TEXT, "close reason is no UTF-8")
        elif not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            self._fail(PROTOCOL_ERROR, f"close code {code}")

    def _fail(self, code: int, reason: str) -> None:
        self._done = True
        self._body = None
        self._head = b""
        self.failure_code = code
        self.failure = reason


class MaskingKeys:
    """Masking keys from a random source, in blocks: one call for each would cost more than the frame."""

    __slots__ = ("_block", "_random", "_used")

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """random gives that many bytes that nobody can foresee, such as os.urandom (RFC 6455 §10.3)."""
        self._random = random
        self._block = b""
        self._used = _KEY_BLOCK_BYTES

    def next(self) -> bytes:
        """Return 4 fresh bytes."""
        if self._used >= _KEY_BLOCK_BYTES:
            self._block = self._random(_KEY_BLOCK_BYTES)
            self._used = 0
        self._used += 4
        return self._block[self._used - 4 : self._used]


def frame(opcode: int, payload: bytes, key: bytes = b"", is_final: bool = True) -> bytes:
    """Return one frame. key is the masking key of a client, 4 bytes fresh from a random source; a server gives none."""
    size = len(payload)
    mask_bit = 0x80 if key else 0
    first = opcode | (0x80 if is_final else 0)
    if not cython.compiled:
        if size < 126:
            head = bytes((first, mask_bit | size))
        elif size < 65536:
            head = bytes((first, mask_bit | 126, size >> 8, size & 0xFF))
        else:
            head = bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")
        if not key:
            return head + payload
        return b"".join((head, key, masked(payload, key)))
    else:
        head[0] = first
        if size < 126:
            head[1] = mask_bit | size
            stop = 2
        else:
            stop = 4 if size < 65536 else 10
            head[1] = mask_bit | (126 if size < 65536 else 127)
            for i in range(2, stop):
                head[i] = size >> (stop - 1 - i) * 8 & 0xFF
        if not key:
            return head[:stop] + payload
        mask = key
        for i in range(4):
            head[stop + i] = mask[i]
        stop += 4
        out = head[:stop] + payload
        target = out
        _mask(target + stop, size, mask, 0)
        return out


def fragments(opcode: int, payload: bytes, size: int, key: bytes = b"") -> list[bytes]:
    """Return payload as one message in frames of at most size payload bytes, the way Go's library cuts it."""
    starts = range(0, len(payload), size) if payload else range(1)
    last = starts[len(starts) - 1]
    return [
        frame(CONTINUATION if start else opcode, payload[start : start + size], key, start == last) for start in starts
    ]


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame; the reason is cut to what a control frame holds (RFC 6455 §5.5.1)."""
    text = reason.encode("utf-8", "replace")[: MAX_CONTROL_PAYLOAD - 2]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode()


def close_reason(payload: bytes) -> tuple[int, str]:
    """Read the payload of a close frame: (code, reason), NO_CODE when it says nothing."""
    if len(payload) < 2:
        return NO_CODE, ""
    return payload[0] << 8 | payload[1], payload[2:].decode("utf-8", "replace")


def is_utf8(data: bytes) -> bool:
    """Tell whether data is valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def masked(payload: bytes, key: bytes) -> bytes:
    """Apply the 4-byte masking key to payload, which also takes it off (RFC 6455 §5.3)."""
    return _unmasked(bytearray(payload), 0, len(payload), key, 0)


def _unmasked(source: bytearray, pos: int, size: int, key: bytes, phase: int) -> bytes:
    """Return size bytes of source from pos with the mask taken off; phase is their offset in the payload."""
    if not cython.compiled:
        if not key:
            return bytes(source[pos : pos + size])
        # One operation on big integers is the fastest way to combine two strings in the interpreter.
        turn = phase & 3
        wide = ((key[turn:] + key[:turn]) * (size // 4 + 1))[:size]
        word = int.from_bytes(source[pos : pos + size], "little") ^ int.from_bytes(wide, "little")
        return word.to_bytes(size, "little")
    else:
        if not key:
            return source[pos : pos + size]
        mask = key
        if size == 1:
            # Bytes objects of this length are shared by all.
            byte = source[pos] ^ mask[phase & 3]
            return bytes((byte,))
        out = source[pos : pos + size]
        _mask(out, size, mask, phase)
        return out


def _mask(target: bytearray, size: int, key: bytes, phase: int) -> bool:
    """Combine target with key in place; tell whether that gave bytes above 127. Only the compiled build calls this."""
    seen = word = 0
    if cython.compiled:
        # Bytes up to a whole address, then words, which the C compiler turns into vector instructions, then the rest.
        i = 0
        while i < size and cython.cast(cython.size_t, target + i) & 7:
            target[i] ^= key[(phase + i) & 3]
            seen |= target[i]
            i += 1
        pattern = cython.cast(cython.p_uchar, cython.address(word))
        for j in range(8):
            pattern[j] = key[(phase + i + j) & 3]
        words = cython.cast(cython.p_ulonglong, target + i)
        whole = (size - i) >> 3
        for j in range(whole):
            words[j] ^= word
            seen |= words[j]
        i += whole << 3
        while i < size:
            target[i] ^= key[(phase + i) & 3]
            seen |= target[i]
            i += 1
        seen &= 0x8080808080808080
    return seen != 0
