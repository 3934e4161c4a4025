"""The forms in which objects leave the API: JSON, YAML, Table, metadata; single, listed, as events of a watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from kubeedge.apiserver import status
from kubeedge.apiserver.body import JSON, MEDIA_TYPES, YAML
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.revision import Stored
from kubeedge.apiserver.watch import Notice

_META = "meta.k8s.io/v1"
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


class Form(Enum):
    """How an object is written down."""

    JSON = "json"
    YAML = "yaml"
    TABLE = "table"
    METADATA = "metadata"
    DISCOVERY = "discovery"
    """Aggregated discovery; only /api and /apis know it."""


_AS = {
    ("Table", "v1", "meta.k8s.io"): Form.TABLE,
    ("PartialObjectMetadata", "v1", "meta.k8s.io"): Form.METADATA,
    ("PartialObjectMetadataList", "v1", "meta.k8s.io"): Form.METADATA,
    ("APIGroupDiscoveryList", "v2", "apidiscovery.k8s.io"): Form.DISCOVERY,
}


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Form | None:
    """Return the first form of an Accept header that we write, None when there is none."""
    if not accept:
        return Form.JSON
    for entry in accept.split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media in (JSON, "*/*", "application/*"):
            if "as" not in values:
                return Form.JSON
            form = _AS.get((values["as"], values.get("v", ""), values.get("g", "")))
            if form is not None:
                return form
        elif media in (YAML, "application/x-yaml") and "as" not in values:
            return Form.YAML
    return None


def negotiated(accept: str) -> Form:
    """Like negotiate, with the refusal of a real server. Raises ApiError 406."""
    form = negotiate(accept)
    if form is None:
        raise status.not_acceptable(MEDIA_TYPES)
    return form


class Answer(NamedTuple):
    """What a call on one object came to: an object of spec, or another document (a Status, a Scale, a review)."""

    code: int
    spec: KindSpec | None
    object: Stored | None
    document: dict[str, Any] | None = None
    warnings: Sequence[str] = ()

    def data(self) -> bytes:
        """Return it as JSON."""
        if self.object is not None and self.spec is not None:
            return served(self.spec, self.object)
        return orjson.dumps(self.document)


class Page(NamedTuple):
    """A list, or a part of one."""

    spec: KindSpec
    items: Sequence[Stored]
    rv: int
    continue_token: str = ""
    remaining: int | None = None


def served(spec: KindSpec, stored: Stored) -> bytes:
    """Return the JSON text of an object in the version of spec, which may not be the stored one."""
    if spec.from_storage is None:
        return stored.data
    return orjson.dumps(spec.from_storage(stored.document()))


def document_of(spec: KindSpec, stored: Stored) -> dict[str, Any]:
    """Return an object in the version of spec, as a dict that the caller may change."""
    document = stored.document()
    return document if spec.from_storage is None else spec.from_storage(document)


def content_type(form: Form) -> str:
    """Return the Content-Type that goes with a form."""
    return YAML if form is Form.YAML else JSON


def write_answer(answer: Answer, form: Form, now_s: float, include_object: str = "") -> bytes:
    """Write one object down. now_s is the Unix time that ages in a Table are counted to."""
    if answer.object is None or answer.spec is None or form is Form.JSON or form is Form.DISCOVERY:
        data = answer.data()
        return to_yaml(orjson.loads(data)) if form is Form.YAML else data
    spec, stored = answer.spec, answer.object
    document = document_of(spec, stored)
    if form is Form.YAML:
        return to_yaml(document)
    if form is Form.METADATA:
        return orjson.dumps(_partial(document))
    metadata = {"resourceVersion": str(stored.rv)}
    return orjson.dumps(_table(spec, metadata, [document], now_s, include_object, with_columns=True))


def write_page(page: Page, form: Form, now_s: float, include_object: str = "") -> bytes:
    """Write a list down."""
    spec = page.spec
    metadata: dict[str, Any] = {"resourceVersion": str(page.rv)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    if form is Form.TABLE:
        documents = [document_of(spec, stored) for stored in page.items]
        return orjson.dumps(_table(spec, metadata, documents, now_s, include_object, with_columns=True))
    if form is Form.METADATA:
        items = [_partial(document_of(spec, stored)) for stored in page.items]
        return orjson.dumps(
            {"kind": "PartialObjectMetadataList", "apiVersion": _META, "metadata": metadata, "items": items or None}
        )
    if not spec.schema:
        # Lists of custom kinds always have it, unlike those of built-in ones.
        metadata.setdefault("continue", "")
    data = b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[%s]}' % (
        spec.list_kind.encode(),
        spec.kind.api_version.encode(),
        orjson.dumps(metadata),
        b",".join(map(_item_writer(spec), page.items)),
    )
    return to_yaml(orjson.loads(data)) if form is Form.YAML else data


def _item_writer(spec: KindSpec) -> Callable[[Stored], bytes]:
    """Items of built-in kinds stand in a list without kind and apiVersion, custom ones with."""
    if not spec.schema:
        return lambda stored: served(spec, stored)
    head = b'{"kind":"%s","apiVersion":"%s",' % (spec.kind.kind.encode(), spec.kind.api_version.encode())
    length = len(head)

    def write(stored: Stored) -> bytes:
        data = served(spec, stored)
        return b"{" + data[length:] if data.startswith(head) else data

    return write


def _partial(document: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": document["metadata"]}


def _table(
    spec: KindSpec,
    metadata: dict[str, Any],
    documents: Sequence[dict[str, Any]],
    now_s: float,
    include_object: str,
    *,
    with_columns: bool,
) -> dict[str, Any]:
    rows = []
    for document in documents:
        cells = spec.row(document, now_s)
        if include_object == "None":
            shown = None
        elif include_object == "Object":
            shown = document
        else:
            shown = _partial(document)
        rows.append({"cells": cells, "object": shown})
    columns = [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in spec.columns
    ]
    return {
        "kind": "Table",
        "apiVersion": _META,
        "metadata": metadata,
        "columnDefinitions": columns if with_columns else None,
        "rows": rows,
    }


def to_yaml(value: Any) -> bytes:
    """Write a value as YAML with sorted keys, as a real server does."""
    import yaml

    text: str = yaml.dump(value, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), default_flow_style=False)
    return text.encode()


class EventWriter:
    """Writes the events of one watch, one JSON text a line."""

    def __init__(self, spec: KindSpec, form: Form, now_s: Callable[[], float], include_object: str = "") -> None:
        self._spec = spec
        self._form = form
        self._now_s = now_s
        self._include_object = include_object
        self._columns_told = False
        # Watches that write alike share what they wrote by this key.
        self._share = (spec.kind.group, spec.kind.version, form)

    def write(self, notices: Sequence[Notice]) -> bytes:
        """Return the lines of some events."""
        return b"".join(map(self._line, notices))

    def _line(self, notice: Notice) -> bytes:
        change, stored = notice.change, notice.object
        if change is None or self._form is Form.TABLE:
            return self._encode(notice)
        key = (self._share, notice.type, stored is change.object)
        line = change.frames.get(key)
        if line is None:
            line = change.frames[key] = self._encode(notice)
        return line

    def _encode(self, notice: Notice) -> bytes:
        return b'{"type":"%s","object":%s}\n' % (notice.type.encode(), self._object(notice))

    def _object(self, notice: Notice) -> bytes:
        stored = notice.object
        if stored is None:
            return self._bookmark(notice)
        if self._form is Form.METADATA:
            return orjson.dumps(_partial(document_of(self._spec, stored)))
        if self._form is Form.TABLE:
            return self._table(str(stored.rv), [document_of(self._spec, stored)])
        return served(self._spec, stored)

    def _bookmark(self, notice: Notice) -> bytes:
        if self._form is Form.TABLE:
            return self._table(str(notice.rv), [])
        return bookmark(self._spec, notice, partial=self._form is Form.METADATA)

    def _table(self, rv: str, documents: Sequence[dict[str, Any]]) -> bytes:
        with_columns, self._columns_told = not self._columns_told, True
        metadata = {"resourceVersion": rv}
        return orjson.dumps(
            _table(self._spec, metadata, documents, self._now_s(), self._include_object, with_columns=with_columns)
        )


def bookmark(spec: KindSpec, notice: Notice, *, partial: bool = False) -> bytes:
    """Return the object of a bookmark: nothing but kind and resource version."""
    metadata: dict[str, Any] = {"resourceVersion": str(notice.rv)}
    if notice.ends_initial:
        metadata["annotations"] = _INITIAL_EVENTS_END
    kind, api_version = ("PartialObjectMetadata", _META) if partial else (spec.kind.kind, spec.kind.api_version)
    return orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})
