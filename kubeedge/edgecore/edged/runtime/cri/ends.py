"""Word of sandboxes and containers that ended by themselves, from the cheapest source that the runtime has.

CRI's own events (containerd 1.7, CRI-O 1.26 and later), the events of an older containerd, or else small listings once
a second. Only ends are news: whatever begins was begun by edged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from grpclib.const import Status

from kubeedge.edgecore.edged import labels
from kubeedge.edgecore.edged.runtime.cri.connection import Connection, RefusedError
from kubeedge.proto import containerd_pb2 as containerd
from kubeedge.proto import cri_pb2 as cri

log = logging.getLogger("kubeedge.edged.cri")

POLL_S = 1.0
# containerd tells of an end at the same time to us and to its own CRI part, which is then asked at these distances
# whether it has taken notice.
_SETTLING_S = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)

_EXITS = ['namespace==k8s.io,topic=="/tasks/exit"']
_RUNNING = cri.ListContainersRequest(
    filter=cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING))
)
_READY = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(state=cri.PodSandboxStateValue(state=cri.SANDBOX_READY)))


async def ends(connection: Connection) -> AsyncGenerator[str, None]:
    """Give the uid of each pod of which something ended.

    Returns when a source ends. Raises RuntimeUnavailableError, RefusedError.
    """
    for source in (_from_cri, _from_containerd, _from_listings):
        try:
            async with aclosing(source(connection)) as uids:
                async for uid in uids:
                    if uid:
                        yield uid
            return
        except RefusedError as error:
            if source is _from_listings:
                raise
            if error.status is not Status.UNIMPLEMENTED:
                log.warning("runtime gives no events source=%s reason=%s", source.__name__, error)


async def _from_cri(connection: Connection) -> AsyncGenerator[str, None]:
    async with aclosing(connection.stream(connection.runtime.GetContainerEvents, cri.GetEventsRequest())) as events:
        async for event in events:
            if event.container_event_type == cri.CONTAINER_STOPPED_EVENT:
                yield event.pod_sandbox_status.metadata.uid


async def _from_containerd(connection: Connection) -> AsyncGenerator[str, None]:
    request = containerd.SubscribeRequest(filters=_EXITS)
    async with aclosing(connection.stream(connection.containerd_events.Subscribe, request)) as envelopes:
        async for envelope in envelopes:
            end = containerd.TaskExit.FromString(envelope.event.value)
            # Commands that are run in a container, those of probes among them, end all the time.
            if end.id == end.container_id:
                yield await _settled(connection, end.id)


async def _settled(connection: Connection, id_: str) -> str:
    """Wait until CRI knows that the container or sandbox has ended; return the uid of its pod, empty without one."""
    uid = ""
    for pause_s in _SETTLING_S:
        await asyncio.sleep(pause_s)
        uid, is_over = await _container(connection, id_) or await _sandbox(connection, id_) or ("", True)
        if is_over:
            break
    return uid


async def _container(connection: Connection, id_: str) -> tuple[str, bool] | None:
    try:
        answer = await connection.call(connection.runtime.ContainerStatus, cri.ContainerStatusRequest(container_id=id_))
    except RefusedError:
        return None
    return answer.status.labels.get(labels.POD_UID, ""), answer.status.state != cri.CONTAINER_RUNNING


async def _sandbox(connection: Connection, id_: str) -> tuple[str, bool] | None:
    request = cri.PodSandboxStatusRequest(pod_sandbox_id=id_)
    try:
        answer = await connection.call(connection.runtime.PodSandboxStatus, request)
    except RefusedError:
        return None
    return answer.status.metadata.uid, answer.status.state != cri.SANDBOX_READY


async def _from_listings(connection: Connection) -> AsyncGenerator[str, None]:
    before: dict[str, str] = {}
    while True:
        containers = await connection.call(connection.runtime.ListContainers, _RUNNING)
        sandboxes = await connection.call(connection.runtime.ListPodSandbox, _READY)
        now = {container.id: container.labels.get(labels.POD_UID, "") for container in containers.containers}
        now |= {sandbox.id: sandbox.metadata.uid for sandbox in sandboxes.items}
        for uid in {uid for id_, uid in before.items() if id_ not in now}:
            yield uid
        before = now
        await asyncio.sleep(POLL_S)
