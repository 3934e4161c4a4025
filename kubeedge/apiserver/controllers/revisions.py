"""Which ReplicaSet belongs to a Deployment's present template, and how its history is numbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kubeedge.apiserver.controllers.views import Deployment, LabelSelector, ReplicaSet
from kubeedge.kube.instants import unix_time

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"

# Annotations of a Deployment that describe itself and stay away from its ReplicaSets.
_OWN_ANNOTATIONS = {
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
}
MAX_HISTORY_LENGTH = 2_000

# What decimal digits become, so that a hash has no vowels and no look-alikes: names must not spell words.
_SAFE_DIGITS = str.maketrans("0123456789", "456789bcdf")
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193


def template_hash(template: Mapping[str, Any], collisions: int | None) -> str:
    """Return the hash of a pod template as it stands in names and labels.

    It need not be the one that another implementation computes: an existing ReplicaSet is recognised by its template,
    never by its hash.
    """
    text = orjson.dumps(_normal(template), option=orjson.OPT_SORT_KEYS)
    if collisions is not None:
        text += str(collisions).encode()
    value = _FNV_OFFSET
    for byte in text:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return str(value).translate(_SAFE_DIGITS)


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two templates mean the same; the hash label that a ReplicaSet's has is passed over."""
    return bool(_normal(one) == _normal(other))


def _normal(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return value without nulls, empty lists and the hash label, none of which means anything."""
    if isinstance(value, Mapping):
        kept = {key: _normal(inner, (*path, key)) for key, inner in value.items()}
        empty: tuple[Any, ...] = (None, []) if path != ("metadata",) else (None, [], {})
        return {
            key: inner
            for key, inner in kept.items()
            if inner not in empty and (path, key) != (("metadata", "labels"), HASH_LABEL)
        }
    if isinstance(value, list):
        return [_normal(inner, (*path, "")) for inner in value]
    return value


def by_age(sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Return sets, oldest first."""
    return sorted(sets, key=lambda found: (unix_time(found.metadata.creation_timestamp, 0.0), found.metadata.name))


def find_new(deployment: Deployment, sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """Return the oldest set with the present template; there may be several after a bug, never none by choice."""
    template = deployment.spec.template
    return next((found for found in by_age(sets) if same_template(found.spec.template, template)), None)


def revision(annotations: Mapping[str, str]) -> int:
    """Return the revision written in annotations, 0 for none."""
    text = annotations.get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(olds: Iterable[ReplicaSet]) -> int:
    """Return the revision of the newest set, one above those of all others."""
    return max((revision(old.metadata.annotations) for old in olds), default=0) + 1


def with_hash(template: Mapping[str, Any], hash_: str) -> dict[str, Any]:
    """Return template with the hash among its labels."""
    metadata = dict(template.get("metadata") or {})
    return {**template, "metadata": metadata | {"labels": {**(metadata.get("labels") or {}), HASH_LABEL: hash_}}}


def selector_with_hash(selector: LabelSelector, hash_: str) -> dict[str, Any]:
    """Return the selector of a ReplicaSet, as JSON."""
    result: dict[str, Any] = {"matchLabels": {**selector.match_labels, HASH_LABEL: hash_}}
    if selector.match_expressions:
        result["matchExpressions"] = [
            {"key": r.key, "operator": r.operator} | ({"values": r.values} if r.values else {})
            for r in selector.match_expressions
        ]
    return result


def annotations_for(deployment: Deployment, present: Mapping[str, str], number: int) -> dict[str, str]:
    """Return what must change in the annotations of the newest set: its Deployment's own and its revision.

    present are the annotations that it has. A set whose revision was lower, one that a rollback
    brought back, keeps the old number in its history.
    """
    wanted: dict[str, str] = {
        key: value for key, value in deployment.metadata.annotations.items() if key not in _OWN_ANNOTATIONS
    }
    old = revision(present)
    if old < number:
        wanted[REVISION] = str(number)
        if old:
            history = [*filter(None, present.get(HISTORY, "").split(",")), str(old)]
            while len(",".join(history)) > MAX_HISTORY_LENGTH:
                del history[0]
            wanted[HISTORY] = ",".join(history)
    return {key: value for key, value in wanted.items() if present.get(key) != value}


def sizes(desired: int, maximum: int) -> dict[str, str]:
    """Return the annotations from which a later scaling reads the proportions of a rollout."""
    return {DESIRED: str(desired), MAXIMUM: str(maximum)}


def obsolete(deployment: Deployment, olds: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Return the old sets that the history limit lets go, oldest revision first."""
    limit = deployment.spec.revision_history_limit
    if limit is None or limit == 2**31 - 1:
        return []
    living = sorted(
        (old for old in olds if not old.metadata.is_deleting), key=lambda old: revision(old.metadata.annotations)
    )
    return [
        old
        for old in living[: max(0, len(living) - limit)]
        if old.status.replicas == 0
        and old.spec.replicas == 0
        and old.metadata.generation <= old.status.observed_generation
    ]
