"""A request of a node and the exact forms of its answers (spec 03 §2.1)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import orjson

from kubeedge._speedups.objects import ScanError, identify
from kubeedge.kube.api import JSON, Answered, ApiError, ApiStatus, ApiUnavailableError, Kind, KubeApi
from kubeedge.kube.object import MalformedObjectError, Object, stamp
from kubeedge.message import OK, EnvelopeError, Message, content_bytes, content_object, response_to

MODULE = "edgecontroller"
GROUP = "resource"

# A node waits 60 s for an answer (spec 05 §2.5); what takes longer ends here, with an answer that it still hears.
REQUEST_TIMEOUT_S = 50.0

# These types are about the same object as the type on the right: a status patch must not overtake a deletion.
_SAME_OBJECT = {"podpatch": "pod", "podstatus": "pod", "nodepatch": "node", "nodestatus": "node"}

_status_decoder = msgspec.json.Decoder(ApiStatus)


class BadRequestError(Exception):
    """A request that cannot be made to the API as it is."""


class ForbiddenError(Exception):
    """A request about something that is not the sender's own."""


class Request:
    """An upstream message, its resource taken apart: node/<node>/<namespace>/<type>[/<name>].

    key is the same for all requests of a node about one object.
    """

    __slots__ = ("key", "message", "name", "namespace", "node", "type")

    def __init__(self, message: Message) -> None:
        """Take message apart. Raises BadRequestError when its resource has too few segments."""
        segments = message.resource.split("/")
        if len(segments) < 4 or segments[0] != "node" or not all(segments[1:4]):
            raise BadRequestError(f"resource {message.resource!r} has not the form node/<node>/<namespace>/<type>")
        self.message = message
        self.node = segments[1]
        self.namespace = "" if segments[2] == "null" else segments[2]
        self.type = segments[3]
        self.name = segments[4] if len(segments) > 4 else ""
        self.key = (self.namespace, _SAME_OBJECT.get(self.type, self.type), self.name)

    def require_own_name(self) -> None:
        """Raise ForbiddenError when the object is named after another node (spec 03 §2.12)."""
        if self.name != self.node:
            raise ForbiddenError(f"node {self.node!r} may not speak for {self.name!r}")

    def begin(
        self,
        api: KubeApi,
        method: Literal["GET", "PUT", "PATCH"],
        kind: Kind,
        body: bytes,
        answered: Answered,
        as_node: str,
        *,
        content_type: str = JSON,
        subresource: str = "",
    ) -> bool:
        """Begin a call about the object of the request, which ends in time for its answer. See KubeApi.begin()."""
        return api.begin(
            method,
            kind,
            self.namespace if kind.namespaced else "",
            self.name,
            body,
            answered,
            content_type=content_type,
            subresource=subresource,
            as_node=as_node,
            timeout_s=REQUEST_TIMEOUT_S,
        )

    def literal(self) -> Any:
        """Return the content as it stands; a string stays one, whatever it holds. Raises BadRequestError."""
        try:
            return orjson.loads(self.message.content)
        except orjson.JSONDecodeError as error:
            raise BadRequestError(f"content of {self.message.resource} is no JSON: {error}") from None

    def content(self) -> Any:
        """Return the content, or what the JSON in its string says (spec 01 §1.3). Raises BadRequestError."""
        try:
            return content_object(self.message)
        except EnvelopeError as error:
            raise BadRequestError(str(error)) from None

    def data(self) -> dict[str, Any]:
        """Return the content, which must be a JSON object or a string that holds one. Raises BadRequestError."""
        data = self.content()
        if not isinstance(data, dict):
            raise BadRequestError(f"content of {self.message.resource} is no JSON object")
        return data

    def text(self) -> bytes:
        """Return the content as JSON text, unread but known to be an object. Raises BadRequestError."""
        try:
            text = content_bytes(self.message)
        except EnvelopeError as error:
            raise BadRequestError(str(error)) from None
        if not text.lstrip().startswith(b"{"):
            raise BadRequestError(f"content of {self.message.resource} is no JSON object")
        return text

    def object(self, kind: Kind) -> Object:
        """Return the content as an object of kind, stamped with it. Raises BadRequestError."""
        try:
            return Object.parse(self.text(), kind)
        except MalformedObjectError as error:
            raise BadRequestError(f"content of {self.message.resource} is no {kind.kind}: {error}") from None

    def stamped(self, kind: Kind) -> bytes:
        """Return the content as JSON text of an object, stamped with kind; no more of it is read than that takes.

        Raises BadRequestError.
        """
        text = self.text()
        try:
            return text if identify(text).kind else stamp(text, kind)
        except ScanError as error:
            raise BadRequestError(f"content of {self.message.resource} is no {kind.kind}: {error}") from None

    # Answers. Each goes to the resource of the request, with the request as parent.

    def ok(self, *, type_: str = "", resource_version: str = "") -> Message:
        """OK: the request was done. type_ replaces the type in the resource: node status answers as `node`."""
        return self._answer(OK, resource_version, type_)

    def found(self, raw: bytes, resource_version: str = "") -> Message:
        """OBJ: the object asked for."""
        return self._answer(raw, resource_version)

    def written(self, raw: bytes, *, with_version: bool = True) -> Message:
        """RESP: what the API made of a write. Its resourceVersion stands in the header where with_version says so."""
        resource_version = identify(raw).resource_version if with_version else ""
        return self._answer(b'{"Object":%s,"Err":null}' % unstamped(raw), resource_version)

    def not_written(self, error: Exception, empty: bytes) -> Message:
        """RESP of a failure; empty is the object that a Go edge expects in its place."""
        return self._answer(b'{"Object":%s,"Err":%s}' % (empty, error_content(error)))

    def failed(self, error: Exception, *, spec: Any = None) -> Message:
        """ERR: the error alone, or with the spec that it was about."""
        content = error_content(error)
        if spec is not None:
            content = b'%s,"spec":%s}' % (content[:-1], orjson.dumps(spec))
        return self._answer(content)

    def _answer(self, content: bytes, resource_version: str = "", type_: str = "") -> Message:
        resource = None
        if type_:
            resource = f"node/{self.node}/{self.namespace or 'null'}/{type_}/{self.name}"
        return response_to(
            self.message,
            content,
            source=MODULE,
            group=GROUP,
            resource=resource,
            resource_version=resource_version,
        )


