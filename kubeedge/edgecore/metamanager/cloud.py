"""Questions to the cloud: under an id of their own, the answer kept, handed on and acknowledged (spec 05 §2.4)."""

from __future__ import annotations

import logging

import apsw
import msgspec

from kubeedge.bus import Bus, UnknownModuleError
from kubeedge.edgecore.metamanager import keys, rows, tokens
from kubeedge.edgecore.metamanager.content import failure, identify, object_in, with_kind
from kubeedge.message import Message, content_bytes, error_to, new_message, response_to
from kubeedge.store.database import Database, StoreError, Work

log = logging.getLogger(__name__)

MODULE = "websocket"
# Answers to these are never acknowledged: the cloud keeps none of them (spec 05 Q6).
_UNACKNOWLEDGED = frozenset({keys.POD_PATCH, keys.NODE_PATCH})


class Cloud:
    """The cloud as MetaManager asks it, through module `websocket`."""

    def __init__(self, bus: Bus, database: Database, timeout_s: float) -> None:
        self._bus = bus
        self._database = database
        self._timeout_s = timeout_s
        self._askers: dict[str, list[Message]] = {}

    async def ask_for_object(self, request: Message) -> None:
        """Put a query for one object to the cloud; who asks for the same meanwhile gets the same answer.

        A Go cloud queues its answers by the uid of the object: of two answers on their way it would send the later one
        alone, and the first asker would wait for nothing (spec 01 §6.1). Raises what ask raises.
        """
        askers = self._askers.get(request.resource)
        if askers is not None:
            askers.append(request)
            return
        self._askers[request.resource] = askers = []
        try:
            await self.ask(request)
        except (StoreError, msgspec.DecodeError) as error:
            for asker in askers:
                self._bus.resolve(error_to(asker, str(error), source="metamanager", group=asker.group))
            raise
        finally:
            del self._askers[request.resource]

    async def ask(self, request: Message, *, token_request: str = "", keep_failure: bool = False) -> bool:
        """Put a request of edged to the cloud and answer it; return whether the asker has got its answer.

        What the answer brings is on disk before the asker gets it. token_request is the key under which a token is
        found again. With keep_failure a failure is not handed on, because the caller has something better.
        Raises StoreError, and msgspec.DecodeError for an answer that is no JSON; nothing is acknowledged then.
        """
        question = new_message(request.source, request.group, request.operation, request.resource, request.content)
        try:
            response = await self._bus.request(MODULE, question, self._timeout_s)
        except (TimeoutError, UnknownModuleError):
            log.warning("cloud did not answer operation=%s resource=%s", request.operation, request.resource)
            if not keep_failure:
                for asker in self._all_askers(request):
                    self._bus.resolve(self._silence(asker))
            return not keep_failure
        answer = content_bytes(response)
        found = object_in(answer) if response.operation != "error" else None
        if found is not None:
            work = _keeping(response.resource, found, token_request)
            if work is not None:
                await self._database.write(work)
        failed = found is None and response.content != b'"OK"'
        if not (failed and keep_failure):
            for asker in self._all_askers(request):
                self._bus.resolve(_readdressed(response, asker.id))
        self._acknowledge(response)
        return not (failed and keep_failure)

    def _all_askers(self, request: Message) -> list[Message]:
        return [request, *(self._askers.get(request.resource, ()) if request.operation == "query" else ())]

    async def keep_late(self, response: Message) -> None:
        """Keep an answer that came after its asker had gone, so that the cloud stops repeating it.

        Raises StoreError, msgspec.DecodeError.
        """
        found = object_in(content_bytes(response)) if response.operation != "error" else None
        if found is not None and (work := _keeping(response.resource, found, "")) is not None:
            await self._database.write(work)
        self._acknowledge(response)

    def _acknowledge(self, response: Message) -> None:
        if keys.type_of(response.resource) not in _UNACKNOWLEDGED and self._bus.has(MODULE):
            self._bus.send(MODULE, response_to(response))

    def _silence(self, request: Message) -> Message:
        text = f"the cloud did not answer within {self._timeout_s:g} s"
        if request.operation != "query":
            return error_to(request, f"failed to process remote: {text}", source="metamanager", group=request.group)
        type_, name = keys.type_of(request.resource), keys.name_of(request.resource)
        content = failure(504, "Timeout", f'{type_} "{name}": {text}', keys.plural_of(type_), name)
        return response_to(request, content, source="metamanager")


def _readdressed(response: Message, asker: str) -> Message:
    """Return response as the answer to another id; its own stays."""
    return Message(
        response.id,
        asker,
        response.timestamp_ms,
        response.resource_version,
        response.source,
        response.group,
        response.operation,
        response.resource,
        response.content,
        response.destination,
    )


def _keeping(resource: str, found: bytes, token_request: str) -> Work[None] | None:
    """Return the work that stores an answer; None for leases, which change every ten seconds and nobody reads."""
    match keys.type_of(resource):
        case keys.LEASE:
            return None
        case keys.TOKEN:
            return _keeping_token(resource, found, token_request)
        case keys.POD_PATCH:
            return _refreshing(keys.with_type(resource, keys.POD), with_kind(found, "v1", "Pod"), create=False)
        case keys.NODE_PATCH:
            return _refreshing(keys.with_type(resource, keys.NODE), with_kind(found, "v1", "Node"), create=True)
        case keys.POD:
            value = with_kind(found, "v1", "Pod").decode()
        case keys.NODE:
            value = with_kind(found, "v1", "Node").decode()
        case _:
            value = found.decode()
    return lambda connection: rows.put(connection, resource, value)


def _refreshing(resource: str, found: bytes, *, create: bool) -> Work[None]:
    identity, value = identify(found), found.decode()
    return lambda connection: rows.refresh(connection, resource, value, identity, create=create)


def _keeping_token(resource: str, found: bytes, token_request: str) -> Work[None]:
    namespace, _, account = resource.split("/")
    key, value = keys.token_key(namespace, account, tokens.decode(found)), found.decode()

    def work(connection: apsw.Connection) -> None:
        rows.put_token(connection, key, value, token_request or key)

    return work
