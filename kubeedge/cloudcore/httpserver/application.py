"""What port 10002 answers, as an ASGI application (spec 02 §1.3, texts and statuses of a Go cloudcore)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import orjson

from kubeedge import metrics
from kubeedge.bus import Bus
from kubeedge.cloudcore.httpserver import reports
from kubeedge.config.host import is_node_name
from kubeedge.kube.api import ApiError, ApiUnavailableError, KubeApi
from kubeedge.kube.kinds import NODE
from kubeedge.message import Message
from kubeedge.pki import token
from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import PkiError
from kubeedge.pki.tls import Subject
from kubeedge.serving import Receive, Scope, Send

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 1 << 20
MAX_REPORT_BYTES = 3 << 20
# How long a peer may take for its body, and the API for a node.
BODY_TIMEOUT_S = 30
API_TIMEOUT_S = 30
TASK_MANAGER = "taskmanager"
# Go's number of the only usage that an edge node's certificate gets (spec 02 §1.9).
CLIENT_AUTH = 2

_requests = metrics.Counter("kubeedge_httpserver_requests_total", "Requests to port 10002", ("path", "code"))


class Answer(NamedTuple):
    """A whole response."""

    code: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"
    allow: str = ""


def text(code: int, body: str) -> Answer:
    """Return a response of plain text."""
    return Answer(code, body.encode("utf-8", "replace"))


def _der(body: bytes) -> Answer:
    return Answer(200, body, "application/octet-stream")


NOT_FOUND = text(404, "404: Page Not Found")


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


class Request:
    """One request: who sent it by client certificate, if anybody, and how to get its body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.peer: Subject | None = scope["state"]["peer"].owner
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive

    def header(self, name: bytes) -> str:
        """Return the first header of a lower-case name, or nothing."""
        return next((value.decode("latin-1") for key, value in self._headers if key == name), "")

    async def body(self, limit: int) -> bytes | None:
        """Return the body; None when it is longer than limit bytes. Raises TimeoutError, ConnectionError.

        What is too long is read to its end all the same: a client only hears the answer once it has sent everything.
        """
        parts: list[bytes] = []
        size = 0
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await self._receive()
                if message["type"] != "http.request":
                    raise ConnectionError("client went away")
                size += len(message.get("body", b""))
                if size <= limit:
                    parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    return b"".join(parts) if size <= limit else None


Handle = Callable[[Request], Awaitable[Answer]]


