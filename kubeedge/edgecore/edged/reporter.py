"""Tells the API what became of the pods: the newest state, as differences, until it has it (spec 05 §4.6)."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from kubeedge.edgecore.edged.conditions import OWNED
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.pod import TERMINAL_PHASES, Object, Pod
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

# What failed is tried again after this long, or at once when the link comes back.
RETRY_S = 10.0
# Different pods are told at the same time; of one pod there is never more than one patch under way (spec 03 §2.6).
SENDERS = 4

_patches = Counter("kubeedge_edged_pod_patches_total", "Status patches of pods", ("outcome",))

# Lists that the API merges by key (spec: patch strategy of PodStatus); all others are replaced as a whole.
_MERGED_LISTS = {"conditions": "type", "hostIPs": "ip", "podIPs": "ip"}


class PodClient(Protocol):
    """Where statuses go; MetaClient is one. Calls raise MetaError."""

    async def patch_pod(self, pod: Pod, patch: Object) -> Object: ...

    async def delete_pod(self, pod: Pod) -> None: ...


class _Entry:
    """One pod. base is the status that the API has, as far as it is known; wanted None: nothing to tell yet.

    futile is a patch that the API took without becoming what was wanted: sending it again would never end. deletion is
    the scope of a deletion under way.
    """

    __slots__ = ("base", "base_version", "deletion", "futile", "is_being_sent", "may_delete", "pod", "wanted")

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.base: Object = pod.status
        self.base_version = pod.resource_version
        self.wanted: Object | None = None
        self.futile: Object | None = None
        self.may_delete = False
        self.deletion: asyncio.Timeout | None = None
        self.is_being_sent = False


class Reporter:
    """Keeps the status of each pod and brings it to the API."""

    def __init__(self, client: PodClient, *, retry_s: float = RETRY_S) -> None:
        self._client = client
        self._retry_s = retry_s
        self._entries: dict[str, _Entry] = {}
        # Uids to look at, in order, each once.
        self._queue: dict[str, None] = {}
        self._failed: set[str] = set()
        self._ready = asyncio.Event()

    def status_of(self, uid: str) -> Object | None:
        """Return the status that was last given for a pod."""
        entry = self._entries.get(uid)
        return None if entry is None else entry.wanted

    def seen(self, pod: Pod) -> None:
        """Take a new version of a pod from the API: its status may not be what was told."""
        entry = self._entries.setdefault(pod.uid, _Entry(pod))
        if pod.resource_version >= entry.pod.resource_version:
            entry.pod = pod
        if pod.resource_version > entry.base_version:
            entry.base, entry.base_version = pod.status, pod.resource_version
            self._enqueue(pod.uid)

    def tell(self, pod: Pod, status: Object) -> None:
        """Give the status of a pod; it goes out if the API has another."""
        entry = self._entries.setdefault(pod.uid, _Entry(pod))
        if entry.wanted != status:
            entry.wanted = status
            entry.futile = None
            self._enqueue(pod.uid)

    def nothing_is_left(self, pod: Pod) -> None:
        """Nothing of a pod that the API wants deleted is left on the node: let the API remove it."""
        entry = self._entries.setdefault(pod.uid, _Entry(pod))
        entry.may_delete = True
        self._enqueue(pod.uid)

    def forget(self, uid: str) -> None:
        """The API has removed the pod."""
        self._entries.pop(uid, None)
        self._failed.discard(uid)

    def reconnected(self) -> None:
        """The link is back: tell at once what could not be told, and what nobody will answer any more."""
        for entry in self._entries.values():
            if entry.deletion is not None:
                # Unlike a patch it is not refused when the link goes (spec 05 §4.6), and asking twice does no harm.
                entry.deletion.reschedule(asyncio.get_running_loop().time())
        self._retry_now()

    def _retry_now(self) -> None:
        for uid in list(self._failed):
            self._enqueue(uid)

    def _enqueue(self, uid: str) -> None:
        self._failed.discard(uid)
        self._queue[uid] = None
        self._ready.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send_all())
            group.create_task(self._retry_failed())

    async def _retry_failed(self) -> None:
        while True:
            await asyncio.sleep(self._retry_s)
            self._retry_now()

    async def _send_all(self) -> None:
        while True:
            await self._ready.wait()
            uid = next(iter(self._queue), None)
            if uid is None:
                self._ready.clear()
                continue
            del self._queue[uid]
            entry = self._entries.get(uid)
            if entry is None or entry.is_being_sent:
                continue
            entry.is_being_sent = True
            try:
                await self._send(uid, entry)
            finally:
                entry.is_being_sent = False

    async def _send(self, uid: str, entry: _Entry) -> None:
        """Send one pod's status until the API has it, or until that fails."""
        while self._entries.get(uid) is entry:
            wanted = entry.wanted
            changes = status_patch(entry.base, wanted) if wanted is not None else {}
            try:
                if changes and changes != entry.futile:
                    patched = await self._client.patch_pod(entry.pod, {"metadata": {"uid": uid}, "status": changes})
                    self._acknowledged(entry, patched, wanted)
                    _patches.inc("ok")
                    if entry.wanted is wanted and wanted is not None and status_patch(entry.base, wanted) == changes:
                        log.warning("status not taken pod=%s fields=%s", entry.pod.key, ",".join(changes))
                        entry.futile = changes
                elif entry.may_delete and entry.base.get("phase") in TERMINAL_PHASES:
                    if await self._delete(entry):
                        return
                else:
                    return
            except MetaError as error:
                if not self._give_up(uid, entry, error):
                    self._failed.add(uid)
                return

    async def _delete(self, entry: _Entry) -> bool:
        """Let the API remove a pod; False when that was broken off. Raises MetaError."""
        try:
            async with asyncio.timeout(None) as entry.deletion:
                await self._client.delete_pod(entry.pod)
        except TimeoutError:
            return False
        finally:
            entry.deletion = None
        return True

    def _acknowledged(self, entry: _Entry, patched: Object, wanted: Object | None) -> None:
        answer = Pod(patched)
        if answer.uid == entry.pod.uid and answer.status:
            if answer.resource_version >= entry.base_version:
                entry.base, entry.base_version = answer.status, answer.resource_version
        elif wanted is not None:
            # A cloud that says yes without an object: what was sent is what it has.
            entry.base = {**entry.base, **wanted}

    def _give_up(self, uid: str, entry: _Entry, error: MetaError) -> bool:
        """Look at a failure; True when telling again is of no use."""
        _patches.inc(error.reason or "unreachable")
        if error.reason in ("NotFound", "Conflict"):
            # The API has no such pod any more (or another of the same name): it will say so by a message.
            log.info("status not wanted pod=%s uid=%s reason=%s", entry.pod.key, uid, error.reason)
            entry.base = {**entry.base, **(entry.wanted or {})}
            if entry.may_delete:
                self._failed.add(uid)
            return True
        if error.reason:
            log.warning("status refused pod=%s reason=%s message=%s", entry.pod.key, error.reason, error.message)
        else:
            log.debug("status not sent pod=%s reason=%s", entry.pod.key, error.message)
        return False


