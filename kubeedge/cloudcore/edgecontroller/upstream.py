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


class Call(NamedTuple):
    """How a request is made, and the form in which it fails: RESP beside `empty`, ERR, or silence for events."""

    make: Make
    empty: bytes = b""
    is_answered: bool = True


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
        own_pods = PodOwnership(api, pods)
        node = NodeRequests(api, nodes, local_ip, heartbeat_s)
        pod = PodRequests(api, own_pods, self._send)
        lease = LeaseRequests(api)
        identity = IdentityRequests(api, own_pods)
        event = EventRequests(api)
        empty = empty_node()
        # `*`: the operation is not looked at (spec 03 §2.6).
        self._calls: dict[tuple[str, str], Call] = {
            ("node", "insert"): Call(node.insert, empty),
            ("node", "update"): Call(node.update),
            ("node", "query"): Call(node.query),
            ("nodepatch", "*"): Call(node.patch_status, empty),
            ("nodestatus", "insert"): Call(node.insert_status),
            ("nodestatus", "update"): Call(node.update_status),
            ("pod", "insert"): Call(pod.insert, EMPTY_POD),
            ("pod", "delete"): Call(pod.delete),
            ("podpatch", "*"): Call(pod.patch_status, EMPTY_POD),
            ("podstatus", "update"): Call(pod.update_status),
            ("configmap", "query"): Call(CachedQuery(api, config_maps)),
            ("secret", "query"): Call(CachedQuery(api, secrets)),
            ("persistentvolume", "query"): Call(LiveQuery(api, PERSISTENT_VOLUME)),
            ("persistentvolumeclaim", "query"): Call(LiveQuery(api, PERSISTENT_VOLUME_CLAIM)),
            ("volumeattachment", "query"): Call(LiveQuery(api, VOLUME_ATTACHMENT)),
            ("serviceaccounttoken", "query"): Call(identity.token),
            ("lease", "insert"): Call(lease.insert, EMPTY_LEASE),
            ("lease", "update"): Call(lease.update, EMPTY_LEASE),
            ("lease", "query"): Call(lease.query, b"null"),
            ("certificatesigningrequest", "insert"): Call(identity.insert_signing_request, EMPTY_SIGNING_REQUEST),
            ("certificatesigningrequest", "query"): Call(identity.query_signing_request),
            ("event", "insert"): Call(event.insert, is_answered=False),
            ("event", "update"): Call(event.update, is_answered=False),
            ("event", "patch"): Call(event.patch, is_answered=False),
        }

    def receive(self, message: Message) -> None:
        """Take a message of a node, its resource prefixed with `node/<node>/`; answer at once what cannot be done."""
        try:
            request = Request(message)
        except BadRequestError as error:
            _requests.inc("unknown", "unknown", "malformed")
            log.warning("request dropped msg_id=%s reason=%s", message.id, error)
            return
        if self._call(request) is None:
            _requests.inc("unknown", "unknown", "unsupported")
            log.warning(
                "request refused node=%s msg_id=%s reason=unsupported type=%r operation=%r",
                request.node,
                message.id,
                request.type,
                message.operation,
            )
            self._send(request.failed(BadRequestError(f"no {message.operation!r} of {request.type!r} is supported")))
        elif not self._queue.put(request):
            _requests.inc(request.type, message.operation, "overflow")
            log.warning("request refused node=%s msg_id=%s reason=too many waiting", request.node, message.id)
            self._fail(request, ApiError(429, "TooManyRequests", "too many requests of this node are waiting", b""))

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
        assert call is not None
        # NotFound and Conflict are what registrations and leases are made of; the rest somebody may want to look at.
        expected = isinstance(error, ApiError) and error.reason in ("NotFound", "AlreadyExists", "Conflict")
        log.log(
            logging.DEBUG if expected else logging.WARNING,
            "request not done node=%s msg_id=%s type=%s name=%s reason=%s",
            request.node,
            request.message.id,
            request.type,
            request.name,
            error,
        )
        if call.empty:
            self._send(request.not_written(error, call.empty))
        elif call.is_answered:
            self._send(request.failed(error))

    def _operation(self, request: Request) -> str:
        operation = request.message.operation
        return operation if (request.type, operation) in self._calls else "*"

    def _call(self, request: Request) -> Call | None:
        return self._calls.get((request.type, request.message.operation)) or self._calls.get((request.type, "*"))

    def _send(self, message: Message) -> None:
        self._bus.send(HUB, message)
