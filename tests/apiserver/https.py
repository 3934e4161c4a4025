"""A small HTTPS client for tests: one connection a call, or one kept for many; speaks as administrator or as nobody."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from kubeedge.pki.tls import client_context

ANSWER_TIMEOUT_S = 30


@dataclass(slots=True)
class Response:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)

    def events(self) -> list[dict[str, Any]]:
        """The lines of a watch."""
        return [orjson.loads(line) for line in self.body.splitlines()]


class Https:
    """Calls the server of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.ca = b64decode(cluster["certificate-authority-data"])
        certificate, key = (b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key"))
        self.as_admin = client_context(self.ca, certificate, key)
        self.as_nobody = client_context(self.ca)
        host, _, port = cluster["server"].removeprefix("https://").rpartition(":")
        self.host, self.port = host, int(port)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        context: ssl.SSLContext | None = None,
        **headers: str,
    ) -> Response:
        """Send one request; body is bytes or a value for JSON. Header names are given with underscores."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await self.open(context)
            try:
                await self.send(writer, method, path, body, connection="close", **headers)
                return _parse(await reader.read(-1))
            finally:
                writer.close()

    async def open(self, context: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        return await asyncio.open_connection(self.host, self.port, ssl=context or self.as_admin, limit=1 << 26)

    async def send(
        self, writer: asyncio.StreamWriter, method: str, path: str, body: Any = None, **headers: str
    ) -> None:
        """Send a request on a connection."""
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        lines = {"host": "test", "content-type": "application/json", "content-length": str(len(data))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        await writer.drain()


def _parse(data: bytes) -> Response:
    if not data:
        raise ConnectionResetError("closed without an answer")
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        rest = _joined(rest)
    return Response(int(first.split()[1]), headers, rest)


def _joined(rest: bytes) -> bytes:
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(parts)
