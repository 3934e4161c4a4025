"""Get, list and watch: what a resource version in a request means, pages of a list, the start of a watch."""

from __future__ import annotations

import asyncio
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson

from kubeedge.apiserver import gojson, selectors, status
from kubeedge.apiserver.collection import CompactedError, Snapshot
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.representation import Answer, Page
from kubeedge.apiserver.request import ListOptions, check_list_options
from kubeedge.apiserver.revision import Stored
from kubeedge.apiserver.storage import Storage
from kubeedge.apiserver.watch import Selection, Watch
from kubeedge.kube.api import ApiError

# How long a read waits for a resource version that is not there yet.
FRESH_TIMEOUT_S = 3.0
# Without a wish of the client a watch ends after this time, up to the double, as a real server does it.
MIN_WATCH_S = 1800.0

_NAME_FIELDS = ("metadata.name", "metadata.namespace")
_CONTINUE_VERSION = "meta.k8s.io/v1"
_TOO_OLD_LIST = "The resourceVersion for the provided list is too old."
_TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def resource_of(spec: KindSpec) -> str:
    """Return the name under which objects of a kind are stored."""
    return status.resource_name(spec.storage or spec.kind)


class Reader:
    """Answers reads from the state and history in memory."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def selection(self, spec: KindSpec, namespace: str, options: ListOptions, name: str = "") -> Selection:
        """Parse the selectors of a list or watch. Raises ApiError 400."""
        labels = fields = None
        try:
            if options.label_selector:
                labels = selectors.parse_labels(options.label_selector)
            if options.field_selector:
                fields = selectors.parse_fields(options.field_selector)
        except selectors.SelectorError as error:
            raise status.bad_request(str(error)) from None
        if fields is not None:
            for field in sorted(fields.fields - spec.selectable):
                raise status.bad_request(_unknown_field(spec, field))
            name = name or fields.exact("metadata.name") or ""
            namespace = namespace or fields.exact("metadata.namespace") or ""
            names_only = all(equal and field in _NAME_FIELDS for field, equal, _ in fields.terms)
            if names_only and fields.exact("metadata.namespace") in (None, namespace):
                fields = None
        return Selection(namespace, name, labels, fields, spec.selectable_fields)

    async def get(self, spec: KindSpec, namespace: str, name: str, resource_version: str = "") -> Answer:
        """Read one object. Raises ApiError 404, or 504 for a resource version that doesn't come."""
        if resource_version and resource_version != "0":
            await self._fresh(_list_version(resource_version))
        return Answer(200, spec, self.stored(spec, namespace, name))

    def stored(self, spec: KindSpec, namespace: str, name: str) -> Stored:
        """Return the state of an object. Raises ApiError 404."""
        stored = self._storage.get(resource_of(spec), namespace, name)
        if stored is None:
            raise status.not_found(spec.kind, name)
        return stored

    async def _fresh(self, rv: int, timeout_s: float = FRESH_TIMEOUT_S) -> None:
        if self._storage.revision >= rv:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._storage.reached(rv)
        except TimeoutError:
            raise _too_large(rv, self._storage.revision) from None

    async def list(self, spec: KindSpec, namespace: str, options: ListOptions) -> Page:
        """Read a page of a collection. Raises ApiError 400, 410, 422 or 504."""
        check_list_options(options, watch=False)
        selection = self.selection(spec, namespace, options)
        after, rv = "", 0
        if options.continue_token:
            rv, after = _read_continue(options.continue_token)
        elif options.resource_version:
            asked = _list_version(options.resource_version)
            await self._fresh(asked, min(options.timeout_s or FRESH_TIMEOUT_S, FRESH_TIMEOUT_S))
            # Only an exact version may show the past; a page of a version is meant exactly, too.
            match = options.resource_version_match
            if match == "Exact" or (options.limit and not match):
                rv = asked
        snapshot = self._snapshot(resource_of(spec), rv, after)
        return self._page(spec, snapshot, selection, options.limit, after)

    def _snapshot(self, resource: str, rv: int, after: str) -> Snapshot:
        if rv < 0:
            return self._storage.snapshot(resource)
        try:
            return self._storage.snapshot(resource, rv)
        except CompactedError:
            if not after:
                raise status.expired(_TOO_OLD_LIST) from None
            raise _expired_continue(after) from None

    @staticmethod
    def _page(spec: KindSpec, snapshot: Snapshot, selection: Selection, limit: int, after: str) -> Page:
        namespace, name = selection.namespace, selection.name
        if selection.takes_all and not name and not limit:
            return Page(spec, list(snapshot.range(namespace, after)), snapshot.rv)
        items: list[Stored] = []
        more = False
        for stored in snapshot.range(namespace, after):
            if name and stored.name != name:
                continue
            if not selection.matches(stored):
                continue
            if limit and len(items) == limit:
                more = True
                break
            items.append(stored)
        if not more:
            return Page(spec, items, snapshot.rv)
        last = items[-1].key
        # How many follow is only known without selectors.
        remaining = snapshot.count(namespace, last) if selection.takes_all and not name else None
        return Page(spec, items, snapshot.rv, _write_continue(snapshot.rv, last), remaining)

    def watch(self, spec: KindSpec, namespace: str, options: ListOptions, name: str = "") -> Watch:
        """Start a watch; its first batch holds what it has to catch up. Raises ApiError 400, 410, 422 or 500."""
        check_list_options(options, watch=True)
        timeout_s = float(options.timeout_s) if options.timeout_s else MIN_WATCH_S * (1 + random.random())
        watch = Watch(
            self._storage,
            resource_of(spec),
            self.selection(spec, namespace, options, name),
            timeout_s=timeout_s,
            bookmarks=options.allow_bookmarks,
        )
        rv = _watch_version(options.resource_version)
        if options.send_initial_events or (rv == 0 and options.send_initial_events is None):
            watch.start_with_objects(end_bookmark=bool(options.send_initial_events) and options.allow_bookmarks)
        else:
            try:
                watch.start_from(rv or self._storage.revision)
            except CompactedError as error:
                raise status.expired(f"too old resource version: {rv} ({error.oldest})") from None
        return watch