class Application:
    """Signs certificates for nodes and answers the other questions of port 10002.

    A client certificate comes here verified by TLS; a request with one is judged by it alone, the token is then not
    looked at. Whatever the proof, only the certificate of the node that it is for is signed: upstream signs any name
    for any token, and lets certificates of the first releases (`CN=kubeedge.io`) act for every node.
    """

    def __init__(
        self, authority: Authority, api: KubeApi, bus: Bus, *, certificate_days: int, require_node_certificate: bool
    ) -> None:
        self._authority = authority
        self._api = api
        self._bus = bus
        self._days = certificate_days
        self._require_node_certificate = require_node_certificate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        request = Request(scope, receive)
        route, method, handle = self._route(request.path)
        try:
            answer = await _answer(request, method, handle)
        except _Refused as refused:
            answer = refused.answer
        except TimeoutError:
            answer = text(408, "request was not complete in time")
        except ConnectionError:
            return
        except Exception:
            log.exception("request failed method=%s path=%s", request.method, request.path)
            answer = text(500, "unexpected error, see the log of cloudcore")
        _requests.inc(route, str(answer.code))
        headers = [(b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        if answer.allow:
            headers.append((b"allow", answer.allow.encode()))
        await send({"type": "http.response.start", "status": answer.code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _route(self, path: str) -> tuple[str, str, Handle]:
        """Return the name under which requests to a path are counted, the method they need and what answers them."""
        match path.split("/")[1:]:
            case ["ca.crt"]:
                return "/ca.crt", "GET", self._ca
            case ["edge.crt"]:
                return "/edge.crt", "GET", self._certificate
            case ["node", name] if name:
                return "/node", "GET", self._node
            case ["nodeupgrade"]:
                return "/nodeupgrade", "POST", self._upgrade
            case ["task", type_, "name", task, "node", node, "status"] if type_ and task and node:
                return "/task", "POST", self._task
        return "other", "", _nothing

    async def _ca(self, request: Request) -> Answer:
        return _der(self._authority.certificate)

    async def _certificate(self, request: Request) -> Answer:
        node = request.header(b"nodename")
        self._authenticate(request, node)
        try:
            _check_usages(request.header(b"extkeyusages"))
            body = await request.body(MAX_REQUEST_BYTES)
            if body is None:
                raise PkiError("certificate request is longer than 1 MiB")
            certificate = self._authority.sign_client_csr(body, node, self._days)
        except PkiError as error:
            log.warning("certificate refused node=%s reason=%s", node, error)
            return text(500, f"failed to sign certs for edgenode {node}, err: {error}")
        log.info("certificate signed node=%s by=%s", node, "certificate" if request.peer else "token")
        return _der(certificate)

    def _authenticate(self, request: Request, node: str) -> None:
        """Let the request pass or refuse it with 401, by its client certificate or else by its token."""
        if request.peer is not None:
            if not node or request.peer.node != node:
                raise _Refused(
                    text(
                        401,
                        f"failed to verify the certificate for edgenode: {node}, err: "
                        f"the certificate is for {request.peer.common_name}",
                    )
                )
            return
        authorization = request.header(b"authorization")
        parts = authorization.split(" ")
        if not authorization:
            reason = "token is empty"
        elif len(parts) != 2:
            reason = "token cannot be split"
        else:
            try:
                token.verify(parts[1], self._authority.key)
                return
            except token.TokenError as error:
                reason = f"err: {error}"
        log.warning("certificate refused node=%s reason=%s", node, reason)
        raise _Refused(text(401, f"token validation failure, {reason}"))

    async def _node(self, request: Request) -> Answer:
        self._admit(request, "")
        name = request.path.split("/")[2]
        if not is_node_name(name):
            return text(404, "Node not found")
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                await self._api.get(NODE, "", name)
        except ApiError as error:
            if error.code == 404:
                return text(404, "Node not found")
            log.warning("node not queried node=%s reason=%s", name, error)
            return text(500, "Failed to query node information")
        except (ApiUnavailableError, TimeoutError) as error:
            log.warning("node not queried node=%s reason=%r", name, error)
            return text(500, "Failed to query node information")
        return text(200, "Node found")

    async def _upgrade(self, request: Request) -> Answer:
        body = await self._report(request)
        try:
            node, message = reports.upgrade_result(body)
        except reports.ReportError as error:
            return text(400, f"failed to unmarshal task info: {error}")
        self._admit(request, node)
        return self._pass_on(message)

    async def _task(self, request: Request) -> Answer:
        _, task_type, _, task, _, node, _ = request.path.split("/")[1:]
        self._admit(request, node)
        body = await self._report(request)
        try:
            return self._pass_on(reports.task_status(task_type, task, node, body))
        except reports.ReportError as error:
            return text(400, f"failed to unmarshal task info: {error}")

    async def _report(self, request: Request) -> bytes:
        body = await request.body(MAX_REPORT_BYTES)
        if body is None:
            raise _Refused(text(400, "the request body can only be up to 3 MiB in size"))
        return body

    def _pass_on(self, message: Message) -> Answer:
        if self._bus.has(TASK_MANAGER):
            self._bus.send(TASK_MANAGER, message)
        else:
            log.warning("report dropped, no task manager runs resource=%s", message.resource)
        return text(200, "ok")

    def _admit(self, request: Request, node: str) -> None:
        """Refuse a peer that speaks for another node; and one without a certificate where that is configured."""
        if request.peer is None and self._require_node_certificate:
            raise _Refused(text(401, "a node's client certificate is required"))
        if request.peer is not None and node and request.peer.node != node:
            raise _Refused(text(401, f"the certificate is for {request.peer.common_name}, not for node {node}"))


async def _answer(request: Request, method: str, handle: Handle) -> Answer:
    if method and request.method != method:
        return Answer(405, b"405: Method Not Allowed", allow=method)
    if method and not _accepts_anything(request.header(b"accept")):
        return text(406, "406: Not Acceptable\n\nAvailable representations: ")
    return await handle(request)


async def _nothing(request: Request) -> Answer:
    return NOT_FOUND


def _accepts_anything(accept: str) -> bool:
    if not accept:
        return True
    return any(entry.partition(";")[0].strip() == "*/*" for entry in accept.split(","))


def _check_usages(header: str) -> None:
    """Accept Go's list of extended key usages only where it asks for client authentication. Raises PkiError."""
    if not header:
        return
    try:
        usages = orjson.loads(header)
    except orjson.JSONDecodeError as error:
        raise PkiError(f"header ExtKeyUsages cannot be read: {error}") from None
    if usages != [CLIENT_AUTH]:
        raise PkiError(f"extended key usages {usages} are not signed, only clientAuth ([{CLIENT_AUTH}]) is")
