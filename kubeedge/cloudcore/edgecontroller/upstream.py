"""Requests of nodes, made to the API and answered: the frequent ones at once, all others by workers (spec 03 §2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from kubeedge import metrics
from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.beat import Beat
from kubeedge.cloudcore.edgecontroller.events import EventRequests
from kubeedge.cloudcore.edgecontroller.identity import EMPTY_SIGNING_REQUEST, IdentityRequests
from kubeedge.cloudcore.edgecontroller.leases import EMPTY_LEASE, LeaseRequests
from kubeedge.cloudcore.edgecontroller.nodes import NodeRequests, empty_node
from kubeedge.cloudcore.edgecontroller.ownership import PodOwnership
from kubeedge.cloudcore.edgecontroller.pods import EMPTY_POD, PodRequests
from kubeedge.cloudcore.edgecontroller.queries import CachedQuery, LiveQuery
from kubeedge.cloudcore.edgecontroller.queue import RequestQueue
from kubeedge.cloudcore.edgecontroller.request import REQUEST_TIMEOUT_S, BadRequestError, ForbiddenError, Request
from kubeedge.kube.api import Answered, ApiError, ApiUnavailableError, BusyError, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, VOLUME_ATTACHMENT
from kubeedge.message import Message

log = logging.getLogger(__name__)

HUB = "cloudhub"
WORKERS = 64

_requests = metrics.Counter(
    "kubeedge_edgecontroller_requests_total", "Requests of nodes, by outcome", ("type", "operation", "outcome")
)

Make = Callable[[Request, str], Awaitable[Message | None]]
Fail = Callable[[Request, Exception], Message | None]
Begin = Callable[[Request, str, Answered], bool]
Finish = Callable[[Request, bytes], Message]


@dataclass(slots=True)
class Call:
    """How a request is made, and how its failure is answered.

    Where begin is given, it makes the call without a worker if it can, and finish answers with what that gave.
    """

    make: Make
    fail: Fail = Request.failed
    begin: Begin | None = None
    finish: Finish = Request.written


def _beside(empty: bytes) -> Fail:
    """Answer failures in form RESP, beside the object that a Go edge expects there."""
    return lambda request, error: request.not_written(error, empty)


def _silently(request: Request, error: Exception) -> None:
    """Answer nothing."""


class Upstream:
    """The API calls of nodes, by type and operation. Calls are made in the node's name when impersonate is set."""

    def __init__(
        self,
        bus: Bus,
        api: KubeApi,
        nodes: Informer,
        pods: Informer,
        config_maps: Informer,
        secrets: Informer,
        *,
        local_ip: str,
        heartbeat_s: float,
        impersonate: bool,
        workers: int = WORKERS,
    ) -> None:
        self._bus = bus
        self._impersonate = impersonate
        self._workers = workers
        self._queue = RequestQueue()
        # None while nobody would work on what cannot be made at once.
        self._beat: Beat[tuple[Request, Call]] | None = None
        # Per node, the failures that the log has already: type and reason.
        self._told: dict[str, set[tuple[str, str]]] = {}
        own_pods = PodOwnership(api, pods)
        node = NodeRequests(api, nodes, local_ip, heartbeat_s)
        pod = PodRequests(api, own_pods, self._send)
        lease = LeaseRequests(api)
        identity = IdentityRequests(api, own_pods)
        event = EventRequests(api)
        empty = empty_node()
        # `*`: the operation is not looked at (spec 03 §2.6).
        self._calls: dict[tuple[str, str], Call] = {
            ("node", "insert"): Call(node.insert, _beside(empty)),
            ("node", "update"): Call(node.update),
            ("node", "query"): Call(node.query),
            ("nodepatch", "*"): Call(node.patch_status, _beside(empty), node.begin_patch_status),
            ("nodestatus", "insert"): Call(node.insert_status),
            ("nodestatus", "update"): Call(node.update_status),
            ("pod", "insert"): Call(pod.insert, _beside(EMPTY_POD)),
            ("pod", "delete"): Call(pod.delete),
            ("podpatch", "*"): Call(pod.patch_status, _beside(EMPTY_POD), pod.begin_patch_status),
            ("podstatus", "update"): Call(pod.update_status),
            ("configmap", "query"): Call(CachedQuery(api, config_maps)),
            ("secret", "query"): Call(CachedQuery(api, secrets)),
            ("persistentvolume", "query"): Call(LiveQuery(api, PERSISTENT_VOLUME)),
            ("persistentvolumeclaim", "query"): Call(LiveQuery(api, PERSISTENT_VOLUME_CLAIM)),
            ("volumeattachment", "query"): Call(LiveQuery(api, VOLUME_ATTACHMENT)),
            ("serviceaccounttoken", "query"): Call(identity.token, identity.no_token),
            ("lease", "insert"): Call(lease.insert, _beside(EMPTY_LEASE)),
            ("lease", "update"): Call(lease.update, _beside(EMPTY_LEASE), lease.begin_update, lease.written),
            ("lease", "query"): Call(lease.query, lease.not_found, lease.begin_query, lease.found),
            ("certificatesigningrequest", "insert"): Call(
                identity.insert_signing_request, _beside(EMPTY_SIGNING_REQUEST)
            ),
            ("certificatesigningrequest", "query"): Call(identity.query_signing_request),
            ("event", "insert"): Call(event.insert, _silently),
            ("event", "update"): Call(event.update, _silently),
            ("event", "patch"): Call(event.patch, _silently),
        }

    def receive(self, message: Message) -> None:
        """Take a message of a node, its resource prefixed with `node/<node>/`; answer at once what cannot be done."""
        try:
            request = Request(message)
        except BadRequestError as error:
            _requests.inc("unknown", "unknown", "malformed")
            log.debug("request dropped msg_id=%s reason=%s", message.id, error)
            return
        call = self._call(request)
        if call is None:
            _requests.inc("unknown", "unknown", "unsupported")
            self._fail(request, BadRequestError(f"no {message.operation!r} of {request.type!r} is supported"))
        elif call.begin is not None and self._beat is not None and self._queue.start(request):
            self._beat.add((request, call))
        elif not self._queue.put(request):
            _requests.inc(request.type, self._operation(request), "overflow")
            self._fail(request, ApiError(429, "TooManyRequests", "too many requests of this node are waiting", b""))

    def forget(self, node: str) -> None:
        """Drop what is remembered about a node, which has gone."""
        self._told.pop(node, None)

    async def run(self) -> None:
        """Work on requests, for ever."""
        self._beat = Beat(self._begin)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            self._beat.stop()
            self._beat = None

    def _begin(self, started: tuple[Request, Call]) -> None:
        """Make the call of a request at once, or leave it to a worker."""
        request, call = started
        assert call.begin is not None
        try:
            as_node = request.node if self._impersonate else ""
            if not call.begin(request, as_node, partial(self._answered, request, call)):
                self._queue.hand_over(request)
        except Exception as error:
            self._answered(request, call, error)

    def _answered(self, request: Request, call: Call, answer: bytes | Exception) -> None:
        """Answer a request whose call was begun."""
        if isinstance(answer, BusyError):
            self._queue.hand_over(request)
            return
        outcome = "unanswered"
        try:
            if isinstance(answer, Exception):
                outcome = self._refuse(request, answer)
            else:
                self._send(call.finish(request, answer))
                outcome = "ok"
        except Exception:
            log.exception("answer failed node=%s msg_id=%s", request.node, request.message.id)
        self._queue.done(request)
        _requests.inc(request.type, self._operation(request), outcome)

    async def _work(self) -> None:
        while True:
            request = await self._queue.take()
            try:
                await self._make(request)
            except Exception:
                # A worker never ends for what one request did (spec 03 §9.9).
                _requests.inc(request.type, self._operation(request), "unanswered")
                log.exception("answer failed node=%s msg_id=%s", request.node, request.message.id)
            finally:
                self._queue.done(request)

    async def _make(self, request: Request) -> None:
        call = self._call(request)
        assert call is not None
        outcome = "ok"
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer = await call.make(request, request.node if self._impersonate else "")
            if answer is not None:
                self._send(answer)
        except Exception as error:
            outcome = self._refuse(request, error)
        _requests.inc(request.type, self._operation(request), outcome)

    def _refuse(self, request: Request, error: Exception) -> str:
        """Answer that a request was not done; return how that is counted."""
        if isinstance(error, ApiError):
            outcome = error.reason or str(error.code)
        elif isinstance(error, BadRequestError):
            outcome = "bad"
        elif isinstance(error, ForbiddenError):
            outcome = "forbidden"
        elif isinstance(error, ApiUnavailableError | TimeoutError):
            outcome = "unavailable"
            error = ApiUnavailableError(str(error) or f"no result in {REQUEST_TIMEOUT_S:.0f} s")
        else:
            outcome = "failed"
            log.error(
                "request failed node=%s msg_id=%s type=%s",
                request.node,
                request.message.id,
                request.type,
                exc_info=error,
            )
        self._fail(request, error)
        return outcome

    def _fail(self, request: Request, error: Exception) -> None:
        call = self._call(request)
        log.log(
            logging.WARNING if self._is_news(request, error) else logging.DEBUG,
            "request not done node=%s msg_id=%s type=%s name=%s reason=%s",
            request.node,
            request.message.id,
            request.type,
            request.name,
            error,
        )
        answer = call.fail(request, error) if call is not None else request.failed(error)
        if answer is not None:
            self._send(answer)

    def _is_news(self, request: Request, error: Exception) -> bool:
        """Whether somebody may want to look at a failure: the first of its kind of a node since it connected.

        NotFound and Conflict are what registrations and leases are made of, and that the API is away is told elsewhere.
        """
        if isinstance(error, ApiUnavailableError):
            return False
        reason = error.reason if isinstance(error, ApiError) else type(error).__name__
        if reason in ("NotFound", "AlreadyExists", "Conflict"):
            return False
        # A type that is none is the sender's invention, of which there is no end.
        failure = (request.type if self._call(request) is not None else "", reason)
        told = self._told.setdefault(request.node, set())
        is_news = failure not in told
        told.add(failure)
        return is_news

    def _operation(self, request: Request) -> str:
        operation = request.message.operation
        return operation if (request.type, operation) in self._calls else "*"

    def _call(self, request: Request) -> Call | None:
        return self._calls.get((request.type, request.message.operation)) or self._calls.get((request.type, "*"))

    def _send(self, message: Message) -> None:
        self._bus.send(HUB, message)
