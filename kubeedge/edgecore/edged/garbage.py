"""Clears away dead containers and sandboxes of pods that live on (spec 05 §5.10)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from kubeedge.edgecore.edged.observation import Observed, ObservedContainer
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import RuntimeCallError, SandboxState
from kubeedge.edgecore.edged.services import Services

log = logging.getLogger("kubeedge.edged")


def dead_containers(observed: Observed, kept: int) -> list[ObservedContainer]:
    """Return the containers to remove: of each name all but the newest and, of the dead before it, kept ones."""
    left: dict[str, int] = {}
    garbage: list[ObservedContainer] = []
    for container in observed.containers:
        seen = left.get(container.name, 0)
        left[container.name] = seen + 1
        if seen > kept and container not in observed.running:
            garbage.append(container)
    return garbage


async def collect(services: Services, pod: Pod, observed: Observed, kept: int) -> None:
    """Remove what is dead and not needed. Raises RuntimeUnavailableError."""
    garbage = dead_containers(observed, kept)
    for container in garbage:
        try:
            await services.runtime.remove_container(container.id)
        except RuntimeCallError as error:
            log.warning("container not removed id=%s reason=%s", container.id, error.message)
            continue
        if container.status.log_path:
            path = Path(container.status.log_path)
            path = path if path.is_absolute() else services.folders.pod_logs(pod) / path
            await asyncio.to_thread(_remove_log, path)
    gone = {c.id for c in garbage}
    in_use = {c.sandbox_id for c in observed.containers if c.id not in gone}
    for sandbox in observed.sandboxes[1:]:
        if sandbox.sandbox.state is SandboxState.NOT_READY and sandbox.sandbox.id not in in_use:
            try:
                await services.runtime.remove_sandbox(sandbox.sandbox.id)
            except RuntimeCallError as error:
                log.warning("sandbox not removed id=%s reason=%s", sandbox.sandbox.id, error.message)


def _remove_log(path: Path) -> None:
    """Remove a log and what rotation made of it."""
    if path.parent.is_dir():
        for found in path.parent.glob(f"{path.name}*"):
            found.unlink(missing_ok=True)
