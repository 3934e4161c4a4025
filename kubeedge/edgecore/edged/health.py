"""Follows the containers of a pod: probes for those that run, the last words of those that have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from pathlib import Path

from kubeedge.edgecore.edged import clock, last_words, status
from kubeedge.edgecore.edged.observation import Observed, ObservedContainer
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.probes.checks import Outcome, Result, Target
from kubeedge.edgecore.edged.services import Services, field_path


async def follow(
    services: Services,
    pod: Pod,
    observed: Observed,
    messages: MutableMapping[str, str],
    last_status: Object,
    notify: Callable[[], None],
    is_adopted: bool,
) -> None:
    """Begin and end probes, and put the termination message of each exited container into messages, once.

    is_adopted: these containers may have been running before edged was; what last_status says of them still holds.
    """
    for container in observed.containers:
        if container.is_running:
            if not services.prober.is_watched(container.id):
                _watch(services, pod, observed, container, last_status, notify, is_adopted)
            continue
        services.prober.forget(container.id)
        if container.has_exited and container.id not in messages:
            log_file = _log_file(services, pod, container)
            count = len(pod.containers) + len(pod.init_containers)
            messages[container.id] = await asyncio.to_thread(last_words.read, container.status, log_file, count)
    known = {c.id for c in observed.containers}
    for gone in [id_ for id_ in messages if id_ not in known]:
        del messages[gone]


def _watch(
    services: Services,
    pod: Pod,
    observed: Observed,
    container: ObservedContainer,
    last_status: Object,
    notify: Callable[[], None],
    is_adopted: bool,
) -> None:
    wanted = pod.container(container.name)
    if wanted is None:
        return
    path = field_path(pod, wanted)

    def report(type_: str, result: Result) -> None:
        what = type_.capitalize()
        if result.outcome is Outcome.WARNING:
            services.events.pod(pod, "Warning", "ProbeWarning", f"{what} probe warning: {result.output}", path)
        else:
            verb = "errored and resulted in unknown state" if result.outcome is Outcome.ERROR else "failed"
            services.events.pod(pod, "Warning", "Unhealthy", f"{what} probe {verb}: {result.output}", path)

    ips = status.pod_ips(pod, observed, services.host_ips)
    told = _told(last_status, container) if is_adopted else {}
    services.prober.watch(
        Target(container.id, wanted, ips[0] if ips else ""),
        services.now() - container.status.started_at / clock.NANOSECOND,
        notify,
        report,
        was_started=bool(told.get("started")),
        was_ready=bool(told.get("ready")),
        is_adopted=is_adopted,
    )


def _told(last_status: Object, container: ObservedContainer) -> Object:
    """Return what was last reported of this very container."""
    for key in ("initContainerStatuses", "containerStatuses"):
        for known in last_status.get(key) or ():
            if str(known.get("containerID") or "").partition("://")[2] == container.id:
                return dict(known)
    return {}


def _log_file(services: Services, pod: Pod, container: ObservedContainer) -> Path | None:
    path = container.status.log_path
    if not path:
        return None
    return Path(path) if path.startswith("/") else services.folders.pod_logs(pod) / path
