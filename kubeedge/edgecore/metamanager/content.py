"""What MetaManager looks at in the content of messages: an object's identity, the shape of an answer (spec 05 §2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from kubeedge.edgecore.metamanager.keys import V2Key, v2_key
from kubeedge.message import Message, content_bytes

# SQLite's integers end here; upstream's column is unsigned, real clusters stay far below.
_MAX_INTEGER = 2**63 - 1


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """The names of an object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Identity(msgspec.Struct, rename="camel", gc=False):
    """What tells one object from another."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)

    @property
    def v2(self) -> V2Key | None:
        """Its place in `meta_v2`; None for what names no object of the API."""
        if not (self.api_version and self.kind and self.metadata.name):
            return None
        return v2_key(self.api_version, self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def version(self) -> int:
        """Its resource version as a number, 0 when it has none."""
        text = self.metadata.resource_version
        return min(int(text), _MAX_INTEGER) if text.isascii() and text.isdigit() else 0


_identity = msgspec.json.Decoder(Identity)


def identify(data: bytes | str) -> Identity:
    """Return the identity of an object in JSON; an empty one for anything else (a number, a patch without names).

    Raises msgspec.DecodeError when data is no JSON at all.
    """
    try:
        return _identity.decode(data)
    except msgspec.ValidationError:
        return Identity()


def identify_content(message: Message) -> Identity:
    """Return the identity of the object in a message; text that is no JSON is allowed where the content is a string.

    Raises msgspec.DecodeError.
    """
    try:
        return identify(content_bytes(message))
    except msgspec.DecodeError:
        if message.content[:1] == b'"':
            return Identity()
        raise


class _Answer(msgspec.Struct, rename={"object": "Object", "error": "Err", "status": "ErrStatus"}):
    object: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    status: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_answer = msgspec.json.Decoder(_Answer)


def object_in(answer: bytes) -> bytes | None:
    """Return the object that an answer of the cloud brings, as JSON; None when it brings none.

    An answer is the object itself, `{"Object": …, "Err": …}`, `{"ErrStatus": …}` for a failure, or `"OK"`.
    Raises msgspec.DecodeError when it is no JSON.
    """
    if answer[:1] != b"{":
        return None
    parsed = _answer.decode(answer)
    if parsed.object is not msgspec.UNSET and parsed.error is not msgspec.UNSET:
        found = bytes(parsed.object)
        return found if bytes(parsed.error) == b"null" and found != b"null" else None
    return None if parsed.status is not msgspec.UNSET else answer


def is_failure(value: str) -> bool:
    """Tell whether a stored value is an error that a Go edgecore has taken for an object (spec 05 Q1)."""
    return value.startswith('{"ErrStatus"')


def with_kind(data: bytes, api_version: str, kind: str) -> bytes:
    """Return an object with kind and apiVersion, which answers to writes lack (spec 01 §7 ObjectResp)."""
    if identify(data).kind:
        return data
    head = b'{"kind":%s,"apiVersion":%s' % (orjson.dumps(kind), orjson.dumps(api_version))
    body = data.lstrip()[1:]
    return head + (b"" if body.lstrip()[:1] == b"}" else b",") + body


def failure(code: int, reason: str, message: str, kind: str, name: str) -> bytes:
    """Return a failure in the shape in which the cloud answers them: a Status under `ErrStatus`."""
    status = {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {"name": name, "kind": kind},
        "code": code,
    }
    return orjson.dumps({"ErrStatus": status})


def rows_content(values: Sequence[str]) -> bytes:
    """Return stored values as a local answer: a JSON array of strings, `null` when there is none."""
    return orjson.dumps(values or None)
