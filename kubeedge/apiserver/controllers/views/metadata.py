"""What every object has, and what many have: metadata, conditions, selectors."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import field


class View(msgspec.Struct, rename="camel", omit_defaults=True):
    """A part of an object; JSON names are those of the API, absent fields have their zero value."""


class OwnerReference(View):
    """Who owns an object; the one with controller also manages it."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(View):
    """ObjectMeta without managedFields."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    owner_references: list[OwnerReference] = field(default_factory=list)
    finalizers: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name

    @property
    def is_deleting(self) -> bool:
        """Whether a deletion has begun."""
        return self.deletion_timestamp is not None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class HasMetadata(Protocol):
    """Any view of a whole object."""

    metadata: Metadata


class Meta(View):
    """An object of which only the metadata matters."""

    metadata: Metadata = field(default_factory=Metadata)


class Condition(View):
    """A condition of any kind of object."""

    type: str
    status: str = ""
    observed_generation: int = 0
    last_probe_time: str | None = None
    last_heartbeat_time: str | None = None
    last_update_time: str | None = None
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


def condition(conditions: list[Condition], type_: str) -> Condition | None:
    """Return the condition of that type."""
    return next((found for found in conditions if found.type == type_), None)


class Requirement(View):
    """A requirement on labels (In, NotIn, Exists, DoesNotExist) or on a node (also Gt, Lt)."""

    key: str = ""
    operator: str = ""
    values: list[str] = field(default_factory=list)


class LabelSelector(View):
    """metav1.LabelSelector."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: list[Requirement] = field(default_factory=list)
