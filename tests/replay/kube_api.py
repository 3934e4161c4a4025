"""Recorded exchanges with a real API server (tests/golden/kube-api): reading, replaying and comparing them.

Ids, resource versions and times of a replay are other ones than the recorded. `Correspondence` learns which is which
from the answers and puts the right ones into the requests that follow.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

GOLDEN = Path(__file__).parents[1] / "golden" / "kube-api"

ANSWER_TIMEOUT_S = 20
"""Longer than any replayed watch lasts."""

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_AGE = re.compile(r"(?:\d+[smhdy]){1,2}")
_GENERATED = re.compile(r"\b(gen|kube-api-access|svc|hl|np)-[a-z0-9]{5}\b")
_REPLICA_SET = re.compile(r"\bd-[a-z0-9]{8,10}(?:-[a-z0-9]{5})?(?:\.[0-9a-f]{16})?\b")
_ADDRESS = re.compile(r"\b10\.\d+\.\d+\.\d+\b")
_EVENT = re.compile(r"\b(d|d-HASH)\.[0-9a-f]{16}\b")
_POD_HASH = re.compile(r"pod-template-hash=\w+")
_NODE_PORT = re.compile(r"\b80:3\d{4}/")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[\w+/=\s]+-----END CERTIFICATE-----\s*")
_TOKEN = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+|<jwt>")
_FINGERPRINT = re.compile(r"X509SHA256=[0-9a-f]{64}")
_VERSIONS = re.compile(r"(in record \(|current: |too old resource version: \d+ \()\d+")
# The difference that ends the refusal of a pod's change is one of Go structs there, of JSON here.
_DIFFERENCE = re.compile(r"\n@@ .*", re.DOTALL)
# A request's object in the message of a refused patch: the order of its metadata is the server's own.
_PATCHED = re.compile(r'Invalid value: "\{.*\}": ')
# Different in every run; the replay only has to have them where the recording has them.
_PER_RUN = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "lastTransitionTime", "lastUpdateTime"}
    | {"firstTimestamp", "lastTimestamp", "continue", "pod-template-hash", "nodePort", "serverAddress"}
    | {"batch.kubernetes.io/controller-uid", "controller-uid"}
)
# Not compared at all: who changed which field (with server-side apply), texts of columns in our own words.
_IGNORED = frozenset({"managedFields", "description"})


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    file: str
    index: int
    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int
    answer_headers: dict[str, str]
    answer: Any

    def __str__(self) -> str:
        return f"{self.file} {self.index} {self.name}"


def exchanges(file: str) -> Iterator[Exchange]:
    """The exchanges of one recorded scenario in order."""
    for index, line in enumerate((GOLDEN / f"{file}.jsonl").read_text().splitlines()):
        entry = json.loads(line)
        request, response = entry["request"], entry["response"]
        answer = response["events"] if "events" in response else response.get("body")
        yield Exchange(
            file,
            index,
            entry["name"],
            request["method"],
            request["path"],
            request.get("headers") or {},
            request.get("body"),
            response["status"],
            response.get("headers") or {},
            answer,
        )


@dataclass
class Answer:
    """What the server under test said; body is parsed JSON, a list of events for a watch, or text."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Client:
    """Sends one request a connection, as the administrator unless told otherwise."""

    url: str
    context: ssl.SSLContext
    anonymous: ssl.SSLContext

    async def send(self, method: str, path: str, headers: dict[str, str], body: bytes, *, admin: bool = True) -> Answer:
        """Send a request and read its answer to the end."""
        where = urlsplit(self.url)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                where.hostname, where.port, ssl=self.context if admin else self.anonymous
            )
            try:
                lines = [f"{method} {path} HTTP/1.1", f"Host: {where.netloc}", "Connection: close"]
                lines += [f"{key}: {value}" for key, value in headers.items()]
                lines += [f"Content-Length: {len(body)}", "", ""]
                writer.write("\r\n".join(lines).encode() + body)
                return _parsed(await reader.read(-1), is_watch="watch=" in path)
            finally:
                writer.close()


def _parsed(data: bytes, *, is_watch: bool) -> Answer:
    head, _, content = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        content = _dechunked(content)
    body: Any = content.decode()
    status = int(first.split()[1])
    if is_watch and status == 200:
        body = [json.loads(line) for line in content.splitlines()]
    elif headers.get("content-type", "").startswith("application/json") or body[:1] == "{":
        body = json.loads(body)
    return Answer(status, headers, body)


def _dechunked(content: bytes) -> bytes:
    parts = []
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        parts.append(content[:length])
        content = content[length + 2 :]
    return b"".join(parts)


