"""The API for parts of the same process: what goes over HTTPS elsewhere is a function call here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

from kubeedge.apiserver.authentication import AUTHENTICATED, LOCAL_ADMIN, NODE_PREFIX, NODES, User
from kubeedge.apiserver.engine import NOTHING_SENT, Call, Engine, UnknownGroupError, place_of
from kubeedge.apiserver.representation import Answer, Page, bookmark, served
from kubeedge.apiserver.request import NO_QUERY, Query
from kubeedge.apiserver.watch import Watch
from kubeedge.apiserver.writing import Sent
from kubeedge.kube.api import JSON, Answered, ApiUnavailableError, Items, Kind, WatchEvent
from kubeedge.store.database import StoreError


class LocalApi:
    """KubeApi over an engine, in the name of user."""

    def __init__(self, engine: Engine, user: User = LOCAL_ADMIN) -> None:
        self._engine = engine
        self._user = user

    def _caller(self, as_node: str) -> User:
        return User(f"{NODE_PREFIX}{as_node}", (NODES, AUTHENTICATED)) if as_node else self._user

    async def _call(
        self,
        verb: str,
        kind: Kind,
        namespace: str,
        name: str = "",
        *,
        subresource: str = "",
        as_node: str = "",
        query: Query = NO_QUERY,
        sent: Sent = NOTHING_SENT,
    ) -> Answer | Page | Watch:
        place = place_of(kind, namespace, name, subresource)
        try:
            return await self._engine.call(Call(self._caller(as_node), verb, place, query, sent))
        except (StoreError, UnknownGroupError) as error:
            raise ApiUnavailableError(str(error)) from error

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "", as_node: str = "") -> bytes:
        """Read one object."""
        return _data(await self._call("get", kind, namespace, name, subresource=subresource, as_node=as_node))

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
        page = await self._call("list", kind, namespace, query=query)
        assert isinstance(page, Page)
        return Items([served(page.spec, stored) for stored in page.items], str(page.rv), page.continue_token)

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
        """Follow a collection from resource_version on, bookmarks included."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            timeoutSeconds=str(timeout_s) if timeout_s else "",
            allowWatchBookmarks="true",
        )
        watch = await self._call("watch", kind, namespace, query=query)
        assert isinstance(watch, Watch)
        spec = self._engine.spec_of(place_of(kind, namespace))
        try:
            async for batch in watch.batches():
                for notice in batch:
                    data = bookmark(spec, notice) if notice.object is None else served(spec, notice.object)
                    yield WatchEvent(notice.type, data)
        finally:
            watch.release()

    async def create(
        self, kind: Kind, namespace: str, body: bytes, *, name: str = "", subresource: str = "", as_node: str = ""
    ) -> bytes:
        """Create an object, or post to the subresource of name."""
        return await self._write("create", kind, namespace, name, Sent(body, JSON), subresource, as_node)

    async def update(
        self, kind: Kind, namespace: str, name: str, body: bytes, *, subresource: str = "", as_node: str = ""
    ) -> bytes:
        """Replace an object."""
        return await self._write("update", kind, namespace, name, Sent(body, JSON), subresource, as_node)

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
        return await self._write("patch", kind, namespace, name, Sent(body, patch_type), subresource, as_node)

    async def delete(self, kind: Kind, namespace: str, name: str, *, body: bytes = b"", as_node: str = "") -> bytes:
        """Delete an object; body is a DeleteOptions or empty. Returns the object or Status answered."""
        return _data(await self._call("delete", kind, namespace, name, as_node=as_node, sent=Sent(body, JSON)))

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
        timeout_s: float = 0,
    ) -> bool:
        """Decline: every call has to wait for the store."""
        return False

    async def _write(
        self, verb: str, kind: Kind, namespace: str, name: str, sent: Sent, subresource: str, as_node: str
    ) -> bytes:
        answer = await self._call(
            verb, kind, namespace, name, subresource=subresource, as_node=as_node, query=_UNCHECKED, sent=sent
        )
        return _data(answer)


def _query(**values: str) -> Query:
    return Query({name: (value,) for name, value in values.items() if value})


# Nobody would read the warnings about unknown fields.
_UNCHECKED = _query(fieldValidation="Ignore")


def _data(answer: Answer | Page | Watch) -> bytes:
    assert isinstance(answer, Answer)
    return answer.data()
