"""What every Kubernetes API of this project can do, whether reached over HTTPS or inside the process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Kind(NamedTuple):
    """A kind of object as the API's paths name it. group is empty for core."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`, …"""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection, of an object or of its subresource; an empty namespace means all."""
        path = f"/apis/{self.group}/{self.version}/" if self.group else f"/api/{self.version}/"
        path += f"namespaces/{namespace}/{self.plural}" if self.namespaced and namespace else self.plural
        if name:
            path += f"/{name}"
        return f"{path}/{subresource}" if subresource else path


class ApiStatus(msgspec.Struct, omit_defaults=True):
    """A Status of the API, as it stands in an answer."""

    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: dict[str, object] | None = None


class ApiError(Exception):
    """The API refused a call. status is the whole Status object as JSON; reason is `NotFound`, `Conflict`, …"""

    def __init__(self, code: int, reason: str, message: str, status: bytes) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.status = status


class ApiUnavailableError(Exception):
    """The API could not be reached, or its answer was no answer of a Kubernetes API."""


class BusyError(Exception):
    """The API did nothing of a call that was begun: make it again with the method that waits."""


# Takes what the API answered to a call that was begun: an object as JSON, or ApiError, ApiUnavailableError, BusyError.
Answered = Callable[[bytes | Exception], None]


def is_passing(error: Exception) -> bool:
    """Tell whether a call that failed with error may succeed later, just as it is."""
    return not isinstance(error, ApiError) or error.code >= 500 or error.code in (409, 429)


class Items(NamedTuple):
    """One page of a list."""

    items: list[bytes]
    resource_version: str
    continue_token: str


@dataclass(slots=True)
class WatchEvent:
    """One event of a watch: type is ADDED, MODIFIED, DELETED or BOOKMARK. An ERROR is raised as ApiError instead."""

    type: str
    object: bytes


class KubeApi(Protocol):
    """Calls on objects as JSON bytes. Every call raises ApiError or ApiUnavailableError.

    as_node makes the call in the name of that node, so that the API checks what the node may do (spec 03 §2.2).
    """

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "", as_node: str = "") -> bytes:
        """Read one object."""
        ...

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Items:
        """Read one page of a collection; all of it when limit is 0."""
        ...

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Follow a collection from resource_version on, bookmarks included; ends when the server ends it.

        Whoever leaves the loop early closes the generator (`contextlib.aclosing`), which ends the request.
        """
        ...

    async def create(
        self, kind: Kind, namespace: str, body: bytes, *, name: str = "", subresource: str = "", as_node: str = ""
    ) -> bytes:
        """Create an object, or post to the subresource of name (`token`, `binding`, `eviction`)."""
        ...

    async def update(
        self, kind: Kind, namespace: str, name: str, body: bytes, *, subresource: str = "", as_node: str = ""
    ) -> bytes:
        """Replace an object."""
        ...

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: bytes,
        patch_type: str,
        *,
        subresource: str = "",
        as_node: str = "",
    ) -> bytes:
        """Patch an object; patch_type is one of the media types of this module."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, *, body: bytes = b"", as_node: str = "") -> bytes:
        """Delete an object; body is a DeleteOptions or empty. Returns the object or Status answered."""
        ...

    def begin(
        self,
        method: Literal["GET", "PUT", "PATCH"],
        kind: Kind,
        namespace: str,
        name: str,
        body: bytes,
        answered: Answered,
        *,
        content_type: str = JSON,
        subresource: str = "",
        as_node: str = "",
        timeout_s: float = 0,
    ) -> bool:
        """Make a get, update or patch at once where nothing has to be waited for, without a task; False otherwise.

        answered is called from the loop, once, and must not raise; without a timeout_s, the usual one holds. When the
        answer is False nothing was done and nothing will be. Raises ApiError for what cannot be asked at all.
        """
        ...
