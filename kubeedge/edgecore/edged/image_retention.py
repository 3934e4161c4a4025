"""Which images go when room is short, or when nobody has used them for long: pure decisions (spec 05 §5.10)."""

from __future__ import annotations

from collections.abc import Iterable, Set

import msgspec

from kubeedge.edgecore.edged.images import full_name
from kubeedge.edgecore.edged.runtime.interface import Container, Image

# A runtime that cannot pin images shows the one of its sandboxes like any other: without it no pod starts.
SANDBOX_IMAGE = "pause"


class Retention(msgspec.Struct, frozen=True):
    """When images are removed. Times in seconds; maximum_age_s 0: no image is ever too old.

    At high_percent of the images' file system in use, unused images that are known for minimum_age_s are removed until
    it is low_percent; whatever was not used for maximum_age_s goes at any time.
    """

    high_percent: int = 85
    low_percent: int = 80
    minimum_age_s: float = 120.0
    maximum_age_s: float = 0.0


class Space(msgspec.Struct, frozen=True):
    """The room of a file system."""

    capacity_bytes: int
    available_bytes: int

    def is_used_to(self, percent: int) -> bool:
        """Tell whether so much of it is in use, or more."""
        return (self.capacity_bytes - self.available_bytes) * 100 >= self.capacity_bytes * percent

    def missing_bytes(self, percent: int) -> int:
        """Return what has to be freed until only so much of it is in use; 0 or less: nothing."""
        return self.capacity_bytes * (100 - percent) // 100 - self.available_bytes


class Candidate(msgspec.Struct, frozen=True):
    """An image that may be removed; how long it is known, and how long nobody used it, in seconds."""

    image: Image
    age_s: float
    idle_s: float


class Sightings:
    """Since when each image is known and when it was last used, by id; times are of a clock that is never set.

    Being seen first counts as a use: after a restart nobody can tell how old an image is, and one that was fetched
    ahead of its pod is not to go before those that had their pods.
    """

    def __init__(self) -> None:
        self._known_since: dict[str, float] = {}
        self._used_at: dict[str, float] = {}

    def candidates(self, images: Iterable[Image], names: Set[str], now: float) -> list[Candidate]:
        """Note what is there and used; return the rest, the least recently used first, of equals the largest.

        names are those of the images in use, as `names_in_use` gives them.
        """
        known_since, used_at = self._known_since, self._used_at
        self._known_since, self._used_at = {}, {}
        unused: list[Candidate] = []
        for image in images:
            since = self._known_since[image.id] = known_since.get(image.id, now)
            is_used = is_named(image, names)
            used = self._used_at[image.id] = now if is_used else used_at.get(image.id, since)
            if not (is_used or image.pinned or is_for_sandboxes(image)):
                unused.append(Candidate(image, now - since, now - used))
        return sorted(unused, key=lambda c: (-c.idle_s, -c.image.size_bytes, c.image.id))


def outdated(candidates: Iterable[Candidate], retention: Retention) -> list[Candidate]:
    """Return those that nobody has used for too long."""
    limit = retention.maximum_age_s
    return [c for c in candidates if limit and c.idle_s > limit]


def removable(candidates: Iterable[Candidate], retention: Retention) -> list[Candidate]:
    """Return those that may go to make room: one that was just fetched is about to be used."""
    return [c for c in candidates if c.age_s >= retention.minimum_age_s]


def names_in_use(containers: Iterable[Container], wanted: Iterable[str]) -> set[str]:
    """Return ids and full names of the images of containers, running or not, and of those that pods name."""
    names = {full_name(name) for name in wanted}
    for container in containers:
        names |= {container.image_ref, container.image, full_name(container.image)}
    return names - {""}


def is_named(image: Image, names: Set[str]) -> bool:
    """Tell whether one of the names is this image's."""
    return image.id in names or any(name in names for name in (*image.repo_tags, *image.repo_digests))


def is_for_sandboxes(image: Image) -> bool:
    """Tell whether it is the image that sandboxes run from, by its name."""
    repositories = (name.partition("@")[0].rpartition("/")[2].partition(":")[0] for name in image.repo_tags)
    return SANDBOX_IMAGE in repositories
