"""One HTTP/1.1 request of a probe or hook, on asyncio streams: no redirects followed, no body kept beyond a limit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import msgspec

from kubeedge.config.host import endpoint

# What of an answer's body may be looked at.
MAX_BODY_BYTES = 10 * 1024
MAX_HEAD_BYTES = 64 * 1024


class HttpFailure(Exception):
    """No answer: the text says why, in the words that Kubernetes' probes use."""


class Answer(msgspec.Struct):
    """Status code, headers with lower-case names, and the beginning of the body."""

    status: int
    headers: dict[str, str]
    body: bytes


def url_of(scheme: str, host: str, port: int, path: str) -> str:
    """Return the URL as messages show it."""
    return f"{scheme.lower()}://{endpoint(host, port)}{path if path.startswith('/') else '/' + path}"


async def get(scheme: str, host: str, port: int, path: str, headers: Mapping[str, str], timeout_s: float) -> Answer:
    """GET that path. TLS certificates are not verified (Kubernetes' rule for probes). Raises HttpFailure."""
    url = url_of(scheme, host, port, path)
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(scheme, host, port, path, headers)
    except TimeoutError:
        text = f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        raise HttpFailure(text) from None
    except ConnectionRefusedError:
        raise HttpFailure(f'Get "{url}": dial tcp {endpoint(host, port)}: connect: connection refused') from None
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
        raise HttpFailure(f'Get "{url}": {_words(error)}') from None


def _words(error: Exception) -> str:
    if isinstance(error, (EOFError, ConnectionResetError)):
        return "EOF"
    return str(getattr(error, "strerror", None) or error)


async def _exchange(scheme: str, host: str, port: int, path: str, headers: Mapping[str, str]) -> Answer:
    reader, writer = await asyncio.open_connection(host, port, ssl=_tls(scheme), limit=MAX_HEAD_BYTES)
    try:
        fields = {"Host": endpoint(host, port), "Connection": "close", **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        target = path if path.startswith("/") else "/" + path
        writer.write(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode())
        await writer.drain()
        return await _read(reader)
    finally:
        writer.close()


def _tls(scheme: str) -> ssl.SSLContext | None:
    if scheme.upper() != "HTTPS":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _read(reader: asyncio.StreamReader) -> Answer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"malformed HTTP response {first[:40]!r}")
        status = int(rest[:3])
        if status >= 200:
            break
    fields = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    length = headers.get("content-length", "")
    wanted = min(int(length), MAX_BODY_BYTES) if length.isdigit() else MAX_BODY_BYTES
    body = b""
    while len(body) < wanted:
        chunk = await reader.read(wanted - len(body))
        if not chunk:
            break
        body += chunk
    return Answer(status, headers, body)
