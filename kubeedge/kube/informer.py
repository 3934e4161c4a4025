"""A cache of one kind, kept current by list and watch, that tells what changed (spec 03 §14.2)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Literal

from kubeedge import metrics
from kubeedge.kube.api import ApiError, ApiUnavailableError, Kind, KubeApi, WatchEvent
from kubeedge.kube.object import MalformedObjectError, Object

log = logging.getLogger(__name__)

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
OnEvent = Callable[[EventType, Object, Object | None], None]
IndexFunction = Callable[[Object], Iterable[str]]

PAGE_SIZE = 500
# The server ends a watch after this time, stretched by up to the double so that watches don't end together.
WATCH_TIMEOUT_S = 300
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
# A watch that lived this long was a working one: the next failure starts again with FIRST_PAUSE_S.
STEADY_S = 5.0

_relists = metrics.Counter("kubeedge_informer_lists_total", "Full lists that informers asked for", ("kind",))
_failures = metrics.Counter("kubeedge_informer_failures_total", "Failed lists and watches of informers", ("kind",))
_handler_errors = metrics.Counter("kubeedge_informer_handler_errors_total", "Event handlers that raised", ("kind",))


class Informer:
    """Holds every object of kind that the selectors let through and calls its handlers for each change, in order.

    Handlers are plain functions, called as `handler(type, new, old)` from run(): an ADDED has no old, a DELETED has the
    last state of the object as new. After a gap (an expired watch, an API that was away) the difference between cache
    and list is told as events of the same kind, so a handler never misses a deletion; an object that was deleted and
    made again under its name comes as DELETED and ADDED. A handler that raises is logged and counted, the others
    still run.
    """

    def __init__(
        self,
        api: KubeApi,
        kind: Kind,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        indexes: Mapping[str, IndexFunction] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make an informer; indexes gives for each index name the function from an object to its index values."""
        self.kind = kind
        self._api = api
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._jitter = jitter
        self._objects: dict[tuple[str, str], Object] = {}
        self._index_functions = dict(indexes or {})
        # index -> value -> keys, in the order of arrival
        self._indexes: dict[str, dict[str, dict[tuple[str, str], None]]] = {name: {} for name in self._index_functions}
        self._handlers: list[OnEvent] = []
        self._synced = asyncio.Event()
        self._resource_version = ""

    # Reading

    def get(self, namespace: str, name: str) -> Object | None:
        """Return the object of that name; namespace is "" for cluster-scoped kinds."""
        return self._objects.get((namespace, name))

    def objects(self) -> Iterable[Object]:
        """Return all objects, a snapshot that later changes leave alone."""
        return list(self._objects.values())

    def by_index(self, index: str, value: str) -> list[Object]:
        """Return the objects for which the function of index gave value."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def has_synced(self) -> bool:
        """Whether the first list is in the cache."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """The place that list and watch have reached; "" before the first list."""
        return self._resource_version

    async def synced(self) -> None:
        """Wait until the first list is in the cache and its ADDED events have been handled."""
        await self._synced.wait()

    def on_event(self, handler: OnEvent, *, replay: bool = True) -> None:
        """Call handler for every change from now on, and with replay at once with an ADDED for what is in the cache."""
        self._handlers.append(handler)
        if replay:
            for object in self.objects():
                self._tell(handler, "ADDED", object, None)

    # Following

    async def run(self) -> None:
        """List, watch and start over, for ever; the API may come, go, and forget as it likes."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        told = ""
        while True:
            began = loop.time()
            reason = await self._follow_once()
            if reason:
                _failures.inc(self.kind.plural)
                log.log(
                    logging.DEBUG if reason == told else logging.WARNING,
                    "informer interrupted kind=%s reason=%s",
                    self.kind.plural,
                    reason,
                )
            told = reason
            # Only a watch that worked for a while is started again without a pause.
            if loop.time() - began >= STEADY_S:
                pause_s = FIRST_PAUSE_S
                if not reason:
                    continue
            await asyncio.sleep(pause_s * (0.5 + self._jitter()))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _follow_once(self) -> str:
        """List if there is no place to go on from, and watch until that ends; return why it failed, or ""."""
        try:
            if not self._resource_version:
                await self._list()
            await self._watch()
        except ApiError as error:
            if error.code == 410:
                self._resource_version = ""
            return str(error)
        except MalformedObjectError as error:
            self._resource_version = ""
            return f"malformed object: {error}"
        except ApiUnavailableError as error:
            return str(error) or type(error).__name__
        return ""

    async def _list(self) -> None:
        objects: dict[tuple[str, str], Object] = {}
        continue_token, limit = "", PAGE_SIZE
        while True:
            try:
                page = await self._api.list(
                    self.kind,
                    self._namespace,
                    label_selector=self._label_selector,
                    field_selector=self._field_selector,
                    limit=limit,
                    continue_token=continue_token,
                )
            except ApiError as error:
                if error.code == 410 and continue_token:
                    # The snapshot of the pages went while we read them: take everything in one answer.
                    objects.clear()
                    continue_token, limit = "", 0
                    continue
                raise
            for raw in page.items:
                object = Object.parse(raw, self.kind)
                objects[object.namespace, object.name] = object
            continue_token = page.continue_token
            if not continue_token:
                break
        _relists.inc(self.kind.plural)
        self._replace(objects)
        self._resource_version = page.resource_version
        if not self._synced.is_set():
            log.debug("informer synced kind=%s objects=%d", self.kind.plural, len(objects))
            self._synced.set()

    async def _watch(self) -> None:
        events = self._api.watch(
            self.kind,
            self._namespace,
            resource_version=self._resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_s=int(WATCH_TIMEOUT_S * (1 + self._jitter())),
        )
        async with aclosing(events):
            async for event in events:
                self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        object = Object.parse(event.object, self.kind)
        # First the place, then the handlers: what a handler does must not make us see the event twice.
        self._resource_version = object.resource_version
        if event.type == "DELETED":
            self._remove(object)
        elif event.type != "BOOKMARK":
            self._put(object)

    def _replace(self, objects: dict[tuple[str, str], Object]) -> None:
        """Make the cache equal to objects; deletions are told first, so that names are free when they come again."""
        for key, old in list(self._objects.items()):
            if key not in objects:
                self._remove(old)
        for object in objects.values():
            self._put(object)

    def _put(self, new: Object) -> None:
        key = (new.namespace, new.name)
        old = self._objects.get(key)
        if old is not None:
            if old.resource_version == new.resource_version and old.uid == new.uid:
                return
            if old.uid != new.uid:
                self._remove(old)
                old = None
        self._objects[key] = new
        for name, function in self._index_functions.items():
            values = function(new)
            if old is not None:
                # Mostly the same, and then the key stands in the index already.
                before = function(old)
                if before == values:
                    continue
                self._unindex(name, before, key)
            index = self._indexes[name]
            for value in values:
                index.setdefault(value, {})[key] = None
        type_: EventType = "ADDED" if old is None else "MODIFIED"
        for handler in self._handlers:
            self._tell(handler, type_, new, old)

    def _remove(self, last: Object) -> None:
        key = (last.namespace, last.name)
        old = self._objects.get(key)
        if old is None or old.uid != last.uid:
            return
        for name, function in self._index_functions.items():
            self._unindex(name, function(old), key)
        del self._objects[key]
        for handler in self._handlers:
            self._tell(handler, "DELETED", last, old)

    def _unindex(self, name: str, values: Iterable[str], key: tuple[str, str]) -> None:
        index = self._indexes[name]
        for value in values:
            keys = index.get(value)
            if keys is not None:
                keys.pop(key, None)
                if not keys:
                    del index[value]

    def _tell(self, handler: OnEvent, type_: EventType, new: Object, old: Object | None) -> None:
        try:
            handler(type_, new, old)
        except Exception:
            _handler_errors.inc(self.kind.plural)
            log.exception(
                "event handler failed kind=%s type=%s namespace=%s name=%s",
                self.kind.plural,
                type_,
                new.namespace,
                new.name,
            )