def status_patch(base: Object, wanted: Object) -> Object:
    """Return the strategic merge patch that turns the API's status into the wanted one; empty when they agree.

    Conditions that the node does not own are left alone.
    """
    patch: Object = {}
    for key in sorted(base.keys() | wanted.keys()):
        if key in _MERGED_LISTS:
            _patch_list(patch, key, base.get(key) or [], wanted.get(key) or [])
        elif key not in wanted:
            # Fields that others put there stay; those of the node that are gone are taken away.
            if key in ("reason", "message"):
                patch[key] = None
        elif base.get(key) != wanted[key]:
            patch[key] = wanted[key]
    return patch


def _patch_list(patch: Object, key: str, base: list[Object], wanted: list[Object]) -> None:
    merge_key = _MERGED_LISTS[key]
    before = {entry.get(merge_key): entry for entry in base}
    changes = [_difference(before.get(entry[merge_key]), entry, merge_key) for entry in wanted]
    changed = [change for change in changes if change is not None]
    if key != "conditions":
        kept = {entry[merge_key] for entry in wanted}
        changed += [{"$patch": "delete", merge_key: name} for name in before if name not in kept]
    if not changed:
        return
    if base:
        order = [{merge_key: entry[merge_key]} for entry in wanted]
        if key == "conditions":
            order += [{merge_key: name} for name in before if name not in OWNED]
        patch[f"$setElementOrder/{key}"] = order
    patch[key] = changed


def _difference(before: Object | None, entry: Object, merge_key: str) -> Object | None:
    if before is None:
        return {k: v for k, v in entry.items() if v is not None or k == "lastProbeTime"}
    # Null takes a field away that the entry had before and has no more.
    change = {k: entry.get(k) for k in before.keys() | entry.keys() if before.get(k) != entry.get(k)}
    return {**change, merge_key: entry[merge_key]} if change else None
