"""Images that nobody needs are removed when the disk fills or they are old; no other ever is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.edged.image_collector import CollectionError, ImageCollector, space_of
from kubeedge.edgecore.edged.image_retention import (
    Candidate,
    Retention,
    Sightings,
    Space,
    is_for_sandboxes,
    is_named,
    names_in_use,
    outdated,
    removable,
)
from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerState,
    Image,
    ImageFilesystem,
    RuntimeCallError,
    RuntimeUnavailableError,
)

CAPACITY = 1000


def image(name: str, size: int = 50, **fields: Any) -> Image:
    return Image(
        f"sha256:{name}", [f"docker.io/library/{name}:1"], [f"docker.io/library/{name}@sha256:d"], size, **fields
    )


def container(image: str, image_ref: str, state: ContainerState = ContainerState.EXITED) -> Container:
    return Container("c", "s", "main", 0, image, image_ref, state, 0, {}, {})


def named(candidates: list[Candidate]) -> list[str]:
    return [candidate.image.id.removeprefix("sha256:") for candidate in candidates]


# --- decisions


def test_least_recently_used_image_goes_first_and_of_equals_the_largest() -> None:
    sightings = Sightings()
    images = [image("a"), image("b"), image("small", 1), image("large", 99)]
    for now, used in ((0.0, "a"), (10.0, "b"), (20.0, "a")):
        sightings.candidates(images, {f"sha256:{used}"}, now)
    found = sightings.candidates(images, set(), 30.0)
    assert named(found) == ["large", "small", "b", "a"]
    assert [(c.age_s, c.idle_s) for c in found] == [(30, 30), (30, 30), (30, 20), (30, 10)]


def test_image_that_was_just_fetched_counts_as_just_used() -> None:
    sightings = Sightings()
    sightings.candidates([image("old")], {"sha256:old"}, 0.0)
    sightings.candidates([image("old")], set(), 100.0)
    assert named(sightings.candidates([image("new"), image("old")], set(), 200.0)) == ["old", "new"]


def test_image_that_was_away_is_as_young_as_its_return() -> None:
    sightings = Sightings()
    sightings.candidates([image("a")], set(), 0.0)
    sightings.candidates([], set(), 10.0)
    (found,) = sightings.candidates([image("a")], set(), 20.0)
    assert (found.age_s, found.idle_s) == (0, 0)


@pytest.mark.parametrize(
    "kept",
    [
        image("pinned", pinned=True),
        Image("sha256:p", ["registry.k8s.io/pause:3.6"], [], 1),
        Image("sha256:p", ["localhost:5000/kubeedge/pause:3.6", "x/y:1"], [], 1),
    ],
)
def test_pinned_images_and_that_of_sandboxes_stay(kept: Image) -> None:
    assert Sightings().candidates([kept], set(), 0.0) == []


def test_image_with_pause_in_its_name_is_not_that_of_sandboxes() -> None:
    assert not is_for_sandboxes(Image("sha256:x", ["pause.example/x:1", "r/pauses:1", "pause/x:1"], [], 1))


@pytest.mark.parametrize(
    ("containers", "wanted"),
    [
        ([container("sha256:a", "sha256:a")], []),
        ([container("docker.io/library/a:1", "")], []),
        ([container("", "docker.io/library/a@sha256:d")], []),
        ([container("a:1", "sha256:other")], []),
        ([container("sha256:a", "sha256:a", ContainerState.RUNNING)], []),
        ([], ["a:1"]),
        ([], ["docker.io/a:1", "a@sha256:d"]),
        ([], ["a:2@sha256:d"]),
    ],
)
def test_image_is_in_use_by_whatever_name(containers: list[Container], wanted: list[str]) -> None:
    assert is_named(image("a"), names_in_use(containers, wanted))


@pytest.mark.parametrize("wanted", ["a", "a:2", "team/a:1", "", "sha256:b"])
def test_image_of_another_name_is_not_in_use(wanted: str) -> None:
    assert not is_named(image("a"), names_in_use([container("", "")], [wanted]))


@given(st.integers(1000, 10**15), st.integers(0, 10**15), st.integers(0, 100))
def test_full_disk_misses_bytes(capacity: int, available: int, percent: int) -> None:
    space = Space(capacity, min(available, capacity))
    if space.missing_bytes(percent) > 0:
        assert space.is_used_to(percent)
    after = Space(capacity, space.available_bytes + max(space.missing_bytes(percent), 0))
    assert after.missing_bytes(percent) <= 0
    assert not after.is_used_to(percent + 1)


def test_young_images_do_not_go_for_space_and_none_for_its_age_unless_asked() -> None:
    found = [Candidate(image("young"), 119.0, 119.0), Candidate(image("old"), 120.0, 120.0)]
    assert named(removable(found, Retention())) == ["old"]
    assert outdated(found, Retention()) == []
    assert named(outdated(found, Retention(maximum_age_s=119.5))) == ["old"]


# --- the collector


class Disk:
    """A runtime with a disk of CAPACITY bytes. clears_up: what an image took is free as soon as it is removed."""

    def __init__(self, *images: Image, used: int) -> None:
        self.images = list(images)
        self.containers: list[Container] = []
        self.wanted: set[str] = set()
        self.available = CAPACITY - used
        self.capacity = CAPACITY
        self.clears_up = True
        self.where: ImageFilesystem | None = ImageFilesystem("/images", used)
        self.away: Exception | None = None
        self.stubborn: set[str] = set()
        self.told: list[tuple[str, str]] = []
        self.asked: list[str] = []

    async def image_fs_info(self) -> ImageFilesystem | None:
        if self.away is not None:
            raise self.away
        return self.where

    async def list_images(self) -> list[Image]:
        return list(self.images)

    async def list_containers(self) -> list[Container]:
        return self.containers

    async def remove_image(self, image_id: str) -> None:
        if image_id in self.stubborn:
            raise RuntimeCallError("RemoveImageError", "in use")
        (gone,) = (image for image in self.images if image.id == image_id)
        self.images.remove(gone)
        self.available += gone.size_bytes if self.clears_up else 0

    def node(self, type_: str, reason: str, message: str) -> None:
        self.told.append((reason, message))

    def space(self, folder: str) -> Space:
        self.asked.append(folder)
        return Space(self.capacity, self.available)

    @property
    def left(self) -> list[str]:
        return [image.id.removeprefix("sha256:") for image in self.images]

    def collector(self, **retention: Any) -> ImageCollector:
        events: Any = self
        runtime: Any = self
        policy = Retention(**({"minimum_age_s": 0.0} | retention))
        return ImageCollector(runtime, events, lambda: self.wanted, policy, period_s=0.01, space_of=self.space)


async def test_nothing_is_removed_below_the_high_threshold() -> None:
    disk = Disk(image("a"), used=849)
    await disk.collector().collect()
    assert disk.left == ["a"]
    assert disk.asked == ["/images"]


async def test_full_disk_is_cleared_down_to_the_low_threshold() -> None:
    disk = Disk(image("a", 30), image("b", 29), image("c", 28), used=850)
    await disk.collector().collect()
    assert disk.left == ["c"]


async def test_images_in_use_stay_on_a_full_disk() -> None:
    disk = Disk(image("run"), image("dead"), image("wanted"), image("free"), used=990)
    disk.containers = [
        container("sha256:run", "sha256:run", ContainerState.RUNNING),
        container("sha256:dead", "sha256:dead"),
    ]
    disk.wanted = {"wanted:1"}
    with pytest.raises(CollectionError) as caught:
        await disk.collector().collect()
    assert disk.left == ["run", "dead", "wanted"]
    assert caught.value.reason == "FreeDiskSpaceFailed"
    assert caught.value.message == (
        "Failed to garbage collect required amount of images. Attempted to free 190 bytes, "
        "but only found 50 bytes eligible to free."
    )


async def test_pod_that_comes_while_images_are_removed_keeps_its_own() -> None:
    disk = Disk(image("a", 30), image("b", 29), image("c", 28), used=850)
    remove = disk.remove_image

    async def remove_and_want(image_id: str) -> None:
        await remove(image_id)
        disk.wanted = {"b:1"}

    disk.remove_image = remove_and_want  # type: ignore[method-assign]
    await disk.collector().collect()
    assert disk.left == ["b"]


async def test_runtime_that_clears_up_late_does_not_lose_all_its_images() -> None:
    disk = Disk(image("a", 30), image("b", 29), image("c", 28), used=850)
    disk.clears_up = False
    await disk.collector().collect()
    assert disk.left == ["c"]


async def test_images_that_take_more_than_their_size_are_not_removed_for_nothing() -> None:
    disk = Disk(image("a", 30), image("b", 29), image("c", 28), used=850)
    remove = disk.remove_image

    async def unpacked(image_id: str) -> None:
        await remove(image_id)
        disk.available += 100

    disk.remove_image = unpacked  # type: ignore[method-assign]
    await disk.collector().collect()
    assert disk.left == ["b", "c"]


async def test_image_that_cannot_be_removed_does_not_save_the_others() -> None:
    disk = Disk(image("a", 70), image("b", 60), used=850)
    disk.stubborn = {"sha256:a"}
    await disk.collector().collect()
    assert disk.left == ["a"]


async def test_young_images_stay_and_high_threshold_of_100_removes_none() -> None:
    disk = Disk(image("a"), used=1000)
    with pytest.raises(CollectionError):
        await disk.collector(minimum_age_s=60.0).collect()
    await disk.collector(high_percent=100).collect()
    assert disk.left == ["a"]


async def test_image_that_nobody_used_for_too_long_goes_from_an_empty_disk() -> None:
    disk = Disk(image("a"), image("b"), used=100)
    disk.wanted = {"b:1"}
    collector = disk.collector(maximum_age_s=0.05)
    await collector.collect()
    assert disk.left == ["a", "b"]
    await asyncio.sleep(0.06)
    await collector.collect()
    assert disk.left == ["b"]


async def test_runtime_without_images_of_its_own_is_asked_for_nothing_else() -> None:
    disk = Disk(image("a"), used=1000)
    disk.where = None
    await disk.collector().collect()
    assert (disk.left, disk.asked) == (["a"], [])


@pytest.mark.parametrize(
    "trouble",
    [
        RuntimeUnavailableError("no answer"),
        RuntimeCallError("ImageFsInfoError", "no answer"),
        FileNotFoundError(2, "no answer"),
    ],
)
async def test_trouble_is_told_when_it_lasts_and_the_next_pass_goes_on(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(image("a", 60), used=850)
    disk.away = trouble
    task = asyncio.create_task(disk.collector().run())
    async with asyncio.timeout(5):
        while len(disk.told) < 2:  # noqa: ASYNC110 - passes are made by the collector's own clock
            await asyncio.sleep(0.005)
        disk.away = None
        while disk.images:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait([task])
    assert {reason for reason, _ in disk.told} == {"ImageGCFailed"}
    assert "no answer" in disk.told[0][1]
    assert len([r for r in caplog.records if "images not collected" in r.message]) == 1


async def test_first_failure_alone_makes_no_event() -> None:
    disk = Disk(used=1000)
    collector = disk.collector()
    task = asyncio.create_task(collector.run())
    async with asyncio.timeout(5):
        while not disk.asked:  # noqa: ASYNC110 - passes are made by the collector's own clock
            await asyncio.sleep(0)
    disk.available = CAPACITY
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert disk.told == []


async def test_file_system_without_capacity_is_reported() -> None:
    disk = Disk(image("a"), used=1000)
    disk.capacity = 0
    with pytest.raises(CollectionError, match="invalid capacity 0 on image filesystem") as caught:
        await disk.collector().collect()
    assert caught.value.reason == "InvalidDiskCapacity"


def test_room_of_a_file_system_is_what_is_left_for_ordinary_users(tmp_path: Path) -> None:
    space = space_of(str(tmp_path))
    assert 0 < space.available_bytes < space.capacity_bytes