def unstamped(raw: bytes) -> bytes:
    """Cut `kind` and `apiVersion` off the front of an object: in RESP, Go's client has lost them (spec 03 §2.1).

    Where they do not stand in front, they stay; no edge minds.
    """
    end = 1
    for _ in range(2):
        for key in (b'"kind":"', b'"apiVersion":"'):
            if raw.startswith(key, end):
                comma = raw.find(b'",', end + len(key))
                if comma < 0:
                    return raw
                end = comma + 2
                break
    return raw if end == 1 else b"{" + raw[end:]


def error_content(error: Exception) -> bytes:
    """Return `{"ErrStatus": <Status>}`: a Go edge takes anything else for success (spec 01 §7)."""
    if isinstance(error, ApiError):
        try:
            status = _status_decoder.decode(error.status)
        except msgspec.DecodeError:
            status = ApiStatus("Failure", error.message, error.reason, error.code)
    elif isinstance(error, ForbiddenError):
        status = ApiStatus("Failure", str(error), "Forbidden", 403)
    elif isinstance(error, BadRequestError):
        status = ApiStatus("Failure", str(error), "BadRequest", 400)
    elif isinstance(error, ApiUnavailableError):
        status = ApiStatus("Failure", str(error), "ServiceUnavailable", 503)
    else:
        status = ApiStatus("Failure", f"{type(error).__name__}: {error}", "InternalError", 500)
    fields: dict[str, Any] = {
        "metadata": {},
        "status": "Failure",
        "message": status.message,
        "reason": status.reason,
        "details": status.details,
        "code": status.code or 500,
    }
    return orjson.dumps({"ErrStatus": {key: value for key, value in fields.items() if value is not None}})


def not_found(kind: Kind, name: str) -> ApiError:
    """Return the NotFound of a Go cache, which names the kind in the singular: `lease.coordination.k8s.io "e1" …`.

    Answers of queries have it, answers of writes have the API's own plural (recorded: link-websocket.jsonl, t = 0.2).
    """
    singular = kind.kind.lower()
    qualified = f"{singular}.{kind.group}" if kind.group else singular
    message = f'{qualified} "{name}" not found'
    details = {"name": name, **({"group": kind.group} if kind.group else {}), "kind": singular}
    status = {"status": "Failure", "message": message, "reason": "NotFound", "details": details, "code": 404}
    return ApiError(404, "NotFound", message, orjson.dumps(status))
