"""The arithmetic of rollouts: never too many pods, never too few available ones, and always an end."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubeedge.apiserver.controllers import rollout
from kubeedge.apiserver.controllers.revisions import sizes
from kubeedge.apiserver.controllers.views import ReplicaSet
from tests.apiserver.controllers.builders import deployment, replica_set

shares = st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda number: f"{number}%"))


@pytest.mark.parametrize(
    ("value", "up", "expected"),
    [
        ("25%", True, 3),
        ("25%", False, 2),
        (4, True, 4),
        ("0%", True, 0),
        ("100%", False, 10),
        (None, True, 0),
        ("x%", True, 0),
    ],
)
def test_percentages_are_rounded_in_the_direction_asked(value: int | str | None, up: bool, expected: int) -> None:
    assert rollout.share(value, 10, up=up) == expected


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (3, 0, "25%", (0, 1)),
        (2, 0, 5, (0, 2)),
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_limits_leave_room_to_move(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    assert rollout.limits(deployment(replicas, surge=surge, unavailable=unavailable)) == expected


def test_recreate_has_no_room() -> None:
    assert rollout.limits(deployment(5, recreate=True)) == (0, 0)


def _become(found: ReplicaSet, size: int) -> None:
    """Resize a set; pods that go are taken from those that are not available first."""
    found.spec.replicas = size
    found.status.replicas = size
    found.status.available_replicas = min(found.status.available_replicas, size)


@given(
    replicas=st.integers(0, 12),
    surge=shares,
    unavailable=shares,
    old=st.lists(st.integers(0, 8), max_size=3),
    seed=st.integers(),
)
def test_rolling_update_keeps_its_limits_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, old: list[int], seed: int
) -> None:
    wanted = deployment(replicas, surge=surge, unavailable=unavailable)
    most = rollout.maximum(wanted)
    least = replicas - rollout.limits(wanted)[1]
    assume(sum(old) <= most)
    chance = random.Random(seed)
    olds = [replica_set(f"old{i}", size, available=chance.randint(0, size), created=i) for i, size in enumerate(old)]
    new = replica_set("new", 0, created=99)
    for _ in range(200):
        before = rollout.available([*olds, new])
        size = rollout.size_of_new(wanted, [*olds, new], new.spec.replicas)
        if size != new.spec.replicas:
            new.spec.replicas = new.status.replicas = size
        else:
            for found, smaller in rollout.shrink_old(wanted, new, olds):
                assert smaller < found.spec.replicas
                _become(found, smaller)
            assert rollout.available([*olds, new]) >= min(before, least)
        assert rollout.wanted([*olds, new]) <= most
        # One pod of the new set becomes available, now and then.
        if chance.random() < 0.7 and new.status.available_replicas < new.spec.replicas:
            new.status.available_replicas += 1
        if new.status.available_replicas == replicas and not rollout.active(olds):
            break
    assert new.spec.replicas == replicas
    assert new.status.available_replicas == replicas
    assert rollout.active(olds) == []


def test_pods_that_are_not_available_go_first() -> None:
    wanted = deployment(4, surge=1, unavailable=1)
    new = replica_set("new", 1, available=0)
    broken = replica_set("broken", 2, available=0, created=2)
    fine = replica_set("fine", 2, available=2, created=1)
    plan = rollout.shrink_old(wanted, new, [broken, fine])
    assert [(found.metadata.name, size) for found, size in plan] == [("broken", 1)]


def test_single_set_takes_the_new_size() -> None:
    only = replica_set("only", 3)
    assert rollout.rescale(deployment(7), only, []) == [(only, 7)]
    assert rollout.rescale(deployment(7), None, [only]) == [(only, 7)]


def test_set_without_pods_is_the_one_to_grow() -> None:
    new, old = replica_set("new", 0, created=2), replica_set("old", 0, created=1)
    assert rollout.rescale(deployment(4), new, [old]) == [(new, 4)]
    assert rollout.rescale(deployment(4), None, [old, replica_set("older", 0)]) == [(old, 4)]


def test_saturated_new_set_leaves_nothing_to_the_old_ones() -> None:
    new = replica_set("new", 5, available=5, annotations=sizes(5, 6))
    old = replica_set("old", 1, annotations=sizes(5, 6))
    assert rollout.rescale(deployment(5), new, [old]) == [(old, 0)]


@given(
    replicas=st.integers(1, 40),
    before=st.integers(1, 40),
    parts=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    surge=shares,
)
def test_rescaled_sets_share_what_is_allowed(replicas: int, before: int, parts: list[int], surge: int | str) -> None:
    wanted = deployment(replicas, surge=surge, unavailable=1)
    noted = sizes(before, max(before, sum(parts)))
    sets = [replica_set(f"s{i}", size, created=i, annotations=noted) for i, size in enumerate(parts)]
    plan = rollout.rescale(wanted, sets[-1], sets[:-1])
    assert len(plan) == len(sets)
    assert all(size >= 0 for _, size in plan)
    assert sum(size for _, size in plan) == rollout.maximum(wanted)


def test_half_done_rollout_stays_half_done_when_it_is_scaled() -> None:
    noted = sizes(10, 13)
    new = replica_set("new", 5, available=3, created=2, annotations=noted)
    old = replica_set("old", 8, available=8, created=1, annotations=noted)
    plan = {found.metadata.name: size for found, size in rollout.rescale(deployment(20), new, [old])}
    assert plan == {"old": 15, "new": 10}


def test_changed_number_of_replicas_is_seen_by_the_annotation() -> None:
    assert rollout.is_scaling(deployment(4), [replica_set("a", 3, annotations=sizes(3, 4))])
    assert not rollout.is_scaling(deployment(3), [replica_set("a", 3, annotations=sizes(3, 4))])
    assert not rollout.is_scaling(deployment(4), [replica_set("a", 0, annotations=sizes(3, 4))])
    assert not rollout.is_scaling(deployment(4), [replica_set("a", 3)])
