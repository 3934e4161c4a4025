"""What a request asks for: the place its path names, the verb, and the options of its query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kubeedge.apiserver import status
from kubeedge.apiserver.status import Cause

# Names that follow a namespace's own name in a path and aren't resources inside it.
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


class Place(NamedTuple):
    """What a path below /api or /apis names; name and subresource are empty for a collection."""

    group: str
    version: str
    namespace: str
    resource: str
    name: str
    subresource: str
    is_watch: bool = False
    """The path begins with the old `/watch/` prefix."""


def place(path: str) -> Place | None:
    """Take the (decoded) path of a resource apart; None when it is no such path."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    is_watch = rest[0] == "watch"
    if is_watch:
        rest = rest[1:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    elif rest and rest[0] == "namespaces" and len(rest) > 1 and not group:
        # A Namespace itself is in its own namespace, as authorization sees it.
        namespace = rest[1]
    if not rest or len(rest) > 3:
        return None
    resource, name, subresource = (*rest, "", "")[:3]
    return Place(group, version, namespace, resource, name, subresource, is_watch)


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def verb(method: str, at: Place, query: Query) -> str:
    """Return the API's verb for an HTTP method: get, list, watch, create, update, patch, delete or deletecollection."""
    if method in ("GET", "HEAD"):
        if at.is_watch or (not at.name and query.flag("watch")):
            return "watch"
        return "get" if at.name else "list"
    if method == "DELETE":
        return "delete" if at.name else "deletecollection"
    return _VERBS.get(method, method.lower())


class Query:
    """The query of a request; values come as a real server reads them."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return the first value, or nothing."""
        values = self._values.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Return every value."""
        return list(self._values.get(name, ()))

    def has(self, name: str) -> bool:
        """Tell whether the name is there at all."""
        return name in self._values

    def flag(self, name: str) -> bool:
        """Read a boolean: everything but `0` and `false` is true."""
        return name in self._values and self.text(name).lower() not in ("0", "false")

    def number(self, name: str) -> int | None:
        """Read a whole number. Raises ApiError 400."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


NO_QUERY = Query({})


class WriteOptions(NamedTuple):
    """How an object is to be written."""

    dry_run: bool = False
    field_validation: str = "Warn"
    """Ignore, Warn or Strict: what happens to fields that the kind does not have."""


_FIELD_VALIDATIONS = ("", "Ignore", "Strict", "Warn")


def write_options(query: Query, options: str) -> WriteOptions:
    """Read the options of a create, update or patch; options is their kind. Raises ApiError 422."""
    if query is NO_QUERY:
        return WriteOptions()
    causes: list[Cause] = []
    dry_run = dry_run_asked(query.all("dryRun"), causes)
    validation = query.text("fieldValidation")
    if validation not in _FIELD_VALIDATIONS:
        supported = ", ".join(f'"{value}"' for value in _FIELD_VALIDATIONS)
        message = f'Unsupported value: "{validation}": supported values: {supported}'
        causes.append(Cause("FieldValueNotSupported", message, "fieldValidation"))
    if causes:
        raise status.invalid_options(options, causes)
    return WriteOptions(dry_run, validation or "Warn")


def dry_run_asked(values: Sequence[str], causes: list[Cause]) -> bool:
    """Read dryRun, which knows the value All only; adds to causes what is wrong."""
    if not values:
        return False
    if list(values) != ["All"]:
        shown = " ".join(f'"{value}"' for value in values)
        causes.append(
            Cause("FieldValueNotSupported", f'Unsupported value: [{shown}]: supported values: "All"', "dryRun")
        )
    return True


class ListOptions(NamedTuple):
    """What a list or watch asks for; resource_version is empty where none was given."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    timeout_s: int | None = None
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None


def list_options(query: Query) -> ListOptions:
    """Read the options of a list, watch or deletecollection. Raises ApiError 400."""
    if query is NO_QUERY:
        return ListOptions()
    return ListOptions(
        label_selector=query.text("labelSelector"),
        field_selector=query.text("fieldSelector"),
        limit=query.number("limit") or 0,
        continue_token=query.text("continue"),
        resource_version=query.text("resourceVersion"),
        resource_version_match=query.text("resourceVersionMatch"),
        timeout_s=query.number("timeoutSeconds"),
        allow_bookmarks=query.flag("allowWatchBookmarks"),
        send_initial_events=query.flag("sendInitialEvents") if query.has("sendInitialEvents") else None,
    )


def check_list_options(options: ListOptions, *, watch: bool) -> None:
    """Refuse combinations that make no sense, in a real server's words. Raises ApiError 422."""
    match, version = options.resource_version_match, options.resource_version
    causes: list[Cause] = []

    def forbid(field: str, why: str) -> None:
        causes.append(Cause("FieldValueForbidden", f"Forbidden: {why}", field))

    if watch:
        if options.send_initial_events is not None and match != "NotOlderThan":
            forbid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        elif options.send_initial_events is None and match:
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
    else:
        if options.send_initial_events is not None:
            forbid("sendInitialEvents", "sendInitialEvents is forbidden for list")
        if match:
            if not version:
                forbid("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
            if options.continue_token:
                forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            if match not in ("Exact", "NotOlderThan"):
                message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
                causes.append(Cause("FieldValueNotSupported", message, "resourceVersionMatch"))
            if match == "Exact" and version == "0":
                forbid("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if causes:
        raise status.invalid_options("ListOptions", causes)
