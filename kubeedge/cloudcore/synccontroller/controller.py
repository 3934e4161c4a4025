"""Compares what nodes have acked with what the API has, when either may have changed (spec 03 §3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable

import orjson

from kubeedge import metrics, resources
from kubeedge.bus import Bus
from kubeedge.cloudcore.synccontroller.mapping import KindMapping
from kubeedge.cloudcore.synccontroller.removal import Removal
from kubeedge.cloudcore.synccontroller.sync import Sync, split_name
from kubeedge.kube.api import Kind, KubeApi
from kubeedge.kube.caches import Caches
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.kinds import CONFIG_MAP, DEVICE, DEVICE_MODEL, NODE, POD, SECRET
from kubeedge.kube.object import Object, is_newer
from kubeedge.message import Message, new_message

log = logging.getLogger(__name__)

MODULE = "synccontroller"
# Upstream sends its corrections in the name of EdgeController, the source that Go edges accept them from; those about
# devices reach mappers only from the other one (spec 04 quirk Q8).
SOURCE = "edgecontroller"
DEVICE_SOURCE = "devicecontroller"
GROUP = "resource"
HUB = "cloudhub"

# Only repairs what an event should have repaired already: upstream does nothing else, every 5 s.
FULL_PASS_S = 300.0
# What EdgeController and DeviceController push to the nodes that use it. Left to us are those that just have it, so it
# is looked at when the others had the time to acknowledge: after once to twice this time.
_PUSHED = (CONFIG_MAP, SECRET, DEVICE, DEVICE_MODEL)
SETTLE_S = 1.5
# What goes through many syncs gives way to everything else after so many (about 1 ms).
CHUNK = 200

_corrections = metrics.Counter(
    "kubeedge_synccontroller_corrections_total",
    "Messages sent because a node has not the present state",
    ("operation",),
)


def always_belongs(kind: Kind, object: Object, node: str) -> bool:
    """Tell that an object is for whom it once was: so it is of every kind for which no module knows better."""
    return True


class SyncController:
    """Looks at the syncs of a node when it connects and at the syncs of an object when it changes.

    Kinds that EdgeController pushes itself, Pods and Nodes, are only looked at when their node connects; ConfigMaps,
    Secrets, Devices and DeviceModels, pushed to the nodes that use them, a little after they change. Syncs of nodes
    that are not connected here are left alone, another replica may have them; a sync without a status counts as "0"
    (spec 03 §3.5).

    object_syncs and cluster_syncs must have the indexes `node` and `object`; is_connected tells whether a node has its
    session in this process, belongs whether an object that exists is still for a node.
    """

    def __init__(
        self,
        bus: Bus,
        api: KubeApi,
        caches: Caches,
        nodes: Informer,
        object_syncs: Informer,
        cluster_syncs: Informer,
        *,
        is_connected: Callable[[str], bool],
        belongs: Callable[[Kind, Object, str], bool] = always_belongs,
        full_pass_s: float = FULL_PASS_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._bus = bus
        self._caches = caches
        self._nodes = nodes
        self._syncs = (object_syncs, cluster_syncs)
        self._is_connected = is_connected
        self._belongs = belongs
        self._full_pass_s = full_pass_s
        self._settle_s = settle_s
        # UIDs of objects that have just changed and of those that changed before, in the order in which they did.
        self._changed: dict[str, None] = {}
        self._settling: dict[str, None] = {}
        self._mapping = KindMapping(caches)
        self._removal = Removal(api)
        # What a sync calls its kind -> the cache of that kind, None until it has synced or when there is no such kind.
        self._followed: dict[tuple[str, str], Informer | None] = {}
        self._unfollowed: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        bus.register(MODULE, MODULE, self.receive)

    async def run(self) -> None:
        """Keep nodes and API in step, for ever."""
        for informer in (self._nodes, *self._syncs):
            await informer.synced()
        for informer in self._syncs:
            informer.on_event(self._on_sync)
        self._nodes.on_event(self._on_node)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._removal.run())
            group.create_task(self._pass())
            group.create_task(self._settle())
            while True:
                group.create_task(self._follow(await self._unfollowed.get()))

    def receive(self, message: Message) -> None:
        """Take the news that a node has connected (spec 01 §3.8); everything else is not for this module."""
        if message.operation == "connected":
            self.connected(resources.node_of(message.resource))

    def connected(self, node: str) -> None:
        """Send node what it missed, deletions first: an edge keys by name, a late one would hit the successor."""
        corrections = [self._correction(sync) for informer in self._syncs for sync in informer.by_index("node", node)]
        for correction in sorted(filter(None, corrections), key=lambda message: message.operation != "delete"):
            self._send(correction)

    # What happens

    def _on_sync(self, type_: EventType, new: Object, old: Object | None) -> None:
        if type_ == "ADDED":
            sync = Sync(new)
            self._cache(sync.api_version, sync.kind)

    def _on_node(self, type_: EventType, new: Object, old: Object | None) -> None:
        if type_ == "DELETED":
            for informer in self._syncs:
                for sync in informer.by_index("node", new.name):
                    self._removal.add(informer.kind, sync)

    def _on_object(self, type_: EventType, new: Object, old: Object | None) -> None:
        self._examine_all(new.uid)

    def _on_pushed_object(self, type_: EventType, new: Object, old: Object | None) -> None:
        self._settling.pop(new.uid, None)
        self._changed[new.uid] = None

    async def _settle(self) -> None:
        """Look at what EdgeController pushes once that may be settled."""
        while True:
            await asyncio.sleep(self._settle_s)
            due, self._settling, self._changed = self._settling, self._changed, {}
            for uid in due:
                for informer in self._syncs:
                    async for sync in _with_pauses(informer.by_index("object", uid)):
                        self._examine(sync)

    async def _pass(self) -> None:
        """Examine everything, at once and then from time to time."""
        while True:
            for informer in self._syncs:
                async for sync in _with_pauses(informer.objects()):
                    if self._nodes.get("", split_name(sync.name)[0]) is None:
                        self._removal.add(informer.kind, sync)
                    else:
                        self._examine(sync)
            await asyncio.sleep(self._full_pass_s)

    async def _follow(self, named: tuple[str, str]) -> None:
        """Watch a kind that occurs in syncs, and examine those once it is known what there is."""
        kind = await self._mapping.resolve(*named)
        if kind is None:
            log.warning("kind of syncs is unknown api_version=%s kind=%s", *named)
            return
        informer = self._caches.open(kind)
        await informer.synced()
        self._followed[named] = informer
        if kind in _PUSHED:
            informer.on_event(self._on_pushed_object, replay=False)
        elif kind not in (POD, NODE):
            informer.on_event(self._on_object, replay=False)
        for syncs in self._syncs:
            async for object in _with_pauses(syncs.objects()):
                sync = Sync(object)
                if (sync.api_version, sync.kind) == named:
                    self._examine(object)

    # What is done

    def _cache(self, api_version: str, kind: str) -> Informer | None:
        named = (api_version, kind)
        if named not in self._followed:
            self._followed[named] = None
            # Without a kind there is nothing to compare; acks and pushes go on without us (quirk SC2).
            if kind:
                self._unfollowed.put_nowait(named)
        return self._followed[named]

    def _examine_all(self, uid: str) -> None:
        """Examine every sync of an object."""
        for informer in self._syncs:
            for sync in informer.by_index("object", uid):
                self._examine(sync)

    def _examine(self, sync: Object) -> None:
        correction = self._correction(sync)
        if correction is not None:
            self._send(correction)

    def _correction(self, sync_object: Object) -> Message | None:
        """Return what to tell the node of a sync, if anything."""
        sync = Sync(sync_object)
        if not self._is_connected(sync.node):
            return None
        cache = self._cache(sync.api_version, sync.kind)
        if cache is None:
            return None
        # Upstream keeps syncs of VolumeAttachments in a namespace, which they have not (spec 01 quirk 23).
        object = cache.get(sync.namespace if cache.kind.namespaced else "", sync.name)
        is_same = object is not None and object.uid == sync.object_uid
        if object is not None and is_same and self._belongs(cache.kind, object, sync.node):
            if is_newer(object.resource_version, sync.version):
                return _message(sync, cache.kind, "update", object.raw, object.resource_version)
        elif cache.kind == NODE:
            # A `delete` of the node would end the session of its successor (spec 03 §3.7).
            self._removal.add(self._syncs[1].kind, sync_object)
        else:
            # A device that moved to another node is still there, and its mapper is found by what it says.
            return _message(
                sync, cache.kind, "delete", object.raw if object is not None and is_same else _tombstone(sync)
            )
        return None

    def _send(self, correction: Message) -> None:
        _corrections.inc(correction.operation)
        self._bus.send(HUB, correction)


async def _with_pauses(syncs: Iterable[Object]) -> AsyncGenerator[Object, None]:
    """Give one sync after the other and let the loop go on after each CHUNK of them."""
    for count, sync in enumerate(syncs, 1):
        yield sync
        if count % CHUNK == 0:
            await asyncio.sleep(0)


def _message(sync: Sync, kind: Kind, operation: str, content: bytes, resource_version: str = "") -> Message:
    resource = resources.for_node(sync.node, resources.build(sync.namespace, sync.kind.lower(), sync.name))
    source = DEVICE_SOURCE if kind in (DEVICE, DEVICE_MODEL) else SOURCE
    return new_message(source, GROUP, operation, resource, content, resource_version=resource_version)


def _tombstone(sync: Sync) -> bytes:
    """Return what is still known of an object that is gone."""
    metadata = {"name": sync.name, "namespace": sync.namespace, "uid": sync.object_uid}
    return orjson.dumps({"metadata": {key: value for key, value in metadata.items() if value}})
