"""The way in over HTTPS: an ASGI application, with client certificates and tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import orjson

from kubeedge import metrics
from kubeedge.apiserver import status
from kubeedge.apiserver.authentication import AUTHENTICATED, Authenticator, User
from kubeedge.apiserver.authorization import Attributes
from kubeedge.apiserver.documents import Document, Documents
from kubeedge.apiserver.engine import Call, Engine, UnknownGroupError
from kubeedge.apiserver.representation import (
    EventWriter,
    Form,
    Page,
    content_type,
    negotiated,
    to_yaml,
    write_answer,
    write_page,
)
from kubeedge.apiserver.request import NO_QUERY, Query, place, verb
from kubeedge.apiserver.watch import Watch
from kubeedge.apiserver.writing import Sent
from kubeedge.kube.api import ApiError
from kubeedge.serving import Peer, Receive, Scope, Send
from kubeedge.store.database import StoreError

log = logging.getLogger(__name__)

# As large as etcd's requests behind a real server may be.
MAX_BODY_BYTES = 3 << 20
# All but watches: a call that has not been answered by then isn't, whatever it waits for.
REQUEST_TIMEOUT_S = 60
KEEP_ALIVE_S = 180

_requests = metrics.Counter("kubeedge_apiserver_requests_total", "Requests answered", ("verb", "code"))
_NO_CACHE = (b"cache-control", b"no-cache, private")
_NOT_FOUND = b"404 page not found\n"


class Application:
    """Turns HTTP requests into calls of the engine and what they return into responses."""

    def __init__(self, engine: Engine, authenticator: Authenticator, documents: Documents) -> None:
        self._engine = engine
        self._authenticator = authenticator
        self._documents = documents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        request = _Request(scope)
        try:
            try:
                await self._answer(request, receive, send)
            except UnknownGroupError:
                await request.respond(send, 404, _NOT_FOUND, "text/plain; charset=utf-8")
            except StoreError as error:
                raise status.internal_error(error.reason) from None
            except RecursionError:
                raise status.bad_request("the body is nested too deeply") from None
            except TimeoutError:
                raise status.timeout("request did not complete within the allotted timeout") from None
        except ApiError as error:
            await request.respond(send, error.code, error.status, "application/json", _retry(error))
        except Exception:
            if request.is_started:
                raise
            log.exception("request failed method=%s path=%s", request.method, request.path)
            failure = status.internal_error("unexpected error, see the log of the server")
            await request.respond(send, failure.code, failure.status, "application/json")

    async def _answer(self, request: _Request, receive: Receive, send: Send) -> None:
        user = self._user(request)
        at = place(request.path)
        if at is None:
            await self._answer_path(request, user, send)
            return
        query = request.query()
        what = verb(request.method, at, query)
        request.verb = what
        form = negotiated(request.header(b"accept"))
        sent = Sent(b"", "")
        if request.method not in ("GET", "HEAD"):
            # Who may not do it need not send all of it.
            call = Call(user, what, at, query)
            self._engine.authorize(call)
            sent = Sent(await _read_body(receive), request.header(b"content-type"))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                result = await self._engine.call(Call(user, what, at, query, sent))
        except ApiError as error:
            if what != "watch" or error.reason != "Expired":
                raise
            # A watch learns of it as of anything else: by an event.
            await request.respond(send, 200, b'{"type":"ERROR","object":%s}\n' % error.status, "application/json")
            return
        if isinstance(result, Watch):
            await self._stream(request, result, at_form=form, send=send)
            return
        now_s = self._engine.storage.now_s()
        shown = query.text("includeObject")
        if isinstance(result, Page):
            warnings = _warnings((result.spec.deprecated,))
            await request.respond(send, 200, write_page(result, form, now_s, shown), content_type(form), warnings)
        else:
            body = write_answer(result, form, now_s, shown)
            deprecated = result.spec.deprecated if result.spec is not None else ""
            warnings = _warnings((deprecated, *result.warnings))
            await request.respond(send, result.code, body, content_type(form), warnings)

    async def _stream(self, request: _Request, watch: Watch, *, at_form: Form, send: Send) -> None:
        at = place(request.path)
        assert at is not None
        form = Form.JSON if at_form is Form.YAML else at_form
        writer = EventWriter(
            self._engine.spec_of(at), form, self._engine.storage.now_s, request.query().text("includeObject")
        )
        request.peer.on_end = watch.close
        try:
            await request.start(send, 200, content_type(form))
            async for batch in watch.batches():
                await send({"type": "http.response.body", "body": writer.write(batch), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            request.peer.on_end = None
            watch.release()

    async def _answer_path(self, request: _Request, user: User, send: Send) -> None:
        if not user.is_master:
            asked = Attributes(request.method.lower(), path=request.path)
            self._engine.authorizer.require(user, asked)
        found = self._documents.find(request.path, request.header(b"accept"))
        if found is None:
            await request.respond(send, 404, _NOT_FOUND, "text/plain; charset=utf-8")
            return
        if request.method not in ("GET", "HEAD"):
            raise status.method_not_allowed()
        await request.respond(send, found.code, *_written(found, request.header(b"accept")), found.headers)

    def _user(self, request: _Request) -> User:
        user = self._authenticator.authenticate(request.header(b"authorization"), request.peer.owner)
        name = request.header(b"impersonate-user")
        if not name:
            return user
        if not user.is_master:
            self._engine.authorizer.require(user, Attributes("impersonate", resource="users", name=name))
        groups = request.headers(b"impersonate-group")
        extra: dict[str, Sequence[str]] = {}
        for header, value in request.scope["headers"]:
            if header.startswith(b"impersonate-extra-"):
                key = header.removeprefix(b"impersonate-extra-").decode()
                extra[key] = (*extra.get(key, ()), value.decode())
        return User(name, (*groups, AUTHENTICATED), request.header(b"impersonate-uid"), extra)


class _Request:
    """One request as uvicorn gives it, and the response to it."""

    __slots__ = ("_query", "is_started", "method", "path", "peer", "scope", "verb")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.peer: Peer = scope["state"]["peer"]
        self.verb = ""
        self.is_started = False
        self._query: Query | None = None

    def header(self, name: bytes) -> str:
        """Return the first header of a name, or nothing."""
        for key, value in self.scope["headers"]:
            if key == name:
                text: str = value.decode("latin-1")
                return text
        return ""

    def headers(self, name: bytes) -> list[str]:
        """Return every header of a name."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]

    def query(self) -> Query:
        """Return the parsed query."""
        if self._query is None:
            text = self.scope["query_string"].decode("latin-1")
            self._query = Query(parse_qs(text, keep_blank_values=True)) if text else NO_QUERY
        return self._query

    async def start(self, send: Send, code: int, media_type: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send status and headers."""
        self.is_started = True
        _requests.inc(self.verb or self.method.lower(), str(code))
        start = [(b"content-type", media_type.encode()), *headers]
        if not any(name == b"cache-control" for name, _ in headers):
            start.append(_NO_CACHE)
        await send({"type": "http.response.start", "status": code, "headers": start})

    async def respond(
        self, send: Send, code: int, body: bytes, media_type: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send a whole response."""
        await self.start(send, code, media_type, [(b"content-length", b"%d" % len(body)), *headers])
        await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive) -> bytes:
    """Return the whole body. Raises ApiError 413, or 400 when the client is gone."""
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise status.bad_request("client went away")
            body = message["body"]
            size += len(body)
            if size > MAX_BODY_BYTES:
                raise status.request_entity_too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
            parts.append(body)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)


def _warnings(texts: Sequence[str]) -> list[tuple[bytes, bytes]]:
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts if text)
    return [(b"warning", f'299 - "{text}"'.encode()) for text in quoted]


def _retry(error: ApiError) -> list[tuple[bytes, bytes]]:
    if error.code not in (429, 503, 504):
        return []
    details: Mapping[str, Any] = orjson.loads(error.status).get("details") or {}
    seconds = details.get("retryAfterSeconds")
    return [(b"retry-after", b"%d" % seconds)] if seconds else []


def _written(found: Document, accept: str) -> tuple[bytes, str]:
    """Write a document as it is, or as YAML where that is asked for."""
    if isinstance(found.body, bytes):
        return found.body, found.media_type
    if negotiated(accept) is Form.YAML:
        return to_yaml(found.body), content_type(Form.YAML)
    return orjson.dumps(found.body), found.media_type
