"""The volumes of one pod through its life: set up before it starts, kept up to date, tried again (spec 05 §5.6)."""

from __future__ import annotations

import asyncio
import logging

from kubeedge.edgecore.edged.interruption import Interruptible
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.services import Services
from kubeedge.edgecore.edged.volumes.payload import MountError
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

# A volume that cannot be set up is tried again after this long, doubling (Kubernetes: 0.5 s to 2 min).
FIRST_RETRY_S = 0.5
MAX_RETRY_S = 122.0
# A token that is due is not asked for more often than this.
MIN_REFRESH_S = 1.0

_failures = Counter("kubeedge_edged_mount_failures_total", "Volumes that could not be set up or brought up to date")


def _time() -> float:
    # The loop's clock: the wall clock of a device may be set.
    return asyncio.get_running_loop().time()


class Provision:
    """Sets up and refreshes the volumes of one pod, and says when to do so again."""

    def __init__(self, services: Services, interruptible: Interruptible) -> None:
        self._services = services
        self._interruptible = interruptible
        self.changes = 0
        """Counts what changed for the pod: work that it overtook may have failed or succeeded with what was before."""
        self._is_set_up = False
        self._refresh_at = 0.0
        self._blocked_until = 0.0
        self._retry_s = FIRST_RETRY_S

    @property
    def refresh_in_s(self) -> float:
        """Seconds until the volumes are to be brought up to date; 0 when it is time."""
        return max(self._refresh_at - _time(), 0.0)

    @property
    def blocked_s(self) -> float:
        """Seconds for which nothing of the pod can be started; 0 when it can be tried."""
        return max(self._blocked_until - _time(), 0.0)

    def outdated(self) -> None:
        """What volumes show has changed: bring them up to date at once."""
        self.changes += 1
        self._refresh_at = 0.0

    def retry_now(self) -> None:
        """What failed may go well now."""
        self.changes += 1
        self._blocked_until = 0.0
        self._retry_s = FIRST_RETRY_S

    def block(self, seconds: float) -> None:
        """Start nothing of the pod for so long, unless something changes."""
        self._blocked_until = _time() + seconds

    async def set_up(self, pod: Pod, pod_ips: list[str], *, is_running: bool) -> bool:
        """Make folders and volumes; False when one is not there yet, which is waited for.

        Raises Interrupted, OSError.
        """
        self._services.folders.make_pod(pod)
        if self._is_set_up:
            return True
        known = self.changes
        try:
            await self._interruptible(self._services.mounter.set_up(pod, self._services.place(pod_ips)))
        except MountError as error:
            self._failed(pod, error)
            if is_running:
                # What runs has its volumes; they could only not be made fresh.
                return True
            if self.changes == known:
                self.block(self._retry_s)
                self._retry_s = min(self._retry_s * 2, MAX_RETRY_S)
            return False
        self._is_set_up = True
        self._plan_refresh(pod, known)
        return True

    async def refresh(self, pod: Pod, pod_ips: list[str]) -> str:
        """Bring ConfigMaps, Secrets and tokens up to date; return what takes more of the node than it may, or nothing.

        Raises Interrupted, OSError.
        """
        known = self.changes
        try:
            await self._interruptible(self._services.mounter.refresh(pod, self._services.place(pod_ips)))
        except MountError as error:
            self._failed(pod, error)
        self._plan_refresh(pod, known)
        return await asyncio.to_thread(self._services.mounter.over_limit, pod)

    def _failed(self, pod: Pod, error: MountError) -> None:
        _failures.inc()
        message = f'MountVolume.SetUp failed for volume "{error.volume}" : {error.message}'
        self._services.events.pod(pod, "Warning", "FailedMount", message)
        log.warning("volume not mounted pod=%s volume=%s reason=%s", pod.key, error.volume, error.message)

    def _plan_refresh(self, pod: Pod, known: int) -> None:
        """Say when volumes are brought up to date again; at once when more has changed than was known to this work."""
        if self.changes != known:
            self._refresh_at = 0.0
            return
        services = self._services
        pause = services.sync_frequency_s * (1 + services.jitter() / 2)
        token_at = services.objects.token_renewal_at(pod)
        if token_at is not None:
            pause = max(min(pause, token_at - services.now()), MIN_REFRESH_S)
        self._refresh_at = _time() + pause
