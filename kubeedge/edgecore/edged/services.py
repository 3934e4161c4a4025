"""The parts of the node that every pod's worker uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from kubeedge.edgecore.edged.backoff import MAXIMUM_S
from kubeedge.edgecore.edged.downward import Place
from kubeedge.edgecore.edged.events import Events
from kubeedge.edgecore.edged.folders import Folders
from kubeedge.edgecore.edged.images import Images
from kubeedge.edgecore.edged.network import ClusterDns
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.probes.prober import Prober
from kubeedge.edgecore.edged.reporter import Reporter
from kubeedge.edgecore.edged.runtime.interface import Runtime
from kubeedge.edgecore.edged.specification import NodeLimits
from kubeedge.edgecore.edged.volumes.mounter import VolumeMounter
from kubeedge.edgecore.edged.watcher import RuntimeWatcher

# How long a start that failed waits for its next try, unless something happens (spec 05 §5.1).
RETRY_S = 10.0
# Every pod is looked at again after this long, and up to half of it more (spec 05 §5.1: syncFrequency).
SYNC_FREQUENCY_S = 60.0


class Services(msgspec.Struct):
    """now gives Unix time in seconds; service_address is what E1 of spec 05 puts into every container."""

    runtime: Runtime
    watcher: RuntimeWatcher
    prober: Prober
    mounter: VolumeMounter
    objects: Objects
    images: Images
    reporter: Reporter
    events: Events
    folders: Folders
    limits: NodeLimits
    now: Callable[[], float]
    host_ips: list[str] = msgspec.field(default_factory=list)
    allocatable: Mapping[str, str] = msgspec.field(default_factory=dict)
    cluster_dns: ClusterDns = msgspec.field(default_factory=ClusterDns)
    service_address: Callable[[], tuple[str, str]] = lambda: ("", "")
    sync_frequency_s: float = SYNC_FREQUENCY_S
    retry_s: float = RETRY_S
    jitter: Callable[[], float] = lambda: 0.5
    dead_containers_kept: int = 1
    crash_backoff_max_s: float = MAXIMUM_S

    @property
    def sandbox_limits(self) -> NodeLimits:
        """The limits with the cgroup driver that the runtime wants, where it says so."""
        driver = self.watcher.cgroup_driver
        return msgspec.structs.replace(self.limits, cgroup_driver=driver) if driver else self.limits

    def place(self, pod_ips: list[str]) -> Place:
        """Return where a pod with these addresses runs."""
        return Place(self.host_ips, pod_ips, self.allocatable)


def field_path(pod: Pod, container: Object) -> str:
    """Return the path of a container as events name it: `spec.containers{main}`."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        if any(c.get("name") == container.get("name") for c in pod.spec.get(key) or ()):
            return f"spec.{key}{{{container.get('name')}}}"
    return ""
