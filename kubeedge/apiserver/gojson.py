"""JSON as a Go server sees it: the words for what is wrong with a document, and how Go prints values."""

from __future__ import annotations

import re
from typing import Any

import orjson

_SPACE = b" \t\r\n"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_NUMBER = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_HEX = b"0123456789abcdefABCDEF"

UNEXPECTED_END = "unexpected end of JSON input"


class _SyntaxError(Exception):
    pass


def syntax_error(data: bytes) -> str:
    """What a Go server says about a text that is no JSON document; "" when there is nothing wrong with it."""
    try:
        end = _value(data, _skip(data, 0), "looking for beginning of value")
        end = _skip(data, end)
        if end < len(data):
            _fail(data, end, "after top-level value")
    except _SyntaxError as error:
        return str(error)
    return ""


def _fail(data: bytes, at: int, context: str) -> None:
    if at >= len(data):
        raise _SyntaxError(UNEXPECTED_END)
    raise _SyntaxError(f"invalid character {_quote_char(data[at])} {context}")


def _quote_char(byte: int) -> str:
    character = chr(byte)
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    if byte in b"\a\b\f\n\r\t\v":
        return "'\\" + "abfnrtv"["\a\b\f\n\r\t\v".index(character)] + "'"
    if character == "\\":
        return r"'\\'"
    if byte < 0x20 or byte == 0x7F:
        return f"'\\x{byte:02x}'"
    return f"'\\u{byte:04x}'" if 0x80 <= byte < 0xA1 or byte == 0xAD else f"'{character}'"


def _skip(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _SPACE:
        at += 1
    return at


def _value(data: bytes, at: int, context: str) -> int:
    """The position after the value at at."""
    if at >= len(data):
        raise _SyntaxError(UNEXPECTED_END)
    first = data[at]
    if first == ord("{"):
        return _object(data, at + 1)
    if first == ord("["):
        return _array(data, at + 1)
    if first == ord('"'):
        return _string(data, at + 1)
    if first in _LITERALS:
        return _literal(data, at, _LITERALS[first])
    if first == ord("-") or ord("0") <= first <= ord("9"):
        match = _NUMBER.match(data, at)
        if match is None:
            _fail(data, at + 1, "in numeric literal")
            raise AssertionError
        return match.end()
    _fail(data, at, context)
    raise AssertionError


def _literal(data: bytes, at: int, word: bytes) -> int:
    for index in range(1, len(word)):
        if at + index >= len(data) or data[at + index] != word[index]:
            _fail(data, at + index, f"in literal {word.decode()} (expecting {_quote_char(word[index])})")
    return at + len(word)


def _string(data: bytes, at: int) -> int:
    while at < len(data):
        byte = data[at]
        if byte == ord('"'):
            return at + 1
        if byte < 0x20:
            _fail(data, at, "in string literal")
        if byte == ord("\\"):
            at += 1
            if at < len(data) and data[at] not in b'"\\/bfnrtu':
                _fail(data, at, "in string escape code")
            if at < len(data) and data[at] == ord("u"):
                for index in range(at + 1, at + 5):
                    if index >= len(data) or data[index] not in _HEX:
                        _fail(data, index, "in \\u hexadecimal character escape")
                at += 4
        at += 1
    raise _SyntaxError(UNEXPECTED_END)


def _object(data: bytes, at: int) -> int:
    at = _skip(data, at)
    if at < len(data) and data[at] == ord("}"):
        return at + 1
    while True:
        at = _skip(data, at)
        if at >= len(data) or data[at] != ord('"'):
            _fail(data, at, "looking for beginning of object key string")
        at = _skip(data, _string(data, at + 1))
        if at >= len(data) or data[at] != ord(":"):
            _fail(data, at, "after object key")
        at = _skip(data, _value(data, _skip(data, at + 1), "looking for beginning of value"))
        if at < len(data) and data[at] == ord("}"):
            return at + 1
        if at >= len(data) or data[at] != ord(","):
            _fail(data, at, "after object key:value pair")
        at += 1


def _array(data: bytes, at: int) -> int:
    at = _skip(data, at)
    if at < len(data) and data[at] == ord("]"):
        return at + 1
    while True:
        at = _skip(data, _value(data, _skip(data, at), "looking for beginning of value"))
        if at < len(data) and data[at] == ord("]"):
            return at + 1
        if at >= len(data) or data[at] != ord(","):
            _fail(data, at, "after array element")
        at += 1


def json_text(value: Any) -> str:
    """value as compact JSON with sorted keys, as Go writes a map."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def printed(value: Any) -> str:
    """value as Go's %v prints it: `map[a:1 b:[x y]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{printed(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(printed, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def quoted(value: str) -> str:
    """value in double quotes as Go's %q prints it."""
    escaped = []
    for character in value:
        if character in '"\\':
            escaped.append("\\" + character)
        elif character in "\a\b\f\n\r\t\v":
            escaped.append("\\" + "abfnrtv"["\a\b\f\n\r\t\v".index(character)])
        elif character.isprintable():
            escaped.append(character)
        elif ord(character) < 0x80:
            escaped.append(f"\\x{ord(character):02x}")
        else:
            escaped.append(f"\\u{ord(character):04x}")
    return f'"{"".join(escaped)}"'
