"""What node, pods and containers use: kubelet's summary, and the resource metrics of Prometheus (spec 05 §5.11).

Everything is read when a page is asked for; nothing runs in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from kubeedge.edgecore.edged.node import usage
from kubeedge.edgecore.edged.node.usage import NodeStats
from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerStats,
    Runtime,
    RuntimeCallError,
    RuntimeUnavailableError,
    Sandbox,
)
from kubeedge.kube import instants
from kubeedge.metrics import escape
from kubeedge.monitoring import METRICS, Page

# The runtime is not waited for longer than for one of its calls (spec 05 §5).
RUNTIME_TIMEOUT_S = 120.0
# Two readings that are closer than this say nothing about a rate.
MIN_INTERVAL_NS = 1_000_000_000


class PodUse(msgspec.Struct):
    """A pod by its newest sandbox, and its running containers by name."""

    sandbox: Sandbox
    containers: dict[str, tuple[Container, ContainerStats]] = msgspec.field(default_factory=dict)

    @property
    def stats(self) -> list[ContainerStats]:
        """What its containers use, one by one."""
        return [stats for _, stats in self.containers.values()]


class Rates:
    """Turns readings of a time that only grows into nanoseconds a second, since the reading before."""

    def __init__(self) -> None:
        self._readings: dict[str, tuple[int, int, int | None]] = {}

    def take(self, key: str, read_at: int, cpu_ns: int) -> int | None:
        """Return the rate; None with the first reading, and when the count began anew."""
        before_at, before_ns, rate = self._readings.get(key, (0, 0, None))
        if before_at and 0 <= read_at - before_at < MIN_INTERVAL_NS and cpu_ns >= before_ns:
            return rate
        is_later = before_at and read_at > before_at and cpu_ns >= before_ns
        rate = (cpu_ns - before_ns) * 1_000_000_000 // (read_at - before_at) if is_later else None
        self._readings[key] = (read_at, cpu_ns, rate)
        return rate

    def keep(self, keys: set[str]) -> None:
        """Forget all others."""
        for key in self._readings.keys() - keys:
            del self._readings[key]


class Statistics:
    """The two pages. root lies on the file system that counts as the node's."""

    def __init__(self, runtime: Runtime, node_name: str, root: Path) -> None:
        self._runtime = runtime
        self._node_name = node_name
        self._root = root
        self._rates = Rates()

    async def summary(self) -> Page:
        """Return `/stats/summary`; 503 with the reason when the runtime does not answer."""
        try:
            pods = await self._pods()
        except (RuntimeCallError, RuntimeUnavailableError) as error:
            return Page(f"no statistics of containers: {error}\n".encode(), 503)
        node = await asyncio.to_thread(usage.read, self._root)
        shown = summary(self._node_name, node, pods, self._rates)
        return Page(orjson.dumps(shown), media_type="application/json")

    async def resource_metrics(self) -> Page:
        """Return `/metrics/resource`: of the node alone and with an error counted when the runtime does not answer."""
        reason = ""
        pods: list[PodUse] = []
        try:
            pods = await self._pods()
        except (RuntimeCallError, RuntimeUnavailableError) as error:
            reason = str(error) or "the runtime does not answer"
        node = await asyncio.to_thread(usage.read, self._root)
        return Page("".join(resource_metrics(node, pods, reason)).encode(), media_type=METRICS)

    async def _pods(self) -> list[PodUse]:
        try:
            async with asyncio.timeout(RUNTIME_TIMEOUT_S):
                stats = await self._runtime.container_stats()
                containers = await self._runtime.list_containers()
                return joined(stats, containers, await self._runtime.list_sandboxes())
        except TimeoutError:
            raise RuntimeUnavailableError(f"the runtime did not answer within {RUNTIME_TIMEOUT_S:.0f} s") from None


def joined(stats: Iterable[ContainerStats], containers: list[Container], sandboxes: list[Sandbox]) -> list[PodUse]:
    """Give each pod what its containers use, by namespace and name; what ended meanwhile is left out."""
    pods: dict[str, PodUse] = {}
    for sandbox in sorted(sandboxes, key=lambda sandbox: sandbox.created_at):
        pods[sandbox.uid] = PodUse(sandbox)
    known = {container.id: container for container in containers}
    uids = {sandbox.id: sandbox.uid for sandbox in sandboxes}
    found = [(known[one.container_id], one) for one in stats if one.container_id in known]
    for container, one in sorted(found, key=lambda pair: (pair[0].name, pair[0].attempt)):
        if container.sandbox_id in uids:
            pods[uids[container.sandbox_id]].containers[container.name] = (container, one)
    used = [pod for pod in pods.values() if pod.containers]
    return sorted(used, key=lambda pod: (pod.sandbox.namespace, pod.sandbox.name, pod.sandbox.uid))


def summary(node_name: str, node: NodeStats, pods: list[PodUse], rates: Rates) -> dict[str, Any]:
    """Return the summary. `usageNanoCores` is missing where rates has no earlier reading."""
    rates.keep({"", *(stats.container_id for pod in pods for stats in pod.stats)})
    return {
        "node": _node(node_name, node, rates.take("", node.read_at, node.cpu_ns)),
        "pods": [_pod(pod, rates) for pod in pods],
    }


