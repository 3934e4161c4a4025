"""All controllers of the embedded API, joined: one cache a kind, shared by those that need it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from kubeedge.apiserver.controllers import views
from kubeedge.apiserver.controllers.cache import Cache, IndexFunction
from kubeedge.apiserver.controllers.claims import ClaimProtection
from kubeedge.apiserver.controllers.daemonset import DaemonSets
from kubeedge.apiserver.controllers.deployment import Deployments
from kubeedge.apiserver.controllers.endpoints import Endpoints
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.eviction import Evictions
from kubeedge.apiserver.controllers.garbage import GarbageCollector
from kubeedge.apiserver.controllers.kindlist import KindList
from kubeedge.apiserver.controllers.namespace import Namespaces
from kubeedge.apiserver.controllers.nodelifecycle import NodeLifecycle, NodeTimes
from kubeedge.apiserver.controllers.ownership import CONTROLLER_INDEX, by_controller
from kubeedge.apiserver.controllers.podgc import QUARANTINE_S, PodCollector
from kubeedge.apiserver.controllers.pods import NAMESPACE_INDEX, NODE_INDEX, by_namespace, by_node
from kubeedge.apiserver.controllers.replicaset import ReplicaSets
from kubeedge.apiserver.controllers.scheduler import Scheduler
from kubeedge.apiserver.controllers.serviceaccount import ServiceAccounts
from kubeedge.apiserver.controllers.views import HasMetadata
from kubeedge.kube import kinds
from kubeedge.kube.api import Kind, KubeApi

log = logging.getLogger(__name__)

T = TypeVar("T", bound=HasMetadata)

_OWNED: dict[str, IndexFunction[Any]] = {CONTROLLER_INDEX: by_controller, NAMESPACE_INDEX: by_namespace}


class _Runs(Protocol):
    async def run(self) -> None: ...


class Controllers:
    """What makes objects happen: run() works until it is cancelled."""

    def __init__(
        self,
        api: KubeApi,
        *,
        ca_pem: bytes,
        clock: Callable[[], float] = time.time,
        node_times: NodeTimes | None = None,
        quarantine_s: float = QUARANTINE_S,
    ) -> None:
        """ca_pem is what pods trust the API by; quarantine_s how long pods outlive their Node object."""

        def cache(kind: Kind, view: type[T], indexes: dict[str, IndexFunction[Any]] | None = None) -> Cache[T]:
            made = Cache(api, kind, view, indexes=indexes)
            self._caches.append(made)
            return made

        self._caches: list[Cache[Any]] = []
        pods = cache(kinds.POD, views.Pod, {**_OWNED, NODE_INDEX: by_node})
        nodes = cache(kinds.NODE, views.Node)
        namespaces = cache(kinds.NAMESPACE, views.Namespace)
        deployments = cache(kinds.DEPLOYMENT, views.Deployment, _OWNED)
        replica_sets = cache(kinds.REPLICA_SET, views.ReplicaSet, _OWNED)
        daemon_sets = cache(kinds.DAEMON_SET, views.DaemonSet, _OWNED)
        revisions = cache(kinds.CONTROLLER_REVISION, views.ControllerRevision, _OWNED)
        leases = cache(kinds.LEASE, views.Lease)
        services = cache(kinds.SERVICE, views.Service, _OWNED)
        endpoints = cache(kinds.ENDPOINTS, views.Meta)
        endpoint_slices = cache(kinds.ENDPOINT_SLICE, views.Meta, _OWNED)
        accounts = cache(kinds.SERVICE_ACCOUNT, views.Meta)
        config_maps = cache(kinds.CONFIG_MAP, views.Meta)
        claims = cache(kinds.PERSISTENT_VOLUME_CLAIM, views.Meta)
        definitions = Cache(api, kinds.CUSTOM_RESOURCE_DEFINITION, views.CustomResourceDefinition)
        self._kinds = KindList(api, self._caches, definitions)
        self._recorder = recorder = Recorder(api, clock=clock)
        self._garbage = GarbageCollector(self._kinds, recorder)
        self._controllers: list[_Runs] = [
            Scheduler(api, pods, nodes, namespaces, recorder, clock=clock),
            Deployments(deployments, replica_sets, pods, recorder, clock=clock),
            ReplicaSets(replica_sets, pods, recorder, clock=clock),
            DaemonSets(daemon_sets, revisions, nodes, pods, recorder, clock=clock),
            NodeLifecycle(nodes, leases, pods, recorder, times=node_times or NodeTimes(), clock=clock),
            Evictions(nodes, pods, recorder, clock=clock),
            PodCollector(nodes, pods, quarantine_s=quarantine_s, clock=clock),
            Namespaces(api, namespaces, self._kinds, clock=clock),
            ServiceAccounts(namespaces, accounts, config_maps, ca_pem=ca_pem),
            Endpoints(services, pods, endpoints, endpoint_slices, clock=clock),
            ClaimProtection(claims, pods),
        ]

    async def run(self) -> None:
        """Read what there is, then let every controller work."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kinds.run())
            tasks.create_task(self._recorder.run())
            # Nobody acts on half a picture.
            for cache in self._caches:
                await cache.synced()
            log.info("controllers started kinds=%d", len(self._kinds.kinds()))
            for controller in self._controllers:
                tasks.create_task(controller.run())
            tasks.create_task(self._garbage.run())
