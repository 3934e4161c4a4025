"""The join token: `<sha256 of the CA's DER>.<JWT>`, the JWT keyed with the CA's private key (spec 02 §1.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

import orjson

_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_HEADER = b'{"alg":"HS256","typ":"JWT"}'
# The methods that a JWT may name and that are no HMAC; any other name is not even known to a Go peer.
_OTHER_METHODS = frozenset(
    {"none", "EdDSA"} | {f"{family}{size}" for family in ("RS", "ES", "PS") for size in (256, 384, 512)}
)
_URL_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class TokenError(Exception):
    """A token that is not accepted, with the reason in the words that Go peers answer."""


def ca_hash(ca: bytes) -> str:
    """Return the first part of a token for the CA certificate in DER."""
    return hashlib.sha256(ca).hexdigest()


def make(ca: bytes, ca_key: bytes, valid_s: float, *, now: float | None = None) -> str:
    """Make a token that is accepted for valid_s seconds. ca and ca_key are DER, the key as it is stored."""
    expires = int((time.time() if now is None else now) + valid_s)
    signed = f"{_encode(_HEADER)}.{_encode(orjson.dumps({'exp': expires}))}"
    signature = hmac.digest(ca_key, signed.encode(), "sha256")
    return f"{ca_hash(ca)}.{signed}.{_encode(signature)}"


def bearer_of(token: str, ca: bytes) -> str:
    """Return the JWT of a join token, if the token is for the CA certificate ca (DER). Raises TokenError."""
    digest, _, jwt = token.partition(".")
    if jwt.count(".") != 2:
        raise TokenError(f"join token has {token.count('.') + 1} parts, expected are 4 divided by dots")
    if not hmac.compare_digest(digest.encode(), ca_hash(ca).encode()):
        raise TokenError(f"join token is for another cloud: it names the CA {digest}, the cloud's CA is {ca_hash(ca)}")
    return jwt


def verify(jwt: str, ca_key: bytes, *, now: float | None = None) -> None:
    """Accept a JWT signed with ca_key by HMAC (HS256, HS384, HS512) and not past its `exp`; else raise TokenError.

    A JWT without `exp` never expires. Times count without leeway.
    """
    parts = jwt.split(".")
    if len(parts) != 3:
        raise TokenError("token is malformed: token contains an invalid number of segments")
    header = _object(parts[0], "header")
    claims = _object(parts[1], "claim")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenError("token is unverifiable: signing method (alg) is unspecified")
    if algorithm not in _DIGESTS:
        known = algorithm in _OTHER_METHODS
        why = (
            "error while executing keyfunc: invalid token method type"
            if known
            else "signing method (alg) is unavailable"
        )
        raise TokenError(f"token is unverifiable: {why}")
    signature = _decode(parts[2], "signature")
    expected = hmac.new(ca_key, f"{parts[0]}.{parts[1]}".encode(), _DIGESTS[algorithm]).digest()
    if not hmac.compare_digest(signature, expected):
        raise TokenError("token signature is invalid: signature is invalid")
    moment = time.time() if now is None else now
    expires, not_before = _time(claims, "exp"), _time(claims, "nbf")
    if expires is not None and moment >= expires:
        raise TokenError("token has invalid claims: token is expired")
    if not_before is not None and moment < not_before:
        raise TokenError("token has invalid claims: token is not valid yet")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(part: str, name: str) -> bytes:
    raw = part.encode("utf-8", "replace")
    try:
        if not _URL_ALPHABET.issuperset(raw):
            raise binascii.Error("illegal base64 data")
        return base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        raise TokenError(f"token is malformed: could not base64 decode {name}") from None


def _object(part: str, name: str) -> dict[str, Any]:
    raw = _decode(part, name)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise TokenError(f"token is malformed: could not JSON decode {name}")
    return value


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"token has invalid claims: {name} is invalid")
    return float(value)
