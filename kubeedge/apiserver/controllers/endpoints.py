"""Endpoints and EndpointSlices: which pods stand behind a Service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from kubeedge.apiserver.controllers.burst import first_error, together
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.ownership import CONTROLLER_INDEX, reference
from kubeedge.apiserver.controllers.pods import NAMESPACE_INDEX, is_finished, is_ready
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.replicaset import is_namespace_ending
from kubeedge.apiserver.controllers.selection import contains
from kubeedge.apiserver.controllers.views import Meta, Pod, Service, ServicePort
from kubeedge.kube.api import ApiError
from kubeedge.kube.instants import timestamp
from kubeedge.kube.kinds import SERVICE

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"
SLICE_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
SLICE_SERVICE = "kubernetes.io/service-name"
MAX_SLICE = 100
MAX_ADDRESSES = 1_000

Key = tuple[str, str]


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """Return the port of a pod that a Service port leads to; None when the pod has none of that name."""
    target = port.target_port
    if isinstance(target, int) or target is None:
        return target or port.port
    for container in pod.spec.containers:
        for found in container.ports:
            if found.name == target and found.protocol == port.protocol:
                return found.container_port
    return None


def _address(pod: Pod, service: Service) -> dict[str, Any]:
    address: dict[str, Any] = {"ip": pod.status.pod_ip}
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        address["hostname"] = pod.spec.hostname
    if pod.spec.node_name:
        address["nodeName"] = pod.spec.node_name
    meta = pod.metadata
    address["targetRef"] = {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
    return address


def _ports(service: Service, pod: Pod) -> list[dict[str, Any]] | None:
    """Return the ports that a pod serves, None when it can serve none of those asked for."""
    ports = []
    for port in service.spec.ports:
        number = target_port(port, pod)
        if number is None:
            continue
        found: dict[str, Any] = {"name": port.name} if port.name else {}
        found |= {"port": number, "protocol": port.protocol}
        if port.app_protocol is not None:
            found["appProtocol"] = port.app_protocol
        ports.append(found)
    return ports if ports or not service.spec.ports else None


def _is_listed(pod: Pod) -> bool:
    return bool(pod.status.pod_ip) and not is_finished(pod)


def subsets(service: Service, pods: Iterable[Pod]) -> list[dict[str, Any]]:
    """Return the subsets of a Service's Endpoints: pods with the same ports together, sorted by address."""
    grouped: dict[bytes, dict[str, Any]] = {}
    for pod in sorted(pods, key=lambda found: (found.status.pod_ip, found.metadata.uid)):
        if not _is_listed(pod) or pod.metadata.is_deleting:
            continue
        ports = _ports(service, pod)
        if ports is None:
            continue
        subset = grouped.setdefault(orjson.dumps(ports), {"ports": ports})
        ready = is_ready(pod) or service.spec.publish_not_ready_addresses
        subset.setdefault("addresses" if ready else "notReadyAddresses", []).append(_address(pod, service))
    return [
        {name: subset[name] for name in ("addresses", "notReadyAddresses", "ports") if subset.get(name)}
        for subset in grouped.values()
    ]


