"""The node's Lease: the sign of life that the cloud counts (spec 05 §4.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from kubeedge.edgecore.edged.meta import LEASE_NAMESPACE, MetaError
from kubeedge.edgecore.edged.pod import Object
from kubeedge.kube.instants import micro_timestamp
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

# Up to this part of a period is added, so that many nodes do not renew in step.
JITTER_PART = 0.04
FIRST_RETRY_S = 0.2
MAX_RETRY_S = 7.0
TRIES = 5

_renewals = Counter("kubeedge_edged_lease_renewals_total", "Renewals of the node's lease", ("outcome",))


class LeaseClient(Protocol):
    """Where the lease is kept; MetaClient is one. Calls raise MetaError."""

    async def lease(self) -> Object: ...

    async def create_lease(self, lease: Object) -> Object: ...

    async def update_lease(self, lease: Object) -> Object: ...


class LeaseKeeper:
    """Renews the lease every quarter of its duration, and at once when the link comes back."""

    def __init__(
        self,
        client: LeaseClient,
        node_name: str,
        node_uid: Callable[[], str],
        now: Callable[[], float],
        jitter: Callable[[], float],
        *,
        duration_s: int = 40,
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._node_uid = node_uid
        self._now = now
        self._jitter = jitter
        self._duration_s = duration_s
        self._known: Object | None = None
        self._online = False
        self._wake = asyncio.Event()

    def connected(self, online: bool) -> None:
        """The cloud can be reached, or not any more."""
        self._online = online
        if online:
            self._wake.set()

    async def run(self) -> None:
        """Renew until cancelled."""
        pause_s = 0.0
        while True:
            await self._sleep(pause_s)
            if not self._online:
                pause_s = self._duration_s / 4
                continue
            if await self._renew():
                pause_s = self._duration_s / 4 * (1 + JITTER_PART * self._jitter())
            else:
                pause_s = min(max(pause_s * 2, FIRST_RETRY_S), MAX_RETRY_S) if pause_s < MAX_RETRY_S else FIRST_RETRY_S

    async def _sleep(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _renew(self) -> bool:
        for _ in range(TRIES):
            try:
                if self._known is None:
                    self._known = await self._read_or_create()
                self._known = await self._client.update_lease(self._renewed(self._known))
                _renewals.inc("ok")
                return True
            except MetaError as error:
                _renewals.inc(error.reason or "unreachable")
                if error.reason:
                    # The API is there and does not want it: next time begin with what there is. A lease that went with
                    # its Node is refused with a reason of its own, for the version of what is not there.
                    self._known = None
                if error.reason in ("Conflict", "NotFound", "AlreadyExists"):
                    # Somebody else changed it.
                    continue
                log.debug("lease not renewed reason=%s", error.message)
                return False
        log.warning("lease not renewed tries=%d", TRIES)
        return False

    async def _read_or_create(self) -> Object:
        try:
            return await self._client.lease()
        except MetaError as error:
            if not error.is_not_found:
                raise
        metadata = {"name": self._node_name, "namespace": LEASE_NAMESPACE, "creationTimestamp": None}
        return await self._client.create_lease(self._renewed({"metadata": metadata, "spec": {}}))

    def _renewed(self, lease: Object) -> Object:
        metadata = dict(lease.get("metadata") or {})
        uid = self._node_uid()
        if uid:
            metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": self._node_name, "uid": uid}]
        spec = {
            **(lease.get("spec") or {}),
            "holderIdentity": self._node_name,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": micro_timestamp(self._now()),
        }
        return {**lease, "metadata": metadata, "spec": spec}