@dataclass
class Correspondence:
    """Which id, version or token of the replay stands for which recorded one."""

    ids: dict[str, str] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    token: str = ""
    """The newest service account token, which recordings call `<jwt>`."""

    def learn(self, recorded: Any, actual: Any) -> None:
        """Take notice of what stands at the same places of two answers."""
        if isinstance(recorded, dict) and isinstance(actual, dict):
            for key, value in recorded.items():
                other = actual.get(key)
                if key == "resourceVersion" and str(value).isdigit() and str(other).isdigit():
                    self.versions[int(value)] = int(other)
                elif key == "uid" and isinstance(other, str):
                    self.ids[value] = other
                elif value == "<jwt>" and isinstance(other, str):
                    self.token = other
                elif key == "continue" and value and isinstance(other, str):
                    self.tokens[value] = other
                else:
                    self.learn(value, other)
        elif isinstance(recorded, list) and isinstance(actual, list):
            for one, other in zip(recorded, actual, strict=False):
                self.learn(one, other)

    def version(self, recorded: int) -> int:
        """The version of the replay at the time of a recorded one."""
        known = sorted(self.versions)
        place = bisect_right(known, recorded)
        if recorded in self.versions or not place or recorded - known[-1] > 10_000:
            return self.versions.get(recorded, recorded)
        return self.versions[known[place - 1]]

    def path(self, path: str) -> str:
        """A recorded path with the tokens and versions of the replay."""
        for recorded, actual in self.tokens.items():
            path = path.replace(f"continue={recorded}", f"continue={actual}")
        path = re.sub(r"(timeoutSeconds=)\d+", r"\g<1>1", path)
        return re.sub(r"(resourceVersion=)(\d{2,})", lambda m: f"{m[1]}{self.version(int(m[2]))}", path)

    def body(self, body: Any, key: str = "") -> Any:
        """A recorded body with the ids and versions of the replay."""
        if isinstance(body, dict):
            return {name: self.body(value, name) for name, value in body.items()}
        if isinstance(body, list):
            return [self.body(item) for item in body]
        if isinstance(body, str):
            if key == "resourceVersion" and body.isdigit():
                return str(self.versions.get(int(body), int(body)))
            return self.token if body == "<jwt>" else self.ids.get(body, body)
        return body


def masked(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, mask in (
        (_UUID, "UID"),
        (_TIME, "TIME"),
        (_REPLICA_SET, "d-HASH"),
        (_GENERATED, r"\1-XXXXX"),
        (_EVENT, r"\1.HASH"),
        (_POD_HASH, "pod-template-hash=HASH"),
        (_NODE_PORT, "80:PORT/"),
        (_ADDRESS, "ADDRESS"),
        (_PEM, "CERTIFICATE"),
        (_TOKEN, "TOKEN"),
        (_FINGERPRINT, "FINGERPRINT"),
        (_VERSIONS, r"\1N"),
        (_DIFFERENCE, "DIFFERENCE"),
        (_PATCHED, "Invalid value: OBJECT: "),
    ):
        text = pattern.sub(mask, text)
    return text


def differences(recorded: Any, actual: Any, path: str = "") -> Iterator[str]:
    """What of two answers is not the same, leaving aside what is another in each run."""
    if isinstance(recorded, dict) and isinstance(actual, dict):
        for key in sorted({*recorded, *actual} - _IGNORED):
            where = f"{path}.{key}"
            if key not in actual:
                yield f"{where} is missing, recorded: {json.dumps(recorded[key])[:200]}"
            elif key not in recorded:
                yield f"{where} is too much: {json.dumps(actual[key])[:200]}"
            elif key == "cells":
                yield from _cells(recorded[key], actual[key], where)
            elif key not in _PER_RUN or not isinstance(recorded[key], (str, int)):
                yield from differences(recorded[key], actual[key], where)
    elif isinstance(recorded, list) and isinstance(actual, list):
        if len(recorded) != len(actual):
            yield f"{path} has {len(actual)} items, recorded: {len(recorded)}"
        for index, (one, other) in enumerate(zip(recorded, actual, strict=False)):
            yield from differences(one, other, f"{path}[{index}]")
    elif isinstance(recorded, str) and isinstance(actual, str):
        if masked(recorded) != masked(actual):
            yield f"{path}: {actual[:400]!r}, recorded: {recorded[:400]!r}"
    elif recorded != actual or type(recorded) is not type(actual):
        yield f"{path}: {json.dumps(actual)[:300]}, recorded: {json.dumps(recorded)[:300]}"


def _cells(recorded: list[Any], actual: list[Any], path: str) -> Iterator[str]:
    for index, (one, other) in enumerate(zip(recorded, actual, strict=False)):
        if not (isinstance(one, str) and isinstance(other, str) and _AGE.fullmatch(one) and _AGE.fullmatch(other)):
            yield from differences(one, other, f"{path}[{index}]")
    if len(recorded) != len(actual):
        yield f"{path}: {actual}, recorded: {recorded}"
