"""KubeApi over HTTPS, for the calls that a cloud makes thousands of times a second (DESIGN "API calls are priced")."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from collections.abc import AsyncGenerator
from functools import partial
from typing import Literal
from urllib.parse import urlencode

import msgspec
import orjson

import kubeedge
from kubeedge import metrics
from kubeedge.kube.api import (
    JSON,
    Answered,
    ApiError,
    ApiStatus,
    ApiUnavailableError,
    BusyError,
    Items,
    Kind,
    WatchEvent,
)
from kubeedge.kube.connection import BrokenConnectionError, Connection, Response
from kubeedge.kube.kubeconfig import Access, KubeconfigError

MAX_CONNECTIONS = 64
CONNECT_TIMEOUT_S = 10.0
# kube-apiserver itself ends a request after 60 s.
CALL_TIMEOUT_S = 60.0
# How much longer than asked a watch may go on before we take the connection for dead.
WATCH_GRACE_S = 30.0
# Go's servers close idle connections after 90 s, uvicorn after what it is told: be first.
IDLE_LIMIT_S = 30.0
# 429 and 503 with Retry-After say that nothing was done; so often do we ask again.
MAX_ATTEMPTS = 4
LONGEST_RETRY_AFTER_S = 10.0
# Names of the API never have other characters; a name from an edge must not reach another path.
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._:~-]*")

_requests = metrics.Counter("kubeedge_api_requests_total", "Requests to the Kubernetes API", ("verb", "code"))


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_EVENT_HEADS = [
    (type_, b'{"type":"%s","object":' % type_.encode()) for type_ in ("MODIFIED", "ADDED", "DELETED", "BOOKMARK")
]
_list_decoder = msgspec.json.Decoder(_List)
_event_decoder = msgspec.json.Decoder(_Event)
_status_decoder = msgspec.json.Decoder(ApiStatus)


class HttpApi:
    """A Kubernetes API server reached over HTTP(S).

    Calls share at most max_connections keep-alive connections and wait in order for a free one; each watch has its own.
    A read whose kept connection turns out to be closed is repeated on another; a write never is, unless the server said
    that it did nothing (429, 503 with Retry-After). A call that is begun where no connection is free is declined, and
    what would be repeated is handed back.
    """

    def __init__(self, access: Access, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self._access = access
        # Calls that may still be made, and those that wait for that. A semaphore of asyncio's has no way not to wait.
        self._free = max_connections
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        host = f"[{access.host}]" if ":" in access.host else access.host
        self._constant_head = (
            f" HTTP/1.1\r\nHost: {host}:{access.port}\r\nAccept: application/json\r\n"
            f"User-Agent: kubeedge-python/{kubeedge.__version__}\r\n"
        )

    def close(self) -> None:
        """Cut all connections; calls under way fail with ApiUnavailableError."""
        for connection in list(self._open):
            connection.close()
        self._open.clear()
        self._idle.clear()

    # KubeApi

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "", as_node: str = "") -> bytes:
        """Read one object."""
        return await self._call("GET", _object_path(kind, namespace, name, subresource), as_node=as_node)

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Items:
        """Read one page of a collection; all of it when limit is 0."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            **{"continue": continue_token},
        )
        body = await self._call("GET", _path(kind, namespace) + query, verb="LIST")
        try:
            page = _list_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise ApiUnavailableError(f"answer is no list of {kind.plural}: {error}") from None
        return Items(
            [bytes(item) for item in page.items or ()], page.metadata.resource_version, page.metadata.continue_
        )

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Follow a collection from resource_version on, bookmarks included; ends when the server ends it."""
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_s) if timeout_s else "",
        )
        request = self._request("GET", _path(kind, namespace) + query, b"", JSON, await self._credential())
        connection = await self._connect()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s + WATCH_GRACE_S if timeout_s else None
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                code = await connection.open_stream(request)
                _requests.inc("WATCH", str(code))
                if code != 200:
                    raise _error(code, await connection.read_rest())
            rest = b""
            while True:
                # The scope must not reach over the yield: there it would cancel our caller in its own work.
                async with asyncio.timeout_at(deadline):
                    chunk = await connection.read_stream()
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield _event(line)
        except TimeoutError:
            raise ApiUnavailableError(f"watch of {kind.plural} is silent") from None
        except BrokenConnectionError as error:
            raise ApiUnavailableError(f"watch of {kind.plural}: {error}") from None
        finally:
            self._discard(connection)

    async def create(
        self, kind: Kind, namespace: str, body: bytes, *, name: str = "", subresource: str = "", as_node: str = ""
    ) -> bytes:
        """Create an object, or post to the subresource of name (`token`, `binding`, `eviction`)."""
        return await self._call("POST", _path(kind, namespace, name, subresource), body, as_node=as_node)

    async def update(
        self, kind: Kind, namespace: str, name: str, body: bytes, *, subresource: str = "", as_node: str = ""
    ) -> bytes:
        """Replace an object."""
        return await self._call("PUT", _object_path(kind, namespace, name, subresource), body, as_node=as_node)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: bytes,
        patch_type: str,
        *,
        subresource: str = "",
        as_node: str = "",
    ) -> bytes:
        """Patch an object; patch_type is one of the media types of kube.api."""
        path = _object_path(kind, namespace, name, subresource)
        return await self._call("PATCH", path, body, content_type=patch_type, as_node=as_node)

    async def delete(self, kind: Kind, namespace: str, name: str, *, body: bytes = b"", as_node: str = "") -> bytes:
        """Delete an object; body is a DeleteOptions or empty. Returns the object or Status answered."""
        return await self._call("DELETE", _object_path(kind, namespace, name), body, as_node=as_node)

    def begin(
        self,
        method: Literal["GET", "PUT", "PATCH"],
        kind: Kind,
        namespace: str,
        name: str,
        body: bytes,
        answered: Answered,
        *,
        content_type: str = JSON,
        subresource: str = "",
        as_node: str = "",
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> bool:
        """Make a get, update or patch at once where nothing has to be waited for, without a task; False otherwise."""
        path = _object_path(kind, namespace, name, subresource)
        credential = self._access.credential.at_hand()
        if credential is None or not self._free or not self._idle:
            return False
        request = self._request(method, path, body, content_type, credential, as_node)
        connection = self._take_idle()
        if connection is None:
            return False
        self._free -= 1
        connection.start(
            request,
            connection.idle_since + timeout_s,
            partial(self._ended, connection, connection.used, method, path, answered),
        )
        return True

    def _ended(
        self,
        connection: Connection,
        was_used: bool,
        method: str,
        path: str,
        answered: Answered,
        response: Response | Exception,
    ) -> None:
        """Hand on what came of a call that was begun."""
        if isinstance(response, Response):
            self._put_back(connection)
            self._release()
            _requests.inc(method, str(response.code))
            if 200 <= response.code < 300:
                answered(response.body)
            elif _is_put_off(response):
                answered(BusyError())
            else:
                answered(_error(response.code, response.body))
            return
        self._discard(connection)
        self._release()
        if isinstance(response, TimeoutError):
            _requests.inc(method, "timeout")
            answered(ApiUnavailableError(f"{method} {path}: no answer in time"))
        elif was_used and method == "GET" and isinstance(response, BrokenConnectionError) and not response.answered:
            answered(BusyError())
        else:
            answered(self._broken(response))

    # Requests

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        verb: str = "",
        content_type: str = JSON,
        as_node: str = "",
    ) -> bytes:
        deadline_s = asyncio.get_running_loop().time() + CALL_TIMEOUT_S
        try:
            request = self._request(method, path, body, content_type, await self._credential(), as_node)
            for attempt in range(1, MAX_ATTEMPTS + 1):
                response = await self._exchange(request, deadline_s, repeatable=method == "GET")
                _requests.inc(verb or method, str(response.code))
                if 200 <= response.code < 300:
                    return response.body
                if not _is_put_off(response) or attempt == MAX_ATTEMPTS:
                    raise _error(response.code, response.body)
                await asyncio.sleep(min(response.retry_after_s, LONGEST_RETRY_AFTER_S))
        except TimeoutError:
            _requests.inc(verb or method, "timeout")
            raise ApiUnavailableError(f"{method} {path}: no answer in {CALL_TIMEOUT_S:.0f} s") from None
        raise AssertionError("unreachable")

    async def _credential(self) -> str:
        try:
            return await self._access.credential.header()
        except KubeconfigError as error:
            raise ApiUnavailableError(str(error)) from None

    def _request(
        self, method: str, path: str, body: bytes, content_type: str, credential: str, as_node: str = ""
    ) -> bytes:
        head = f"{method} {self._access.prefix}{path}{self._constant_head}"
        if credential:
            head += f"Authorization: {credential}\r\n"
        if as_node:
            _check(as_node)
            head += f"Impersonate-User: system:node:{as_node}\r\nImpersonate-Group: system:nodes\r\n"
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        elif method != "GET":
            head += "Content-Length: 0\r\n"
        return b"%s\r\n%s" % (head.encode(), body)

    async def _exchange(self, request: bytes, deadline_s: float, *, repeatable: bool) -> Response:
        if self._free:
            self._free -= 1
        else:
            await self._turn(deadline_s)
        try:
            while True:
                connection = self._take_idle() or await self._connect()
                used = connection.used
                try:
                    response = await connection.exchange(request, deadline_s)
                except BrokenConnectionError as error:
                    self._discard(connection)
                    if used and repeatable and not error.answered:
                        continue
                    raise self._broken(error) from None
                except BaseException:
                    # Cancelled in the middle: what comes now would be taken for the next answer.
                    self._discard(connection)
                    raise
                self._put_back(connection)
                return response
        finally:
            self._release()

    async def _turn(self, deadline_s: float) -> None:
        """Wait until a call may be made. Raises TimeoutError."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline_s):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # It came at the same moment: somebody else has it now.
                self._release()
            raise

    def _release(self) -> None:
        """Let the call that has waited longest be made."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _take_idle(self) -> Connection | None:
        """Take the connection used last, which is most surely alive; its idle_since is the time of now."""
        # The old ones at the bottom end when found.
        while self._idle:
            connection = self._idle.pop()
            now = connection.now()
            if connection.usable and now - connection.idle_since < IDLE_LIMIT_S:
                connection.idle_since = now
                return connection
            self._discard(connection)
        return None

    def _put_back(self, connection: Connection) -> None:
        if connection.usable:
            connection.idle_since = connection.now()
            self._idle.append(connection)
        else:
            self._open.discard(connection)

    def _broken(self, error: Exception) -> ApiUnavailableError:
        return ApiUnavailableError(f"{self._access.host}:{self._access.port}: {error}")

    def _discard(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)

    async def _connect(self) -> Connection:
        access = self._access
        where = f"{access.host}:{access.port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, connection = await loop.create_connection(
                    lambda: Connection(loop),
                    access.host,
                    access.port,
                    ssl=access.tls,
                    server_hostname=access.server_name if access.tls is not None else None,
                )
        except TimeoutError:
            raise ApiUnavailableError(f"{where}: no connection in {CONNECT_TIMEOUT_S:.0f} s") from None
        except OSError as error:
            raise ApiUnavailableError(f"{where}: {error}") from None
        raw = transport.get_extra_info("socket")
        if raw is not None:
            # A watch may be silent for a minute: the kernel finds out about a peer that vanished (15 + 3 x 5 s).
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        self._open.add(connection)
        return connection


def _is_put_off(response: Response) -> bool:
    """Tell whether the server says that it did nothing and wants to be asked again."""
    return response.code in (429, 503) and response.retry_after_s >= 0


def _event(line: bytes) -> WatchEvent:
    # As every server writes it. The object is looked at when it is read, so there is no need to walk over it here too.
    for type_, head in _EVENT_HEADS:
        if line.startswith(head) and line.endswith(b"}}"):
            return WatchEvent(type_, line[len(head) : -1])
    try:
        event = _event_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise ApiUnavailableError(f"line is no watch event: {error}") from None
    if event.type == "ERROR":
        raise _error(0, bytes(event.object))
    return WatchEvent(event.type, bytes(event.object))


def _error(code: int, body: bytes) -> ApiError | ApiUnavailableError:
    """Make the exception for an answer that is no success; code 0 means that only the Status knows it."""
    try:
        status = _status_decoder.decode(body)
        if status.status == "Failure" and (status.code or code):
            return ApiError(status.code or code, status.reason, status.message, body)
    except msgspec.DecodeError:
        pass
    text = body[:200].decode(errors="replace").strip()
    if not 400 <= code < 500:
        return ApiUnavailableError(f"answer {code} is no Status: {text}")
    # A group that the server does not know is refused in plain text, and so do proxies in front of it.
    reason = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}.get(code, "")
    return _refusal(code, reason or "BadRequest", text or f"the server answered {code}")


def _refusal(code: int, reason: str, message: str) -> ApiError:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return ApiError(code, reason, message, orjson.dumps(status))


def _check(*segments: str) -> None:
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise _refusal(400, "BadRequest", f"{segment!r} can be no part of the path of an object")


def _path(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    _check(namespace, name)
    return kind.path(namespace, name, subresource)


def _object_path(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    """Return the path of one object; without a name it would be that of all, for reading and for deletion."""
    if not name:
        raise _refusal(400, "BadRequest", f"no name is given for one of {kind.plural}")
    return _path(kind, namespace, name, subresource)


def _query(**parameters: str) -> str:
    query = urlencode({key: value for key, value in parameters.items() if value})
    return f"?{query}" if query else ""
