"""Removes images that nobody needs, before they fill the disk (spec 05 §5.10)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection

from kubeedge.edgecore.edged.events import Events
from kubeedge.edgecore.edged.image_retention import (
    Retention,
    Sightings,
    Space,
    is_named,
    names_in_use,
    outdated,
    removable,
)
from kubeedge.edgecore.edged.runtime.interface import Image, Runtime, RuntimeCallError, RuntimeUnavailableError
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

PERIOD_S = 300.0

_removed = Counter("kubeedge_edged_images_removed_total", "Images removed from the node", ("why",))
_failures = Counter("kubeedge_edged_image_collections_failed_total", "Passes over the images that failed", ("why",))


class CollectionError(Exception):
    """A pass over the images did not do what it should; reason is that of the event."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def space_of(folder: str) -> Space:
    """Read the room of the file system of a folder, as a program without privileges has it. Raises OSError."""
    disk = os.statvfs(folder)
    return Space(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize)


class ImageCollector:
    """Looks at all images every period_s. wanted gives the names of the images that pods of the node need.

    An image is only removed while no container, running or not, is made from it and no pod names it: a node that
    cannot reach a registry would not get it back. space_of reads the room of the file system of a folder.
    """

    def __init__(
        self,
        runtime: Runtime,
        events: Events,
        wanted: Callable[[], Collection[str]],
        retention: Retention,
        *,
        period_s: float = PERIOD_S,
        space_of: Callable[[str], Space] = space_of,
    ) -> None:
        self._runtime = runtime
        self._events = events
        self._wanted = wanted
        self._retention = retention
        self._period_s = period_s
        self._space_of = space_of
        self._sightings = Sightings()
        self._failed = ""

    async def run(self) -> None:
        """Look at the images until cancelled."""
        while True:
            try:
                await self.collect()
                self._failed = ""
            except CollectionError as error:
                self._note(error.reason, error.message)
            except (RuntimeCallError, RuntimeUnavailableError, OSError) as error:
                self._note("ImageGCFailed", str(error))
            await asyncio.sleep(self._period_s)

    def _note(self, reason: str, message: str) -> None:
        """Tell of a failed pass: in the log once, as an event when it is not the first in a row.

        A runtime that is only just starting, or a disk that is filled and emptied, is nobody's business.
        """
        _failures.inc(reason)
        if self._failed == reason:
            self._events.node("Warning", reason, message)
        else:
            log.warning("images not collected reason=%s message=%s", reason, message)
        self._failed = reason

    async def collect(self) -> None:
        """Make one pass. Raises CollectionError, RuntimeCallError, RuntimeUnavailableError, OSError."""
        where = await self._runtime.image_fs_info()
        if where is None:
            return
        loop = asyncio.get_running_loop()
        images, containers = await self._runtime.list_images(), await self._runtime.list_containers()
        candidates = self._sightings.candidates(images, names_in_use(containers, self._wanted()), loop.time())
        old = outdated(candidates, self._retention)
        for candidate in old:
            await self._remove(candidate.image, "age")
        space = await self._measure(where.mountpoint)
        if space.is_used_to(self._retention.high_percent) and self._retention.high_percent < 100:
            young = [c.image for c in removable(candidates, self._retention) if c not in old]
            await self._make_room(where.mountpoint, space, young)

    async def _make_room(self, folder: str, space: Space, images: list[Image]) -> None:
        """Remove images in that order until there is room enough, or should be.

        Runtimes tell the size of what was fetched, not of what was unpacked, and images share layers: so the disk is
        asked too. It may be late, as runtimes can clear up behind, hence the sizes: too many images must not go.
        """
        low = self._retention.low_percent
        missing, freed = space.missing_bytes(low), 0
        log.info("disk of the images is full folder=%s missing_bytes=%d unused=%d", folder, missing, len(images))
        for image in images:
            if not await self._remove(image, "space"):
                continue
            freed += image.size_bytes
            space = await self._measure(folder)
            if freed >= missing or space.missing_bytes(low) <= 0:
                return
        raise CollectionError(
            "FreeDiskSpaceFailed",
            f"Failed to garbage collect required amount of images. Attempted to free {missing} bytes, "
            f"but only found {freed} bytes eligible to free.",
        )

    async def _measure(self, folder: str) -> Space:
        space = await asyncio.to_thread(self._space_of, folder)
        if space.capacity_bytes <= 0:
            raise CollectionError("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
        return space

    async def _remove(self, image: Image, why: str) -> bool:
        """Remove an image with all its names, unless a pod has come that wants it; False when it is still there."""
        if is_named(image, names_in_use((), self._wanted())):
            return False
        name = next(iter((*image.repo_tags, *image.repo_digests)), image.id)
        try:
            await self._runtime.remove_image(image.id)
        except RuntimeCallError as error:
            log.warning("image not removed image=%s reason=%s", name, error.message)
            return False
        _removed.inc(why)
        log.info("image removed image=%s size_bytes=%d why=%s", name, image.size_bytes, why)
        return True
