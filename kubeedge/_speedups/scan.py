"""A scanner over JSON text: finds members and values, holds the grammar, builds nothing (RFC 8259)."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

import orjson

if TYPE_CHECKING:
    from json import JSONDecoder

# Deepest nesting of a value. It is what orjson reads, so what passes here can be parsed later.
MAX_DEPTH = 1024

_STRING = re.compile(rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*+)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1


class ScanError(ValueError):
    """The text breaks the grammar, or a value has another type than asked for. offset is its position in bytes."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


class Scanner:
    """A position in JSON text. start and stop delimit the value passed last.

    Methods raise ScanError; the offset is that of the key or value that is wrong.
    """

    __slots__ = (
        "_bytes",
        "_end",
        "_is_first",
        "_is_plain",
        "_key",
        "_key_size",
        "_key_text",
        "data",
        "pos",
        "start",
        "stop",
    )

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._bytes = data
        self._end = len(data)
        self._is_first = False
        # Cleared by a string that has escapes.
        self._is_plain = True
        self._key = b""
        self._key_size = 0
        self._key_text = b""
        self.pos = 0
        self.start = 0
        self.stop = 0

    def peek(self) -> int:
        """Go to the next byte that is no white space and return it; -1 at the end of the text."""
        self.pos = self._space_end(self.pos)
        return self._bytes[self.pos] if self.pos < self._end else -1

    def enter_object(self, what: str) -> bool:
        """Step into the object that stands here; False when null stands here, which is then passed.

        what names the value in the error for anything else.
        """
        byte = self.peek()
        if byte == 123:  # {
            self.pos += 1
            self._is_first = True
            return True
        if byte == 110:  # n
            self.skip()
            return False
        self._check_value()
        raise ScanError(f"{what} is no object", self.pos)

    def next_member(self) -> bool:
        """Go to the value of the object's next member; False, and behind the object, after the last one."""
        byte = self.peek()
        if byte == 125:  # }
            self.pos += 1
            self._is_first = False
            return False
        if self._is_first:
            self._is_first = False
        elif byte == 44:  # ,
            self.pos += 1
        else:
            raise ScanError("comma or end of object expected", self.pos)
        self._pass_key()
        return True

    def is_key(self, name: bytes) -> bool:
        """Tell whether the key of this member is name."""
        if cython.compiled:
            # Compared in place: nine keys a message would be nine objects.
            if self._key_size != len(name):
                return False
            wanted = name
            i = 0
            while i < self._key_size and self._key[i] == wanted[i]:
                i += 1
            return i == self._key_size
        else:
            return self._key == name

    def fold_key(self) -> None:
        """Let is_key compare as Go compares names of fields: escapes resolved, case folded (spec 01 §1.1)."""
        self._key_text = fold(self._key[: self._key_size])
        self._key = self._key_text
        self._key_size = len(self._key_text)

    def key(self) -> str:
        """Return the key of this member as text, unless it has been folded."""
        token = self._key[: self._key_size]
        return unquote(b'"' + token + b'"') if b"\\" in token else token.decode("utf-8", "replace")

    def value(self) -> bytes:
        """Return the value that was passed last."""
        return self._bytes[self.start : self.stop]

    def skip(self) -> None:
        """Pass the value that stands here."""
        self.peek()
        stop = self._value_end(self.pos)
        if stop < 0:
            raise ScanError("no JSON value", ~stop)
        self.start = self.pos
        self.stop = self.pos = stop

    def text(self, default: str, what: str) -> str:
        """Pass the string that stands here and return it; default for null, as Go leaves the field alone."""
        byte = self.peek()
        if byte != 34:  # "
            if byte == 110:
                self.skip()
                return default
            self._check_value()
            raise ScanError(f"{what} is no string", self.pos)
        self._is_plain = True
        self.skip()
        if self._is_plain:
            return self._bytes[self.start + 1 : self.stop - 1].decode("utf-8", "replace")
        return unquote(self._bytes[self.start : self.stop])

    def integer(self, default: int, what: str) -> int:
        """Pass the number that stands here and return it, which must be an integer of 64 bits; default for null."""
        if self.peek() == 110:
            self.skip()
            return default
        self.skip()
        if cython.compiled:
            # The usual case, up to 18 digits, without an object for the token.
            number = 0
            pos = self.start
            while pos < self.stop and self.stop - self.start < 19 and 48 <= self._bytes[pos] <= 57:
                number = number * 10 + (self._bytes[pos] - 48)
                pos += 1
            if pos == self.stop:
                return number
        token = self._bytes[self.start : self.stop]
        if len(token) > 20 or _INTEGER.fullmatch(token) is None:
            raise ScanError(f"{what} is no integer", self.start)
        exact = int(token)
        if not _INT64_MIN <= exact <= _INT64_MAX:
            raise ScanError(f"{what} does not fit 64 bits", self.start)
        return exact

    def boolean(self, what: str) -> None:
        """Pass the true, false or null that stands here."""
        byte = self.peek()
        self.skip()
        if byte not in (116, 102, 110):
            raise ScanError(f"{what} is no boolean", self.start)

    def _check_value(self) -> None:
        """Raise unless some JSON value stands here: bad grammar is reported before a wrong type."""
        stop = self._value_end(self.pos)
        if stop < 0:
            raise ScanError("no JSON value", ~stop)

    def _pass_key(self) -> None:
        self.peek()
        start = self.pos
        stop = self._string_end(start)
        if stop < 0:
            raise ScanError("key expected", start)
        self._key_size = stop - start - 2
        if cython.compiled:
            self._key = self._bytes + start + 1
        else:
            self._key = self.data[start + 1 : stop - 1]
        self.pos = stop
        if self.peek() != 58:  # :
            raise ScanError("colon expected", self.pos)
        self.pos += 1

    def _space_end(self, pos: int) -> int:
        """Return the offset of the first byte from pos on that is no white space."""
        while pos < self._end:
            byte = self._bytes[pos]
            if byte > 32 or byte not in (32, 10, 13, 9):
                break
            pos += 1
        return pos

    def _string_end(self, pos: int) -> int:
        """Return the offset behind the string at pos, ~pos when there is none."""
        if cython.compiled:
            start = pos
            end = self._end
            if pos >= end or self._bytes[pos] != 34:
                return ~start
            pos += 1
            while pos < end:
                byte = self._bytes[pos]
                if byte == 34:
                    return pos + 1
                if byte < 32:
                    return ~start
                pos += 1
                if byte == 92:  # \
                    self._is_plain = False
                    if pos >= end:
                        return ~start
                    byte = self._bytes[pos]
                    pos += 1
                    if byte == 117:  # u
                        if pos + 4 > end:
                            return ~start
                        for i in range(4):
                            byte = self._bytes[pos + i] | 32
                            if not (48 <= byte <= 57 or 97 <= byte <= 102) or self._bytes[pos + i] < 48:
                                return ~start
                        pos += 4
                    elif byte not in (34, 92, 47, 98, 102, 110, 114, 116):
                        return ~start
            return ~start
        else:
            match = _STRING.match(self.data, pos)
            if match is None:
                return ~pos
            self._is_plain = b"\\" not in match[0]
            return match.end()

    def _number_end(self, pos: int) -> int:
        """Return the offset behind the number at pos, ~pos when there is none."""
        if cython.compiled:
            start = pos
            end = self._end
            if pos < end and self._bytes[pos] == 45:  # -
                pos += 1
            if pos >= end or not 48 <= self._bytes[pos] <= 57:
                return ~start
            if self._bytes[pos] == 48:
                pos += 1
            else:
                while pos < end and 48 <= self._bytes[pos] <= 57:
                    pos += 1
            if pos + 1 < end and self._bytes[pos] == 46 and 48 <= self._bytes[pos + 1] <= 57:
                pos += 2
                while pos < end and 48 <= self._bytes[pos] <= 57:
                    pos += 1
            if pos + 1 < end and self._bytes[pos] | 32 == 101:  # e
                i = pos + 1
                if self._bytes[i] == 43 or self._bytes[i] == 45:
                    i += 1
                if i < end and 48 <= self._bytes[i] <= 57:
                    pos = i + 1
                    while pos < end and 48 <= self._bytes[pos] <= 57:
                        pos += 1
            return pos
        else:
            match = _NUMBER.match(self.data, pos)
            return ~pos if match is None else match.end()

    def _scalar_end(self, pos: int) -> int:
        """Return the offset behind the number or literal at pos, ~pos when there is none."""
        if pos < self._end:
            byte = self._bytes[pos]
            if byte == 116:
                return pos + 4 if self.data.startswith(b"true", pos) else ~pos
            if byte == 110:
                return pos + 4 if self.data.startswith(b"null", pos) else ~pos
            if byte == 102:
                return pos + 5 if self.data.startswith(b"false", pos) else ~pos
        return self._number_end(pos)

    def _value_end(self, pos: int) -> int:
        """Return the offset behind the value at pos, or ~offset of the token that breaks the grammar."""
        depth = 0
        if not cython.compiled:
            quick = self._quick_end(pos)
            if quick > 0:
                return quick
            openers = bytearray(MAX_DEPTH)
        while True:
            # A value is due.
            byte = self._bytes[pos] if pos < self._end else 0
            if byte == 34:
                pos = self._string_end(pos)
            elif byte in (123, 91):  # { [
                if depth == MAX_DEPTH:
                    return ~pos
                openers[depth] = byte
                pos = self._space_end(pos + 1)
                if pos < self._end and self._bytes[pos] == byte + 2:  # } ]
                    pos += 1
                else:
                    depth += 1
                    if byte == 123:
                        pos = self._key_end(pos)
                        if pos < 0:
                            return pos
                    continue
            else:
                pos = self._scalar_end(pos)
            if pos < 0:
                return pos
            # Behind a value: close containers, or go on to the next value.
            while depth:
                opener = openers[depth - 1]
                pos = self._space_end(pos)
                byte = self._bytes[pos] if pos < self._end else 0
                if byte == 44:
                    pos = self._space_end(pos + 1)
                    if opener == 123:
                        pos = self._key_end(pos)
                        if pos < 0:
                            return pos
                    break
                if byte != opener + 2:
                    return ~pos
                depth -= 1
                pos += 1
            else:
                return pos

    def _quick_end(self, pos: int) -> int:
        """Return where the object or array at pos ends, found by the json module's scanner in C; 0 when in doubt.

        Only of the plain build, where it is ten times as fast as the walk; the walk decides what is wrong and where.
        """
        if self._bytes[pos : pos + 1] not in (b"{", b"[") or self.data.count(b"[") + self.data.count(b"{") > MAX_DEPTH:
            return 0
        try:
            _, end = _decoder().raw_decode(self.data[pos:].decode("ascii"))
        except (ValueError, RecursionError):
            return 0
        return pos + end

    def _key_end(self, pos: int) -> int:
        """Return the offset of the value whose key stands at pos, or ~offset of what is wrong."""
        pos = self._string_end(pos)
        if pos < 0:
            return pos
        pos = self._space_end(pos)
        if pos >= self._end or self._bytes[pos] != 58:  # :
            return ~pos
        return self._space_end(pos + 1)


