"""The API without its transports: a user, a verb and a place in, an answer, a page or a watch out."""

from __future__ import annotations

from typing import NamedTuple

from kubeedge.apiserver import status
from kubeedge.apiserver.admission import Admission
from kubeedge.apiserver.authentication import User
from kubeedge.apiserver.authorization import Attributes, Authorizer
from kubeedge.apiserver.body import read_object
from kubeedge.apiserver.deleting import Deleter, delete_options
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.reading import Reader
from kubeedge.apiserver.representation import Answer, Page
from kubeedge.apiserver.request import NO_QUERY, Place, Query, list_options, write_options
from kubeedge.apiserver.reviews import Reviews
from kubeedge.apiserver.storage import Storage
from kubeedge.apiserver.subresources import Subresources
from kubeedge.apiserver.tokens import Tokens
from kubeedge.apiserver.watch import Watch
from kubeedge.apiserver.writing import Sent, Writer
from kubeedge.kube.api import Kind

NOTHING_SENT = Sent(b"")
# Subresources that are parts of their object and written through the kind's status strategy.
_PARTS = ("status",)
# They need a way to the container, which is on another machine.
_NOT_SERVED = ("attach", "ephemeralcontainers", "exec", "log", "portforward", "proxy", "resize")


class UnknownGroupError(Exception):
    """A path of an API group that is not served."""


class Call(NamedTuple):
    """One call of the API."""

    user: User
    verb: str
    place: Place
    query: Query = NO_QUERY
    sent: Sent = NOTHING_SENT


class Engine:
    """Everything that can be done with the kinds of a registry."""

    def __init__(self, storage: Storage, registry: Registry, tokens: Tokens | None = None) -> None:
        self.storage = storage
        self.registry = registry
        pods = registry.lookup("", "v1", "pods")
        self.authorizer = Authorizer(storage, pods.selectable_fields if pods is not None else lambda pod: {})
        admission = Admission(storage)
        self.reader = Reader(storage)
        self.writer = Writer(storage, registry, admission)
        self.deleter = Deleter(storage, self.reader, admission)
        self._subresources = Subresources(storage, registry, self.reader, self.writer, self.deleter, tokens)
        self._reviews = Reviews(self.authorizer, tokens)

    def authorize(self, call: Call) -> None:
        """Raise ApiError 403 unless the user may do what the call asks."""
        if call.user.is_master:
            return
        at = call.place
        asked = Attributes(
            verb=call.verb,
            group=at.group,
            resource=at.resource,
            subresource=at.subresource,
            namespace=at.namespace,
            name=at.name,
            field_selector=call.query.text("fieldSelector"),
        )
        self.authorizer.require(call.user, asked)

    def spec_of(self, place: Place) -> KindSpec:
        """Return the kind that a place is of. Raises ApiError 404 or UnknownGroupError."""
        spec = self.registry.lookup(place.group, place.version, place.resource)
        if spec is None:
            if place.group and not self.registry.versions(place.group):
                raise UnknownGroupError(place.group)
            raise status.no_such_resource()
        if place.namespace and not spec.kind.namespaced and spec.kind.plural != "namespaces":
            raise status.no_such_resource()
        if place.name and spec.kind.namespaced and not place.namespace:
            raise status.no_such_resource()
        if place.subresource and place.subresource not in spec.subresources:
            raise status.no_such_resource()
        return spec

    async def call(self, call: Call) -> Answer | Page | Watch:
        """Do what is asked. Raises ApiError, UnknownGroupError or StoreError."""
        self.authorize(call)
        spec = self.spec_of(call.place)
        if call.place.subresource:
            return await self._call_subresource(call, spec)
        return await self._call_object(call, spec)

    async def _call_object(self, call: Call, spec: KindSpec) -> Answer | Page | Watch:
        _, verb, at, query, sent = call
        if verb not in spec.verbs:
            raise status.method_not_allowed()
        namespace = at.namespace if spec.kind.namespaced else ""
        name = at.name
        match verb:
            case "get":
                return await self.reader.get(spec, namespace, name, query.text("resourceVersion"))
            case "list":
                return await self.reader.list(spec, namespace, list_options(query))
            case "watch":
                return self.reader.watch(spec, namespace, list_options(query), name)
            case "create" if not name and (namespace or not spec.kind.namespaced):
                if spec.is_virtual:
                    return await self._create_virtual(call, spec)
                return await self.writer.create(spec, namespace, sent, write_options(query, "CreateOptions"), call.user)
            case "update" if name:
                options = write_options(query, "UpdateOptions")
                return await self.writer.update(spec, namespace, name, sent, options, call.user)
            case "patch" if name:
                options = write_options(query, "PatchOptions")
                return await self.writer.patch(spec, namespace, name, sent, options)
            case "delete":
                return await self.deleter.delete(spec, namespace, name, delete_options(sent, query))
            case "deletecollection":
                selected = list_options(query)
                return await self.deleter.delete_collection(spec, namespace, selected, delete_options(sent, query))
            case _:
                raise status.method_not_allowed()

    async def _create_virtual(self, call: Call, spec: KindSpec) -> Answer:
        document = read_object(call.sent.body, call.sent.content_type, spec, self.registry)
        if spec.kind.kind == "Binding":
            pods = self._pods()
            name = document["metadata"].get("name", "")
            options = write_options(call.query, "CreateOptions")
            return await self._subresources.bind(pods, call.place.namespace, name, call.sent, options)
        return self._reviews.answer(spec, call.place.namespace, document, call.user)

    def _pods(self) -> KindSpec:
        spec = self.registry.lookup("", "v1", "pods")
        if spec is None:
            raise status.no_such_resource()
        return spec

    async def _call_subresource(self, call: Call, spec: KindSpec) -> Answer:
        user, verb, at, query, sent = call
        name, subresource = at.name, at.subresource
        if verb not in spec.subresources[subresource].verbs:
            raise status.method_not_allowed()
        if subresource in _NOT_SERVED:
            message = f"{status.resource_name(spec.kind)}/{subresource} is not served by the embedded API"
            raise status.status(501, "NotImplemented", message, {})
        namespace = at.namespace if spec.kind.namespaced else ""
        subresources = self._subresources
        if verb == "get":
            if subresource == "scale":
                return subresources.get_scale(spec, namespace, name)
            return await self.reader.get(spec, namespace, name)
        if subresource in ("token", "binding", "eviction"):
            options = write_options(query, "CreateOptions")
            if subresource == "token":
                return subresources.token(spec, namespace, name, sent, user)
            if subresource == "binding":
                return await subresources.bind(spec, namespace, name, sent, options)
            return await subresources.evict(spec, namespace, name, sent, options)
        options = write_options(query, "PatchOptions" if verb == "patch" else "UpdateOptions")
        if subresource == "scale":
            return await subresources.set_scale(spec, namespace, name, sent, options, patch=verb == "patch")
        if subresource == "finalize":
            return await subresources.finalize(spec, name, sent, options)
        if verb == "patch":
            return await self.writer.patch(spec, namespace, name, sent, options, subresource)
        if subresource == "approval":
            return await subresources.approve(spec, namespace, name, sent, options)
        return await self.writer.update(spec, namespace, name, sent, options, user, subresource)


def place_of(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> Place:
    """Return the place of an object or, without a name, of a collection."""
    where = namespace if kind.namespaced else name if kind.plural == "namespaces" else ""
    return Place(kind.group, kind.version, where, kind.plural, name, subresource)