def slices(service: Service, pods: Iterable[Pod]) -> list[dict[str, Any]]:
    """Return the ports and endpoints of a Service's EndpointSlices, at least one; pods that end are told as such."""
    grouped: dict[bytes, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for pod in sorted(pods, key=lambda found: (found.status.pod_ip, found.metadata.uid)):
        ports = _ports(service, pod) if _is_listed(pod) else None
        if ports is None:
            continue
        serving = is_ready(pod) or service.spec.publish_not_ready_addresses
        ending = pod.metadata.is_deleting
        endpoint: dict[str, Any] = {
            "addresses": [pod.status.pod_ip],
            "conditions": {
                "ready": service.spec.publish_not_ready_addresses or (serving and not ending),
                "serving": serving,
                "terminating": ending,
            },
        }
        address = _address(pod, service)
        for name in ("hostname", "nodeName", "targetRef"):
            if name in address:
                endpoint[name] = address[name]
        grouped.setdefault(orjson.dumps(ports), (ports, []))[1].append(endpoint)
    if not grouped:
        return [{"ports": None, "endpoints": None}]
    return [
        {"ports": [{"name": ""} | port for port in ports], "endpoints": endpoints[start : start + MAX_SLICE]}
        for ports, endpoints in grouped.values()
        for start in range(0, len(endpoints), MAX_SLICE)
    ]


class Endpoints:
    """Keeps both forms for every Service with a selector."""

    def __init__(
        self,
        services: Cache[Service],
        pods: Cache[Pod],
        endpoints: Cache[Meta],
        endpoint_slices: Cache[Meta],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._services = services
        self._pods = pods
        self._endpoints = endpoints
        self._slices = endpoint_slices
        self._clock = clock
        self._controller: Controller[Key] = Controller("endpoints", self._reconcile)
        services.on_change(lambda type_, new, old: self._controller.enqueue(new.metadata.key))
        pods.on_change(self._pod_changed)
        endpoints.on_change(lambda type_, new, old: self._controller.enqueue(new.metadata.key))
        endpoint_slices.on_change(self._slice_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        if old is not None and type_ == "MODIFIED" and _relevant(new) == _relevant(old):
            return
        for service in self._services.by(NAMESPACE_INDEX, new.metadata.namespace):
            selector = service.spec.selector
            if selector and any(contains(pod.metadata.labels, selector) for pod in (new, old) if pod is not None):
                self._controller.enqueue(service.metadata.key)

    def _slice_changed(self, type_: str, new: Meta, old: Meta | None) -> None:
        name = new.metadata.labels.get(SLICE_SERVICE)
        if name and new.metadata.labels.get(SLICE_MANAGED_BY) == SLICE_CONTROLLER:
            self._controller.enqueue((new.metadata.namespace, name))

    async def _reconcile(self, key: Key) -> None:
        service = self._services.get(*key)
        if service is None:
            await self._remove(key)
            return
        if not service.spec.selector or service.spec.type == "ExternalName" or service.metadata.is_deleting:
            return
        pods = [
            pod
            for pod in self._pods.by(NAMESPACE_INDEX, key[0])
            if contains(pod.metadata.labels, service.spec.selector)
        ]
        try:
            await self._write_endpoints(service, pods)
            await self._write_slices(service, pods)
        except ApiError as error:
            if not is_namespace_ending(error):
                raise

    async def _remove(self, key: Key) -> None:
        """The Service is gone; its slices go with it as garbage, its Endpoints have no owner."""
        endpoints = self._endpoints.get(*key)
        if endpoints is not None and MANAGED_BY in endpoints.metadata.labels:
            await self._endpoints.delete(endpoints)

    async def _write_endpoints(self, service: Service, pods: list[Pod]) -> None:
        meta = service.metadata
        body: dict[str, Any] = {"subsets": subsets(service, pods)}
        labels = {**meta.labels, MANAGED_BY: "endpoint-controller"}
        if service.spec.cluster_ip == "None":
            labels[HEADLESS] = ""
        current = self._endpoints.get(*meta.key)
        annotations = {TRIGGER_TIME: timestamp(self._clock())}
        if current is None:
            metadata = {"name": meta.name, "namespace": meta.namespace, "labels": labels, "annotations": annotations}
            await self._endpoints.create(meta.namespace, {"metadata": metadata, **body})
            return
        raw = self._endpoints.raw(*meta.key)
        shown = orjson.loads(raw) if raw is not None else {}
        if (shown.get("subsets") or []) == body["subsets"] and current.metadata.labels == labels:
            return
        patch = {"metadata": {"labels": labels, "annotations": annotations}, "subsets": body["subsets"] or None}
        await self._endpoints.patch(current, patch)

    async def _write_slices(self, service: Service, pods: list[Pod]) -> None:
        meta = service.metadata
        wanted = slices(service, pods)
        present = self._slices.by(CONTROLLER_INDEX, meta.uid)
        labels = {**meta.labels, SLICE_MANAGED_BY: SLICE_CONTROLLER, SLICE_SERVICE: meta.name}
        if service.spec.cluster_ip == "None":
            labels[HEADLESS] = ""
        annotations = {TRIGGER_TIME: timestamp(self._clock())}
        calls: list[Any] = []
        for body, old in zip(wanted, present, strict=False):
            raw = self._slices.raw(*old.metadata.key)
            shown = orjson.loads(raw) if raw is not None else {}
            same = all((shown.get(name) or None) == (body[name] or None) for name in ("ports", "endpoints"))
            if not same or old.metadata.labels != labels:
                calls.append(
                    self._slices.patch(old, {"metadata": {"labels": labels, "annotations": annotations}, **body})
                )
        for body in wanted[len(present) :]:
            metadata = {
                "generateName": f"{meta.name}-",
                "namespace": meta.namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [reference(SERVICE, meta)],
            }
            calls.append(self._slices.create(meta.namespace, {"metadata": metadata, "addressType": "IPv4", **body}))
        calls += [self._slices.delete(old) for old in present[len(wanted) :]]
        error = first_error(await together(calls))
        if error is not None:
            raise error


def _relevant(pod: Pod) -> tuple[object, ...]:
    """Return what of a pod shows in endpoints."""
    return (
        pod.metadata.labels,
        pod.metadata.is_deleting,
        pod.spec.node_name,
        pod.status.pod_ip,
        is_ready(pod),
        is_finished(pod),
    )
