"""Service account tokens at the edge: which stored one answers a request, and how long (spec 05 §2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from kubeedge.edgecore.metamanager import keys
from kubeedge.edgecore.metamanager.keys import TokenRequest
from kubeedge.kube.instants import unix_time

# A token is renewed at this age, or in the last fifth of its life if that comes earlier.
MAX_AGE_S = 24 * 3600
LAST_PART = 0.2

_BY_REQUEST = (
    "SELECT key, value FROM meta WHERE key = ?1 OR key = (SELECT key FROM kubeedge_token WHERE request = ?1) "
    "ORDER BY key = ?1"
)
# A Go edgecore left no note of what was asked for; in its keys the API server's default audiences are filled in.
_BY_ENDS = (
    "SELECT key, value FROM meta WHERE type = 'serviceaccounttoken' AND substr(key, 1, length(?1)) = ?1 "
    "AND substr(key, -length(?2)) = ?2 AND key NOT IN (SELECT key FROM kubeedge_token)"
)

_request = msgspec.json.Decoder(TokenRequest)


class Reader(Protocol):
    """Reads committed rows, as the database does."""

    def read(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        ...


def decode(data: bytes | str) -> TokenRequest:
    """Parse a TokenRequest. Raises msgspec.DecodeError."""
    return _request.decode(data)


def find(reader: Reader, namespace: str, account: str, request: TokenRequest) -> tuple[str, str] | None:
    """Return key and value of the token that was stored for a request; None when there is none. Raises StoreError."""
    rows = reader.read(_BY_REQUEST, (keys.token_key(namespace, account, request),))
    if not rows and not request.spec.audiences:
        rows = reader.read(_BY_ENDS, keys.token_key_ends(namespace, account, request))
        # More than one: it cannot be told which of them is for the default audience.
        rows = rows if len(rows) == 1 else []
    return rows[0] if rows else None


class Life:
    """The times of one token in Unix seconds: when to renew it, when it ends. Without an end it is good for ever."""

    def __init__(self, token: TokenRequest) -> None:
        self.renew_at: float = float("inf")
        self.ends_at: float = float("inf")
        expires, span = token.status.expiration_timestamp, token.spec.expiration_seconds
        if expires is not None:
            self.ends_at = unix_time(expires, 0.0)
        if span is not None and expires is not None:
            self.renew_at = min(self.ends_at - span + MAX_AGE_S, self.ends_at - span * LAST_PART)