@functools.cache
def _decoder() -> JSONDecoder:
    from json import JSONDecoder

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    # Neither NaN nor numbers of any length are built: only the end of the value is asked for.
    return JSONDecoder(parse_constant=refuse, parse_float=len, parse_int=len)


def unquote(token: bytes) -> str:
    """Return the text of a JSON string given with its quotes, of which the grammar has been checked.

    Surrogates that stand alone become U+FFFD, as Go reads them.
    """
    if b"\\" not in token:
        return token[1 : len(token) - 1].decode("utf-8", "replace")
    try:
        text: str = orjson.loads(token)
    except orjson.JSONDecodeError:
        # Only here: what orjson refuses and Go accepts.
        import json

        text = _LONE_SURROGATE.sub("\ufffd", json.loads(token.decode("utf-8", "replace")))
    return text


def fold(key: bytes) -> bytes:
    """Return a member's key in the form in which Go compares names of fields: escapes resolved, case folded.

    Go folds by Unicode, so the Kelvin sign is a k and the long s an s (spec 01 §1.1).
    """
    text = unquote(b'"' + key + b'"').lower()
    return text.replace("\u017f", "s").encode("utf-8", "replace")


def value_end(data: bytes, start: int = 0) -> int:
    """Return the offset behind the JSON value that begins at start or after white space there. Raises ScanError."""
    scanner = Scanner(data)
    scanner.pos = start
    scanner.skip()
    return scanner.pos
