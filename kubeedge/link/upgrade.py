"""The HTTP exchange that turns a connection into a WebSocket, both ends, without I/O (RFC 6455 §4, spec 01 §2.1.1)."""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

# Go's server takes 1 MiB of headers; no client of this link comes near a hundredth of that.
MAX_HEAD_BYTES = 16 * 1024

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) (\S+) HTTP/(\d)\.(\d)")
_STATUS_LINE = re.compile(r"HTTP/1\.\d (\d{3})(?: (.*))?")
_HEADER_LINE = re.compile(rf"({_TOKEN}):[ \t]*(.*?)[ \t]*")


class UpgradeError(Exception):
    """The exchange failed. status is the HTTP status sent or received, 0 where what came was no HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status
        self.reason = reason


class UndecidedError(Exception):
    """Whether the connection is accepted shows later."""


class Headers:
    """Header fields in the order in which they came; names without regard to case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = [(name.lower(), value) for name, value in fields]

    def first(self, name: str) -> str:
        """Return the first value of a field, empty when there is none.

        A Go edge repeats fields when it dials again, so later ones don't count (spec 01 §2.1.1).
        """
        name = name.lower()
        return next((value for field, value in self._fields if field == name), "")

    def has_token(self, name: str, token: str) -> bool:
        """Tell whether token is in the comma-separated lists of a field, without regard to case."""
        name = name.lower()
        return any(
            part.strip().lower() == token for field, value in self._fields if field == name for part in value.split(",")
        )


class UpgradeRequest(NamedTuple):
    """What the client of a connection asked for; any target is taken (spec 01 §2.1.1)."""

    target: str
    headers: Headers


def end_of_head(data: bytes | bytearray) -> int:
    """Return where the head of an HTTP message ends, behind its empty line; 0 while that has not come.

    Raises UpgradeError when it is longer than MAX_HEAD_BYTES.
    """
    end = data.find(b"\r\n\r\n")
    if end > MAX_HEAD_BYTES or (end < 0 and len(data) > MAX_HEAD_BYTES):
        raise UpgradeError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"head of more than {MAX_HEAD_BYTES} bytes")
    return end + 4 if end >= 0 else 0


def read_request(head: bytes) -> UpgradeRequest:
    """Read the request of a client. Raises UpgradeError with the status to answer when it is no valid upgrade."""
    lines = head.decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise UpgradeError(HTTPStatus.BAD_REQUEST, "no HTTP request")
    method, target, *version = match.groups()
    headers = _read_headers(lines[1:-2])
    if method != "GET":
        raise UpgradeError(HTTPStatus.METHOD_NOT_ALLOWED, f"method {method}")
    if version != ["1", "1"]:
        raise UpgradeError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is needed")
    if not headers.has_token("connection", "upgrade") or not headers.has_token("upgrade", "websocket"):
        raise UpgradeError(HTTPStatus.BAD_REQUEST, "no upgrade to websocket")
    if headers.first("sec-websocket-version") != "13":
        raise UpgradeError(HTTPStatus.UPGRADE_REQUIRED, "WebSocket version is not 13")
    try:
        has_key = len(b64decode(headers.first("sec-websocket-key"), validate=True)) == 16
    except (binascii.Error, ValueError):
        has_key = False
    if not has_key:
        raise UpgradeError(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key is no 16 bytes in base64")
    origin = headers.first("origin")
    if origin and urlsplit(origin).netloc.lower() != headers.first("host").lower():
        raise UpgradeError(HTTPStatus.FORBIDDEN, "Origin is another host")
    return UpgradeRequest(target, headers)


def acceptance(request: UpgradeRequest) -> bytes:
    """Return the answer that opens the connection."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + _accept_key(request.headers.first("sec-websocket-key"))
        + b"\r\n\r\n"
    )


def refusal(error: UpgradeError) -> bytes:
    """Return the answer that refuses the connection; the reason is its body, which Go's client logs."""
    status = HTTPStatus(error.status)
    body = f"{error.reason}\n".encode()
    version = "Sec-WebSocket-Version: 13\r\n" if status is HTTPStatus.UPGRADE_REQUIRED else ""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n{version}"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def request(target: str, host: str, headers: Iterable[tuple[str, str]], key: bytes) -> bytes:
    """Return the request of a client. host goes into the Host field; key is 16 random bytes.

    Raises ValueError when a header holds what would end its line.
    """
    fields = [
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", b64encode(key).decode()),
        *headers,
    ]
    lines = [f"{name}: {value}" for name, value in fields]
    if any(_HEADER_LINE.fullmatch(line) is None or not line.isprintable() for line in (*lines, f"x: {target}")):
        raise ValueError("header field with control characters or a bad name")
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def check_response(head: bytes, key: bytes, subprotocol: str = "") -> None:
    """Check a server's answer to the request with that key.

    Raises UpgradeError unless it opens the connection as asked, without extensions and with that subprotocol.
    """
    lines = head.decode("latin-1").split("\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise UpgradeError(0, "answer is no HTTP")
    status = int(match[1])
    if status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise UpgradeError(status, match[2] or "refused")
    headers = _read_headers(lines[1:-2])
    if not headers.has_token("connection", "upgrade") or not headers.has_token("upgrade", "websocket"):
        raise UpgradeError(status, "answer does not upgrade to websocket")
    if headers.first("sec-websocket-accept").encode("latin-1") != _accept_key(b64encode(key).decode()):
        raise UpgradeError(status, "Sec-WebSocket-Accept is wrong")
    if headers.first("sec-websocket-extensions") or headers.first("sec-websocket-protocol") != subprotocol:
        raise UpgradeError(status, "answer has an extension or a subprotocol that was not asked for")


def _accept_key(key: str) -> bytes:
    return b64encode(hashlib.sha1(key.encode("latin-1") + _ACCEPT_SUFFIX).digest())


def _read_headers(lines: list[str]) -> Headers:
    fields = []
    for line in lines:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise UpgradeError(HTTPStatus.BAD_REQUEST, "malformed header field")
        fields.append((match[1], match[2]))
    return Headers(fields)
