"""Every kind that can be listed, watched and deleted, custom ones as they come and go; a cache for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.views import CustomResourceDefinition, HasMetadata, Meta, condition
from kubeedge.apiserver.kinds.table import builtin
from kubeedge.kube.api import Kind, KubeApi
from kubeedge.kube.informer import EventType

log = logging.getLogger(__name__)

CUSTOM_SYNC_TIMEOUT_S = 20.0

_NEEDED = {"list", "watch", "delete"}
# Events are owned by nobody and come in numbers.
_LEFT_OUT = ("events",)

OnAnyChange = Callable[[Kind, EventType, HasMetadata, HasMetadata | None], None]


def builtin_kinds() -> list[Kind]:
    """Return the built-in kinds that are stored, each once whatever groups and versions show it."""
    return [
        spec.kind
        for spec in builtin().specs()
        if spec.storage is None and set(spec.verbs) >= _NEEDED and spec.kind.plural not in _LEFT_OUT
    ]


def custom_kind(definition: CustomResourceDefinition) -> Kind | None:
    """Return the kind that a definition gives, in the version in which it is stored; None when it isn't served."""
    established = condition(definition.status.conditions, "Established")
    served = next(
        (version for version in definition.spec.versions if version.storage and version.served), None
    ) or next((version for version in definition.spec.versions if version.served), None)
    if established is None or established.status != "True" or served is None:
        return None
    spec = definition.spec
    return Kind(spec.group, served.name, spec.names.plural, spec.names.kind, spec.scope == "Namespaced")


class KindList:
    """Caches of all kinds: those that controllers made for themselves, and one of the metadata for each other kind."""

    def __init__(self, api: KubeApi, own: Iterable[Cache[Any]], definitions: Cache[CustomResourceDefinition]) -> None:
        self._api = api
        self._definitions = definitions
        self._caches: dict[Kind, Cache[Any]] = {cache.kind: cache for cache in [*own, definitions]}
        for kind in builtin_kinds():
            self._caches.setdefault(kind, Cache(api, kind, Meta))
        self._builtin = frozenset(self._caches)
        self._handlers: list[OnAnyChange] = []
        self._followed: dict[Kind, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._started = asyncio.Event()
        for kind, cache in self._caches.items():
            self._connect(kind, cache)
        definitions.on_change(lambda type_, new, old: self._changed.set())

    def _connect(self, kind: Kind, cache: Cache[Any]) -> None:
        def tell(type_: EventType, new: HasMetadata, old: HasMetadata | None) -> None:
            for handler in self._handlers:
                handler(kind, type_, new, old)

        cache.on_change(tell)

    def on_change(self, handler: OnAnyChange) -> None:
        """Call handler(kind, type, new, old) for each change of an object of any kind."""
        self._handlers.append(handler)

    def kinds(self) -> list[Kind]:
        """Return all kinds there are now."""
        return list(self._caches)

    def namespaced(self) -> list[Kind]:
        """Return the kinds whose objects live in namespaces."""
        return [kind for kind in self._caches if kind.namespaced]

    def find(self, api_version: str, kind: str) -> Cache[Any] | None:
        """Return the cache of the kind that an owner reference names; any version of a group will do."""
        group = api_version.rpartition("/")[0]
        return next(
            (cache for found, cache in self._caches.items() if (found.group, found.kind) == (group, kind)), None
        )

    def cache(self, kind: Kind) -> Cache[Any] | None:
        """Return the cache of a kind."""
        return self._caches.get(kind)

    async def synced(self) -> None:
        """Wait until all built-in kinds, and for a while the custom ones known by then, have been read once."""
        await self._started.wait()
        for kind in self._builtin:
            await self._caches[kind].synced()
        try:
            async with asyncio.timeout(CUSTOM_SYNC_TIMEOUT_S):
                for cache in list(self._caches.values()):
                    await cache.synced()
        except TimeoutError:
            # A custom kind whose conversion is broken must not keep the others from being looked after.
            log.warning("custom kinds not read in time timeout_s=%g", CUSTOM_SYNC_TIMEOUT_S)

    async def run(self) -> None:
        """Follow all kinds until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._builtin:
                tasks.create_task(self._caches[kind].run())
            await self._definitions.synced()
            while True:
                self._changed.clear()
                self._follow_definitions(tasks)
                self._started.set()
                await self._changed.wait()

    def _follow_definitions(self, tasks: asyncio.TaskGroup) -> None:
        """Start to follow new custom kinds, stop following those that are gone."""
        present = {kind for found in self._definitions.all() if (kind := custom_kind(found)) is not None}
        for kind in present - self._caches.keys():
            cache = self._caches[kind] = Cache(self._api, kind, Meta)
            self._connect(kind, cache)
            self._followed[kind] = tasks.create_task(cache.run())
            log.debug("custom kind followed kind=%s.%s", kind.plural, kind.group)
        for kind in self._caches.keys() - present - self._builtin:
            self._followed.pop(kind).cancel()
            cache = self._caches.pop(kind)
            for item in cache.all():
                for handler in self._handlers:
                    handler(kind, "DELETED", item, item)
