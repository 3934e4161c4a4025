"""Constructors and content rules of the beehive message (spec 01 §1)."""

from __future__ import annotations

import os
import time
from typing import Any

import orjson

from kubeedge._speedups.envelope import EnvelopeError, Message, decode, encode, message_ids

__all__ = [
    "NULL",
    "OK",
    "EnvelopeError",
    "Message",
    "content_bytes",
    "content_object",
    "decode",
    "encode",
    "error_to",
    "new_id",
    "new_message",
    "response_to",
]

OK = b'"OK"'
NULL = b"null"


# Ids are made in blocks: one call of the system's random source for each would cost more than the envelope around it.
_IDS_IN_BLOCK = 128
_ids: list[str] = []
os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> str:
    """Return a random UUID of version 4 as text (spec 01 §1.1)."""
    if not _ids:
        _ids.extend(message_ids(os.urandom(16 * _IDS_IN_BLOCK)))
    return _ids.pop()


def new_message(
    source: str,
    group: str,
    operation: str,
    resource: str,
    content: bytes = NULL,
    *,
    parent_id: str = "",
    resource_version: str = "",
) -> Message:
    """Make a message with a fresh id and the time of now.

    content is the JSON text of the payload, exactly as it shall stand in the envelope (spec 01 §1.2).
    """
    return Message(
        new_id(),
        parent_id,
        time.time_ns() // 1_000_000,
        resource_version,
        source,
        group,
        operation,
        resource,
        content,
    )


def response_to(
    request: Message,
    content: bytes = OK,
    *,
    source: str | None = None,
    group: str | None = None,
    resource: str | None = None,
    operation: str = "response",
    resource_version: str = "",
) -> Message:
    """Answer request: its id becomes the parent, its route is copied where nothing else is given (spec 01 §1.2)."""
    return Message(
        new_id(),
        request.id,
        time.time_ns() // 1_000_000,
        resource_version,
        request.source if source is None else source,
        request.group if group is None else group,
        operation,
        request.resource if resource is None else resource,
        content,
    )


def error_to(request: Message, text: str, *, source: str = "", group: str = "") -> Message:
    """Tell the sender of request that it failed: operation `error`, content the text (spec 01 §1.2)."""
    return new_message(source, group, "error", request.resource, orjson.dumps(text), parent_id=request.id)


def content_bytes(message: Message) -> bytes:
    """Return the payload as receivers of the Go side see it: a JSON string gives its text, all else its JSON text.

    Raises EnvelopeError when the content is no JSON (spec 01 §1.3).
    """
    content = message.content
    if content[:1] != b'"':
        return content
    try:
        text = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise EnvelopeError(f"content of {message.resource} is no JSON: {error}", 0) from None
    return text.encode() if isinstance(text, str) else content


def content_object(message: Message) -> Any:
    """Parse the payload, given as an object or as a string that holds JSON (spec 01 §1.3).

    Raises EnvelopeError when it is neither.
    """
    try:
        return orjson.loads(content_bytes(message))
    except orjson.JSONDecodeError as error:
        raise EnvelopeError(f"content of {message.resource} is no JSON: {error}", 0) from None
