"""Requests of nodes: queued, made to the API by long-lived workers, answered (spec 03 §2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from kubeedge import metrics
from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.events import EventRequests
from kubeedge.cloudcore.edgecontroller.identity import EMPTY_SIGNING_REQUEST, IdentityRequests
from kubeedge.cloudcore.edgecontroller.leases import EMPTY_LEASE, LeaseRequests
from kubeedge.cloudcore.edgecontroller.nodes import NodeRequests, empty_node
from kubeedge.cloudcore.edgecontroller.ownership import PodOwnership
from kubeedge.cloudcore.edgecontroller.pods import EMPTY_POD, PodRequests
from kubeedge.cloudcore.edgecontroller.queries import CachedQuery, LiveQuery
from kubeedge.cloudcore.edgecontroller.queue import RequestQueue
from kubeedge.cloudcore.edgecontroller.request import BadRequestError, ForbiddenError, Request
from kubeedge.kube.api import ApiError, ApiUnavailableError, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, VOLUME_ATTACHMENT
from kubeedge.message import Message

log = logging.getLogger(__name__)

HUB = "cloudhub"
WORKERS = 64
# A node waits 60 s for an answer (spec 05 §2.5); what takes longer ends here, with an answer that it still hears.
REQUEST_TIMEOUT_S = 50.0

_requests = metrics.Counter(
    "kubeedge_edgecontroller_requests_total", "Requests of nodes, by outcome", ("type", "operation", "outcome")
)

Make = Callable[[Request, str], Awaitable[Message | None]]


Fail = Callable[[Request, Exception], Message | None]


class Call(NamedTuple):
    """How a request is made, and how its failure is answered."""

    make: Make
    fail: Fail = Request.failed


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
            ("nodepatch", "*"): Call(node.patch_status, _beside(empty)),
            ("nodestatus", "insert"): Call(node.insert_status),
            ("nodestatus", "update"): Call(node.update_status),
            ("pod", "insert"): Call(pod.insert, _beside(EMPTY_POD)),
            ("pod", "delete"): Call(pod.delete),
            ("podpatch", "*"): Call(pod.patch_status, _beside(EMPTY_POD)),
            ("podstatus", "update"): Call(pod.update_status),
            ("configmap", "query"): Call(CachedQuery(api, config_maps)),
            ("secret", "query"): Call(CachedQuery(api, secrets)),
            ("persistentvolume", "query"): Call(LiveQuery(api, PERSISTENT_VOLUME)),
            ("persistentvolumeclaim", "query"): Call(LiveQuery(api, PERSISTENT_VOLUME_CLAIM)),
            ("volumeattachment", "query"): Call(LiveQuery(api, VOLUME_ATTACHMENT)),
            ("serviceaccounttoken", "query"): Call(identity.token, identity.no_token),
            ("lease", "insert"): Call(lease.insert, _beside(EMPTY_LEASE)),
            ("lease", "update"): Call(lease.update, _beside(EMPTY_LEASE)),
            ("lease", "query"): Call(lease.query, _beside(b"null")),
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
        if self._call(request) is None:
            _requests.inc("unknown", "unknown", "unsupported")
            self._fail(request, BadRequestError(f"no {message.operation!r} of {request.type!r} is supported"))
        elif not self._queue.put(request):
            _requests.inc(request.type, self._operation(request), "overflow")
            self._fail(request, ApiError(429, "TooManyRequests", "too many requests of this node are waiting", b""))

    def forget(self, node: str) -> None:
        """Drop what is remembered about a node, which has gone."""
        self._told.pop(node, None)

    async def run(self) -> None:
        """Work on requests, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

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
        except ApiError as error:
            outcome = error.reason or str(error.code)
            self._fail(request, error)
        except (BadRequestError, ForbiddenError) as error:
            outcome = "bad" if isinstance(error, BadRequestError) else "forbidden"
            self._fail(request, error)
        except (ApiUnavailableError, TimeoutError) as error:
            outcome = "unavailable"
            self._fail(request, ApiUnavailableError(str(error) or f"no result in {REQUEST_TIMEOUT_S:.0f} s"))
        except Exception as error:
            outcome = "failed"
            log.exception("request failed node=%s msg_id=%s type=%s", request.node, request.message.id, request.type)
            self._fail(request, error)
        _requests.inc(request.type, self._operation(request), outcome)

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
