"""What a pod asks of the node: its quality-of-service class, its share of CPU and memory, its cgroup (spec 05 §5.8)."""

from __future__ import annotations

from kubeedge.edgecore.edged.pod import Object, Pod, is_sidecar
from kubeedge.edgecore.edged.runtime.interface import Resources
from kubeedge.kube import quantity

MIN_SHARES = 2
MAX_SHARES = 262_144
SHARES_PER_CPU = 1024
MIN_QUOTA_US = 1000
CFS_PERIOD_US = 100_000

GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000
# A burstable container is killed after every best-effort and before every guaranteed one.
LOWEST_BURSTABLE_OOM_SCORE = 3
CRITICAL_PRIORITY = 2_000_000_000


def of_container(container: Object, which: str, resource: str) -> object | None:
    """Return `resources.<which>.<resource>` of a container; a request that is not set is its limit."""
    resources = container.get("resources") or {}
    value = (resources.get(which) or {}).get(resource)
    if value is None and which == "requests":
        value = (resources.get("limits") or {}).get(resource)
    return value


def qos_class(pod: Pod) -> str:
    """Return `Guaranteed`, `Burstable` or `BestEffort`."""
    guaranteed = True
    any_set = False
    for container in (*pod.init_containers, *pod.containers):
        for resource in ("cpu", "memory"):
            request = of_container(container, "requests", resource)
            limit = of_container(container, "limits", resource)
            requested = quantity.parse(request).nanos if request is not None else 0
            limited = quantity.parse(limit).nanos if limit is not None else 0
            any_set = any_set or requested > 0 or limited > 0
            if limited <= 0 or requested != limited:
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def oom_score(pod: Pod, container: Object, memory_capacity_bytes: int) -> int:
    """Return the oom_score_adj of one container."""
    if (pod.spec.get("priority") or 0) >= CRITICAL_PRIORITY:
        return GUARANTEED_OOM_SCORE
    match qos_class(pod):
        case "Guaranteed":
            return GUARANTEED_OOM_SCORE
        case "BestEffort":
            return BEST_EFFORT_OOM_SCORE
    request = of_container(container, "requests", "memory")
    requested = quantity.whole(request) if request is not None else 0
    score = 1000 - 1000 * requested // max(memory_capacity_bytes, 1)
    return max(LOWEST_BURSTABLE_OOM_SCORE, min(score, BEST_EFFORT_OOM_SCORE - 1))


def cpu_shares(milli_cpu: int) -> int:
    """Shares of a CPU request in thousandths of a core."""
    if milli_cpu == 0:
        return MIN_SHARES
    return max(MIN_SHARES, min(milli_cpu * SHARES_PER_CPU // 1000, MAX_SHARES))


def cpu_quota_us(milli_cpu: int) -> int:
    """Quota a period of a CPU limit in thousandths of a core; 0 is no limit."""
    return max(MIN_QUOTA_US, milli_cpu * CFS_PERIOD_US // 1000) if milli_cpu else 0


def _amount(container: Object, which: str, resource: str) -> int:
    value = of_container(container, which, resource)
    if value is None:
        return 0
    return quantity.milli(value) if resource == "cpu" else quantity.whole(value)


def container_resources(pod: Pod, container: Object, memory_capacity_bytes: int) -> Resources:
    """Return the limits of one container in units of the kernel."""
    return Resources(
        cpu_shares=cpu_shares(_amount(container, "requests", "cpu")),
        cpu_quota=cpu_quota_us(_amount(container, "limits", "cpu")),
        cpu_period=CFS_PERIOD_US,
        memory_limit_bytes=_amount(container, "limits", "memory"),
        oom_score_adj=oom_score(pod, container, memory_capacity_bytes),
    )


def pod_amount(pod: Pod, which: str, resource: str) -> int:
    """Return what the pod needs at its height: regular containers and sidecars together, or an init container beside
    the sidecars started before it. CPU in thousandths of a core, other resources in their unit; overhead is added."""
    running = sum(_amount(c, which, resource) for c in pod.containers)
    sidecars = 0
    height = 0
    for container in pod.init_containers:
        own = _amount(container, which, resource)
        if is_sidecar(container):
            sidecars += own
            height = max(height, sidecars)
        else:
            height = max(height, sidecars + own)
    overhead = (pod.spec.get("overhead") or {}).get(resource)
    extra = 0 if overhead is None else (quantity.milli(overhead) if resource == "cpu" else quantity.whole(overhead))
    return max(running + sidecars, height) + extra


def _all_limited(pod: Pod, resource: str) -> bool:
    return all(of_container(c, "limits", resource) is not None for c in (*pod.init_containers, *pod.containers))


def sandbox_resources(pod: Pod) -> Resources:
    """Return the sum of the pod; a limit only where every container has one."""
    return Resources(
        cpu_shares=cpu_shares(pod_amount(pod, "requests", "cpu")),
        cpu_quota=cpu_quota_us(pod_amount(pod, "limits", "cpu")) if _all_limited(pod, "cpu") else 0,
        cpu_period=CFS_PERIOD_US,
        memory_limit_bytes=pod_amount(pod, "limits", "memory") if _all_limited(pod, "memory") else 0,
    )


def cgroup_parent(pod: Pod, driver: str, root: str = "") -> str:
    """Return the pod's cgroup as CRI wants it for the driver `cgroupfs` or `systemd`."""
    qos = qos_class(pod).lower()
    if driver == "systemd":
        unit = pod.uid.replace("-", "_")
        if qos == "guaranteed":
            return f"/kubepods.slice/kubepods-pod{unit}.slice"
        return f"/kubepods.slice/kubepods-{qos}.slice/kubepods-{qos}-pod{unit}.slice"
    parent = root.rstrip("/") + "/kubepods"
    return f"{parent}/pod{pod.uid}" if qos == "guaranteed" else f"{parent}/{qos}/pod{pod.uid}"
