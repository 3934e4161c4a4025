"""Writes to `meta` and `meta_v2`: pieces of work for the database's writer (spec 05 §2.1-2.3).

A row that would not change is not written, so that repeated pushes and heartbeats cost the flash nothing.
"""

from __future__ import annotations

import apsw

from kubeedge.edgecore.metamanager import keys
from kubeedge.edgecore.metamanager.content import Identity, identify, is_failure

_PUT = (
    "INSERT INTO meta VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET type = excluded.type, value = excluded.value "
    "WHERE value IS NOT excluded.value OR type IS NOT excluded.type"
)
_PUT_V2 = (
    "INSERT INTO meta_v2 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "group_version_resource = excluded.group_version_resource, namespace = excluded.namespace, name = excluded.name, "
    "resource_version = excluded.resource_version, value = excluded.value WHERE value IS NOT excluded.value"
)
_PUT_TOKEN_REQUEST = (
    "INSERT INTO kubeedge_token VALUES (?, ?) ON CONFLICT DO UPDATE SET key = excluded.key WHERE key != excluded.key"
)


def put(connection: apsw.Connection, resource: str, value: str) -> None:
    """Store a value under its resource in `meta`."""
    connection.execute(_PUT, (resource, keys.type_of(resource), value))


def put_object(connection: apsw.Connection, resource: str, value: str, identity: Identity) -> None:
    """Store what the cloud pushed: in `meta`, and in `meta_v2` when it is an object of the API."""
    put(connection, resource, value)
    place = identity.v2
    if place is not None:
        row = (place.key, place.group_version_resource, place.namespace, place.name, identity.version, value)
        connection.execute(_PUT_V2, row)


def refresh(connection: apsw.Connection, resource: str, value: str, identity: Identity, *, create: bool) -> None:
    """Replace an object by the answer to a write of ours, if that is news: the same object, and not an older state.

    Answers and pushes travel on separate queues and overtake each other (spec 05 §2.8): an answer must not take back
    what a later push said, and unless create it must not bring back what was deleted.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (resource,)).get
    if row is None or is_failure(row):
        if create:
            put(connection, resource, value)
        return
    present = identify(row)
    if present.metadata.uid == identity.metadata.uid and identity.version >= present.version:
        put(connection, resource, value)


def delete(connection: apsw.Connection, resource: str, identity: Identity) -> None:
    """Remove an object from both tables, unless another object of that name stands there (by uid).

    A pod takes its patch and the tokens bound to it along. The row in `meta_v2` is found by the stored object too,
    because the cloud's corrections name neither kind nor version (spec 01 §6.6).
    """
    uid = identity.metadata.uid
    is_pod = keys.type_of(resource) == keys.POD and keys.name_of(resource)
    if is_pod and uid:
        # Also where another pod has taken the name by now: it has tokens of its own.
        delete_tokens(connection, uid)
    stored = connection.execute("SELECT value FROM meta WHERE key = ?", (resource,)).get
    if stored is not None:
        if uid and uid not in stored and not is_failure(stored):
            return
        connection.execute("DELETE FROM meta WHERE key = ?", (resource,))
    for place in (identity.v2, identify(stored).v2 if stored is not None else None):
        if place is not None:
            connection.execute("DELETE FROM meta_v2 WHERE key = ? AND instr(value, ?) > 0", (place.key, uid))
    if is_pod:
        connection.execute("DELETE FROM meta WHERE key = ?", (keys.with_type(resource, keys.POD_PATCH),))


def put_token(connection: apsw.Connection, key: str, value: str, request_key: str) -> None:
    """Store a token under upstream's key, to be found again by what was asked for."""
    connection.execute(_PUT, (key, keys.TOKEN, value))
    connection.execute(_PUT_TOKEN_REQUEST, (request_key, key))


def delete_token(connection: apsw.Connection, key: str) -> None:
    """Remove one token."""
    connection.execute("DELETE FROM meta WHERE key = ?", (key,))
    connection.execute("DELETE FROM kubeedge_token WHERE key = ?", (key,))


def delete_tokens(connection: apsw.Connection, pod_uid: str) -> None:
    """Remove the tokens that are bound to a pod."""
    bound = connection.execute(
        "SELECT key FROM meta WHERE type = ? AND instr(key, ?) > 0", (keys.TOKEN, f'UID:"{pod_uid}"')
    ).fetchall()
    for (key,) in bound:
        delete_token(connection, str(key))
