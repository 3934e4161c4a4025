"""What there is to know about a kind of object: names, subresources, and the pure functions of its life."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kubeedge.apiserver.status import Cause
from kubeedge.kube.api import Kind

Object = dict[str, Any]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Subresource(NamedTuple):
    """A subresource such as `status` or `scale`.

    group and version are those of its body when that is another kind than the object itself.
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Column(NamedTuple):
    """A column of the Table form; priority above 0 shows only in wide output."""

    name: str
    type: str
    description: str
    format: str = ""
    priority: int = 0


class Decoder(Protocol):
    """Checks an object against its type."""

    def __call__(self, obj: Object) -> tuple[Object, list[str]]:
        """Return obj in normal form (unknown fields out, zero values as the server writes them) and the unknown paths.

        Raises schema.reader.TypeMismatchError with the server's words for a wrong type.
        """
        ...


def _nothing(obj: Object) -> None:
    del obj


def _nothing_changes(new: Object, old: Object) -> None:
    del new, old


def _no_causes(new: Object, old: Object | None) -> list[Cause]:
    del new, old
    return []


@dataclass(frozen=True, slots=True)
class KindSpec:
    """A kind. Its functions change the object that they are given in place; none does I/O.

    The order of a write, as in a real server: `decode`, `default`, admission, then `prepare_create`, `prepare_update`
    or `prepare_status`, then `validate` or `validate_status`; causes make a `status.invalid(spec.kind, name, causes)`.
    """

    kind: Kind
    singular: str
    schema: str
    """Name of its type in schema/types.json, such as `core.v1.Pod`; for a custom kind empty."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    storage: Kind | None = None
    """The kind under which objects are stored when it isn't this one: events.k8s.io shares the core events."""
    to_storage: Callable[[Object], Object] | None = None
    from_storage: Callable[[Object], Object] | None = None
    unconditional_update: bool = True
    """An update without resourceVersion is allowed."""
    create_on_update: bool = False
    """A PUT of an absent object creates it."""
    strategic_patch: bool = True
    deprecated: str = ""
    """The warning that every answer about this kind carries."""
    decode: Decoder = lambda obj: (obj, [])
    default: Callable[[Object], None] = _nothing
    prepare_create: Callable[[Object], None] = _nothing
    """Drops what clients cannot set (status, deletion marks), sets generation and what only creation sets."""
    prepare_update: Callable[[Object, Object], None] = _nothing_changes
    """(new, old): keeps status and server-owned metadata of old, counts generation up when the spec changed."""
    prepare_status: Callable[[Object, Object], None] = _nothing_changes
    """(new, old): keeps everything but status (and what a status update may touch) of old."""
    validate: Callable[[Object, Object | None], list[Cause]] = _no_causes
    """(new, old or None for a creation): what is wrong with the object or with the change."""
    validate_status: Callable[[Object, Object | None], list[Cause]] = _no_causes
    selectable_fields: Callable[[Object], dict[str, str]] = lambda obj: {}
    """Field selector labels of an object and their values."""
    selectable: frozenset[str] = frozenset({"metadata.name", "metadata.namespace"})
    scale_paths: tuple[str, str, str] = (".spec.replicas", ".status.replicas", ".spec.selector")
    """Where the scale subresource finds replicas wanted, replicas there and the selector ("" for none)."""
    open_api: Mapping[str, Any] | None = None
    """The OpenAPI schema of a custom kind."""
    columns: Sequence[Column] = ()
    row: Callable[[Object, float], list[Any]] = lambda obj, now_s: []
    """(object, Unix time in seconds): the cells of its Table row, as many as columns."""

    @property
    def list_kind(self) -> str:
        """`PodList`."""
        return f"{self.kind.kind}List"

    @property
    def is_virtual(self) -> bool:
        """Only posted to, never stored: reviews and bindings."""
        return self.verbs == ("create",)
