"""Tokens of service accounts: JSON Web Tokens signed with ES256, bound to objects that have to exist."""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubeedge.apiserver.storage import Storage

ISSUER = "https://kubernetes.default.svc"
AUDIENCE = "https://kubernetes.default.svc"
_COORDINATE_BYTES = 32
# Verified signatures kept, so that a client pays for the elliptic curve once and not at each request.
_MAX_VERIFIED = 1_024


class InvalidTokenError(Exception):
    """Not a token of this server, or one that no longer counts."""


class Bound(NamedTuple):
    """An object without which a token is void."""

    kind: str
    name: str
    uid: str


class ServiceAccountToken(NamedTuple):
    """What a valid token says."""

    namespace: str
    name: str
    uid: str
    token_id: str
    audiences: tuple[str, ...]
    expires_s: int
    bound: Bound | None


class Tokens:
    """Issues and verifies; the storage tells whether the account and the bound object still exist."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, storage: Storage, *, now_s: Callable[[], float]) -> None:
        self._key = key
        self._public = key.public_key()
        point = self._public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self._point = point[1:]
        self._key_id = _encode(sha256(point).digest())
        self._head = _encode(orjson.dumps({"alg": "ES256", "kid": self._key_id, "typ": "JWT"}))
        self._storage = storage
        self._now_s = now_s
        self._verified: dict[str, dict[str, Any]] = {}

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        audiences: Sequence[str],
        lifetime_s: int,
        bound: Bound | None = None,
        node: Bound | None = None,
    ) -> tuple[str, int]:
        """Return a token of a service account and the Unix time at which it expires."""
        now = int(self._now_s())
        private: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        for item in (bound, node):
            if item is not None:
                private[item.kind.lower()] = {"name": item.name, "uid": item.uid}
        claims = {
            "aud": list(audiences),
            "exp": now + lifetime_s,
            "iat": now,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        signed = f"{self._head}.{_encode(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256())))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_encode(signature)}", now + lifetime_s

    def verify(self, token: str, audiences: Sequence[str] = (AUDIENCE,)) -> ServiceAccountToken:
        """Return what a token says, audiences being those of the token that are asked for. Raises InvalidTokenError."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._check_signature(token)
            if len(self._verified) >= _MAX_VERIFIED:
                self._verified.clear()
            self._verified[token] = claims
        return self._check_claims(claims, audiences)

    def _check_signature(self, token: str) -> dict[str, Any]:
        try:
            signed, _, signature = token.rpartition(".")
            head, _, payload = signed.partition(".")
            if orjson.loads(_decode(head)).get("alg") != "ES256":
                raise InvalidTokenError
            raw = _decode(signature)
            if len(raw) != 2 * _COORDINATE_BYTES:
                raise InvalidTokenError
            r = int.from_bytes(raw[:_COORDINATE_BYTES], "big")
            s = int.from_bytes(raw[_COORDINATE_BYTES:], "big")
            self._public.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(SHA256()))
            claims = orjson.loads(_decode(payload))
        except (InvalidSignature, ValueError, AttributeError) as error:
            raise InvalidTokenError("invalid bearer token") from error
        if not isinstance(claims, dict):
            raise InvalidTokenError("invalid bearer token")
        return claims

    def _check_claims(self, claims: dict[str, Any], audiences: Sequence[str]) -> ServiceAccountToken:
        now = self._now_s()
        try:
            if claims["iss"] != ISSUER or now >= claims["exp"]:
                raise InvalidTokenError("service account token has expired")
            private = claims["kubernetes.io"]
            namespace, account = private["namespace"], private["serviceaccount"]
            shared = tuple(audience for audience in claims["aud"] if audience in audiences)
            if not shared:
                raise InvalidTokenError(
                    f"token audiences {claims['aud']} is invalid for the target audiences {list(audiences)}"
                )
            self._must_exist("serviceaccounts", namespace, account)
            bound = None
            for kind, resource in (("Pod", "pods"), ("Secret", "secrets"), ("Node", "nodes")):
                reference = private.get(kind.lower())
                # The node of a bound pod is told along, the pod is what counts.
                if reference is not None and bound is None:
                    self._must_exist(resource, "" if kind == "Node" else namespace, reference)
                    bound = Bound(kind, reference["name"], reference["uid"])
            return ServiceAccountToken(
                namespace, account["name"], account["uid"], claims["jti"], shared, claims["exp"], bound
            )
        except (KeyError, TypeError) as error:
            raise InvalidTokenError("invalid bearer token") from error

    def _must_exist(self, resource: str, namespace: str, reference: dict[str, str]) -> None:
        stored = self._storage.get(resource, namespace, reference["name"])
        if stored is None or stored.uid != reference["uid"]:
            raise InvalidTokenError("service account token has been invalidated")

    def key_set(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        x, y = self._point[:_COORDINATE_BYTES], self._point[_COORDINATE_BYTES:]
        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self._key_id,
            "crv": "P-256",
            "alg": "ES256",
            "x": _encode(x),
            "y": _encode(y),
        }
        return {"keys": [key]}


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