def _unknown_field(spec: KindSpec, field: str) -> str:
    if spec.schema and spec.selectable == set(_NAME_FIELDS):
        return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    return f"field label not supported: {field}"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _list_version(text: str) -> int:
    rv = _number(text)
    if rv is None:
        raise status.bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            "invalid syntax"
        )
    return rv


def _watch_version(text: str) -> int:
    if not text:
        return 0
    rv = _number(text)
    if rv is None:
        raise status.plain_error(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return rv


def _too_large(rv: int, current: int) -> ApiError:
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return status.status(504, "Timeout", f"Timeout: Too large resource version: {rv}, current: {current}", details)


def _write_continue(rv: int, last: str) -> str:
    token = orjson.dumps({"v": _CONTINUE_VERSION, "rv": rv, "start": f"{last}\0"})
    return urlsafe_b64encode(token).rstrip(b"=").decode()


def _read_continue(text: str) -> tuple[int, str]:
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise status.bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        token: Any = orjson.loads(raw)
        if token["v"] != _CONTINUE_VERSION:
            raise ValueError
        return int(token["rv"]), str(token["start"]).removesuffix("\0").removeprefix("/")
    except (ValueError, KeyError, TypeError):
        why = gojson.syntax_error(raw) or "unrecognized token"
        raise status.bad_request(f"invalid continue token: continue key is not valid: {why}") from None


def _expired_continue(after: str) -> ApiError:
    body = orjson.loads(status.expired(_TOO_OLD_CONTINUE).status)
    body["metadata"]["continue"] = _write_continue(-1, after)
    return ApiError(410, "Expired", _TOO_OLD_CONTINUE, orjson.dumps(body))
