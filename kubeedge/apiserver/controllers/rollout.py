"""How a Deployment moves from its old ReplicaSets to the new one: sizes in, sizes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubeedge.apiserver.controllers.revisions import DESIRED, MAXIMUM, by_age
from kubeedge.apiserver.controllers.views import Deployment, ReplicaSet

# What a plan says: sets in order with their new sizes, which may be the present ones.
Plan = list[tuple[ReplicaSet, int]]

DEFAULT_SHARE = "25%"


def share(value: int | str | None, total: int, *, up: bool) -> int:
    """Return a number, or a percentage of total rounded up or down."""
    if value is None:
        value = 0
    if isinstance(value, int):
        return value
    try:
        part = int(value.removesuffix("%")) * total
    except ValueError:
        return 0
    return -(-part // 100) if up else part // 100


def is_rolling(deployment: Deployment) -> bool:
    """Tell whether pods are exchanged a few at a time."""
    return deployment.spec.strategy.type != "Recreate"


def limits(deployment: Deployment) -> tuple[int, int]:
    """Return (surge, unavailable): how many pods there may be too many, and how many available ones too few."""
    replicas = deployment.spec.replicas
    if not is_rolling(deployment):
        return 0, 0
    rolling = deployment.spec.strategy.rolling_update
    surge = share(DEFAULT_SHARE if rolling is None else rolling.max_surge, replicas, up=True)
    unavailable = share(DEFAULT_SHARE if rolling is None else rolling.max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        # Both may round to nothing; then the rollout would never move.
        unavailable = 1
    return surge, min(unavailable, replicas)


def maximum(deployment: Deployment) -> int:
    """Return how many pods there may be in all."""
    return deployment.spec.replicas + limits(deployment)[0]


def wanted(sets: Iterable[ReplicaSet]) -> int:
    """Return the pods that sets ask for."""
    return sum(found.spec.replicas for found in sets)


def available(sets: Iterable[ReplicaSet]) -> int:
    """Return the available pods of sets."""
    return sum(found.status.available_replicas for found in sets)


def active(sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Return the sets that ask for pods."""
    return [found for found in sets if found.spec.replicas > 0]


def size_of_new(deployment: Deployment, sets: Iterable[ReplicaSet], present: int) -> int:
    """Return the size of the new set, which has the size present now; sets are all, the new one included."""
    replicas = deployment.spec.replicas
    if not is_rolling(deployment) or present >= replicas:
        return replicas
    room = maximum(deployment) - wanted(sets)
    return present + min(max(room, 0), replicas - present)


def shrink_old(deployment: Deployment, new: ReplicaSet, olds: Sequence[ReplicaSet]) -> Plan:
    """Plan a step of a rolling update in which old sets give up pods.

    First those that are not available anyway, then as many of the others as the least available number allows.
    """
    at_least = deployment.spec.replicas - limits(deployment)[1]
    missing_of_new = new.spec.replicas - new.status.available_replicas
    spare = wanted(olds) + new.spec.replicas - at_least - missing_of_new
    if spare <= 0:
        return []
    sizes = {old.metadata.uid: old.spec.replicas for old in olds}
    ordered = by_age(olds)
    for old in ordered:
        unavailable = old.spec.replicas - old.status.available_replicas
        given = min(spare, max(0, unavailable))
        sizes[old.metadata.uid] -= given
        spare -= given
    surplus = available([*olds, new]) - at_least
    for old in ordered:
        given = min(max(0, surplus), sizes[old.metadata.uid])
        sizes[old.metadata.uid] -= given
        surplus -= given
    return [(old, sizes[old.metadata.uid]) for old in ordered if sizes[old.metadata.uid] != old.spec.replicas]


def is_scaling(deployment: Deployment, sets: Iterable[ReplicaSet]) -> bool:
    """Tell whether the number of replicas was changed since the sets were last resized."""
    return any(
        found.metadata.annotations.get(DESIRED, str(deployment.spec.replicas)) != str(deployment.spec.replicas)
        for found in active(sets)
    )


def is_saturated(deployment: Deployment, new: ReplicaSet | None) -> bool:
    """Tell whether the new set has everything, so that the old ones need nothing."""
    replicas = deployment.spec.replicas
    return (
        new is not None
        and new.spec.replicas == replicas
        and new.metadata.annotations.get(DESIRED) == str(replicas)
        and new.status.available_replicas == replicas
    )


def rescale(deployment: Deployment, new: ReplicaSet | None, olds: Sequence[ReplicaSet]) -> Plan:
    """Plan what a changed number of replicas, or a pause in the middle of a rollout, means for all sets.

    One set alone takes the new number. Of several each gets its share, so that a half-done rollout stays half-done.
    """
    replicas = deployment.spec.replicas
    everything = [*olds, *([new] if new is not None else [])]
    running = active(everything)
    if len(running) <= 1:
        only = running[0] if running else new or (by_age(olds)[-1] if olds else None)
        return [] if only is None else [(only, replicas)]
    if is_saturated(deployment, new):
        return [(old, 0) for old in by_age(active(olds))]
    if not is_rolling(deployment):
        return []
    allowed = maximum(deployment) if replicas > 0 else 0
    change = allowed - wanted(running)
    # The largest first; among equals the newest grows and the oldest shrinks.
    ordered = by_age(running)
    if change > 0:
        ordered.reverse()
    ordered.sort(key=lambda found: -found.spec.replicas)
    given = 0
    sizes: list[int] = []
    for found in ordered:
        part = _proportion(found, deployment, change, given) if change else 0
        sizes.append(found.spec.replicas + part)
        given += part
    if change:
        sizes[0] = max(0, sizes[0] + change - given)
    return list(zip(ordered, sizes, strict=True))


def _proportion(found: ReplicaSet, deployment: Deployment, change: int, given: int) -> int:
    size = found.spec.replicas
    rest = change - given
    if deployment.spec.replicas == 0:
        part = -size
    else:
        noted = found.metadata.annotations.get(MAXIMUM, "")
        before = int(noted) if noted.isdigit() and int(noted) > 0 else max(deployment.status.replicas, 1)
        # Rounded to the nearest, halves up.
        part = (2 * size * maximum(deployment) + before) // (2 * before) - size
    return min(part, rest) if change > 0 else max(part, rest)
