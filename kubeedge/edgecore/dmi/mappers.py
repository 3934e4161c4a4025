"""Mappers as they have announced themselves, and as they are remembered in table `meta` (spec 04 §6.5)."""

from __future__ import annotations

import base64
import binascii
import logging
import os
from typing import NamedTuple

import apsw
import orjson

from kubeedge.edgecore.dmi.catalog import Reader
from kubeedge.store.database import Work

log = logging.getLogger("kubeedge.dmi")

TYPE = "devicemapper"
# Upstream's key, word for word: none of it stands for anything.
_KEY_PREFIX = f"node/nodeID/namespace/{TYPE}/"

# Longest path of a Unix socket (Linux, with the NUL at its end).
MAX_PATH_BYTES = 107


class Mapper(NamedTuple):
    """One mapper. address is the path of its socket; exact_numbers says that it takes whole numbers as such (Q32)."""

    name: str
    protocol: str
    address: bytes
    version: str = ""
    api_version: str = ""
    state: str = ""
    exact_numbers: bool = False

    @property
    def path(self) -> str:
        """The path of the socket, for calls."""
        return os.fsdecode(self.address)

    @property
    def key(self) -> str:
        """The key of its row."""
        return _KEY_PREFIX + self.name


def stored(reader: Reader) -> list[Mapper]:
    """Return the mappers that are remembered; of those with one protocol the last one counts. Raises StoreError."""
    mappers = []
    for key, value in reader.read("SELECT key, value FROM meta WHERE type = ? ORDER BY rowid", (TYPE,)):
        try:
            mappers.append(_decode(value))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("stored mapper not used key=%s reason=%r", key, error)
    return mappers


def storing(mapper: Mapper, replaced: str) -> Work[None]:
    """Remember a mapper, in place of that one of its protocol whose key is replaced."""
    key, value = mapper.key, _encode(mapper)

    def work(connection: apsw.Connection) -> None:
        if replaced != key:
            connection.execute("DELETE FROM meta WHERE key = ? AND type = ?", (replaced, TYPE))
        if connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).get != value:
            connection.execute("INSERT OR REPLACE INTO meta (key, type, value) VALUES (?, ?, ?)", (key, TYPE, value))

    return work


def _encode(mapper: Mapper) -> str:
    record: dict[str, object] = {
        "name": mapper.name,
        "version": mapper.version,
        "api_version": mapper.api_version,
        "protocol": mapper.protocol,
        "address": base64.b64encode(mapper.address).decode(),
        "state": mapper.state,
    }
    if mapper.exact_numbers:
        # Ours; a Go edge passes over it.
        record["exact_numbers"] = True
    return orjson.dumps(record).decode()


def _decode(value: str) -> Mapper:
    record = orjson.loads(value)
    try:
        address = base64.b64decode(record.get("address", ""), validate=True)
    except binascii.Error as error:
        raise ValueError(f"address: {error}") from None
    if not record["protocol"]:
        raise ValueError("no protocol")
    return Mapper(
        str(record.get("name", "")),
        str(record["protocol"]),
        address,
        str(record.get("version", "")),
        str(record.get("api_version", "")),
        str(record.get("state", "")),
        record.get("exact_numbers") is True,
    )