def _node(name: str, node: NodeStats, rate: int | None) -> dict[str, Any]:
    time, disk = _time(node.read_at), node.filesystem
    return {
        "nodeName": name,
        "startTime": instants.timestamp(node.started_at),
        "cpu": _cpu(time, rate, node.cpu_ns),
        "memory": {
            "time": time,
            "availableBytes": node.available,
            "usageBytes": node.memory_usage,
            "workingSetBytes": node.working_set,
            "rssBytes": node.rss,
            "pageFaults": node.page_faults,
            "majorPageFaults": node.major_page_faults,
        },
        "fs": {
            "time": time,
            "availableBytes": disk.available,
            "capacityBytes": disk.capacity,
            "usedBytes": disk.used,
            "inodesFree": disk.inodes_free,
            "inodes": disk.inodes,
            "inodesUsed": disk.inodes - disk.inodes_free,
        },
        "network": {
            "time": time,
            "interfaces": [
                {
                    "name": one.name,
                    "rxBytes": one.received_bytes,
                    "rxErrors": one.received_errors,
                    "txBytes": one.sent_bytes,
                    "txErrors": one.sent_errors,
                }
                for one in node.interfaces
            ],
        },
    }


def _pod(pod: PodUse, rates: Rates) -> dict[str, Any]:
    sandbox, time = pod.sandbox, _time(max(stats.read_at for stats in pod.stats))
    containers, known = [], []
    for name, (container, stats) in pod.containers.items():
        rate = rates.take(stats.container_id, stats.read_at, stats.cpu_ns)
        known += [] if rate is None else [rate]
        at = _time(stats.read_at)
        shown = {
            "name": name,
            "startTime": _time(container.created_at),
            "cpu": _cpu(at, rate, stats.cpu_ns),
            "memory": _memory(at, [stats]),
        }
        if stats.rootfs_used:
            shown["rootfs"] = {"time": at, "usedBytes": stats.rootfs_used}
        containers.append(shown)
    return {
        "podRef": {"name": sandbox.name, "namespace": sandbox.namespace, "uid": sandbox.uid},
        "startTime": _time(sandbox.created_at),
        "containers": containers,
        "cpu": _cpu(time, sum(known) if known else None, sum(stats.cpu_ns for stats in pod.stats)),
        "memory": _memory(time, pod.stats),
    }


def _cpu(time: str, rate: int | None, cpu_ns: int) -> dict[str, Any]:
    rates = {} if rate is None else {"usageNanoCores": rate}
    return {"time": time, **rates, "usageCoreNanoSeconds": cpu_ns}


def _memory(time: str, stats: list[ContainerStats]) -> dict[str, Any]:
    return {
        "time": time,
        "usageBytes": sum(one.memory_usage for one in stats),
        "workingSetBytes": sum(one.working_set for one in stats),
        "rssBytes": sum(one.rss for one in stats),
    }


def _time(nanoseconds: int) -> str:
    return instants.timestamp(nanoseconds // 1_000_000_000)


Sample = tuple[Mapping[str, str], float, int]
"""Labels, value, and when it was read in nanoseconds of Unix time; 0: it has no time."""


def resource_metrics(node: NodeStats, pods: list[PodUse], reason: str = "") -> Iterator[str]:
    """Give the lines of `/metrics/resource`; reason says why there are none of containers."""
    cpu: list[Sample] = []
    memory: list[Sample] = []
    started: list[Sample] = []
    pod_cpu: list[Sample] = []
    pod_memory: list[Sample] = []
    for pod in pods:
        labels = {"namespace": pod.sandbox.namespace, "pod": pod.sandbox.name}
        for name, (container, stats) in pod.containers.items():
            own = {"container": name, **labels}
            cpu.append((own, stats.cpu_ns / 1e9, stats.read_at))
            memory.append((own, stats.working_set, stats.read_at))
            started.append((own, container.created_at / 1e9, 0))
        at = max(stats.read_at for stats in pod.stats)
        pod_cpu.append((labels, sum(stats.cpu_ns for stats in pod.stats) / 1e9, at))
        pod_memory.append((labels, sum(stats.working_set for stats in pod.stats), at))
    if reason:
        yield f"# {' '.join(reason.split())}\n"
    failed: list[Sample] = [({}, int(bool(reason)), 0)]
    at = node.read_at
    yield from _family("container_cpu_usage_seconds_total", "counter", "Processor time of a container", cpu)
    yield from _family("container_memory_working_set_bytes", "gauge", "Working set of a container", memory)
    yield from _family("container_start_time_seconds", "gauge", "Unix time of a container's start", started)
    yield from _family("node_cpu_usage_seconds_total", "counter", "Processor time", [({}, node.cpu_ns / 1e9, at)])
    yield from _family("node_memory_working_set_bytes", "gauge", "Working set", [({}, node.working_set, at)])
    yield from _family("pod_cpu_usage_seconds_total", "counter", "Processor time of a pod", pod_cpu)
    yield from _family("pod_memory_working_set_bytes", "gauge", "Working set of a pod", pod_memory)
    yield from _family("resource_scrape_error", "gauge", "1 if containers could not be read", failed)
    yield from _family("scrape_error", "gauge", "The same under its older name", failed)


def _family(name: str, kind: str, description: str, samples: Sequence[Sample]) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {name} {description}\n# TYPE {name} {kind}\n"
    for labels, value, read_at in samples:
        pairs = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
        time = f" {read_at // 1_000_000}" if read_at else ""
        yield f"{name}{{{pairs}}} {value}{time}\n" if pairs else f"{name} {value}{time}\n"
