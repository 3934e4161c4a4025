"""The three secrets of namespace kubeedge that hold cloudcore's keys and the join token (spec 02 §1.1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from kubeedge.pki.pem import KeyPair, PkiError

NAMESPACE = "kubeedge"


class PairSecret(NamedTuple):
    """A secret with a certificate and its key, raw DER under these data keys."""

    name: str
    certificate_key: str
    private_key: str

    def build(self, pair: KeyPair) -> bytes:
        """Return the Secret object as JSON."""
        return build(self.name, {self.certificate_key: pair.certificate, self.private_key: pair.key})

    def read(self, secret: bytes) -> KeyPair:
        """Take the pair out of a Secret object in JSON. Raises PkiError when a key is missing."""
        data = read(secret)
        for key in (self.certificate_key, self.private_key):
            if not data.get(key):
                raise PkiError(f"secret {NAMESPACE}/{self.name} has no data under {key}")
        return KeyPair(data[self.certificate_key], data[self.private_key])


CA = PairSecret("casecret", "cadata", "cakeydata")
CLOUDCORE = PairSecret("cloudcoresecret", "cloudcoredata", "cloudcorekeydata")
TOKEN_NAME = "tokensecret"
TOKEN_KEY = "tokendata"


def build_token(token: str) -> bytes:
    """Return the Secret object that holds the join token, as JSON."""
    return build(TOKEN_NAME, {TOKEN_KEY: token.encode()})


def read_token(secret: bytes) -> str:
    """Take the join token out of its Secret object. Raises PkiError."""
    token = read(secret).get(TOKEN_KEY)
    if not token:
        raise PkiError(f"secret {NAMESPACE}/{TOKEN_NAME} has no data under {TOKEN_KEY}")
    return token.decode("ascii", "replace")


def build(name: str, data: Mapping[str, bytes]) -> bytes:
    """Return an Opaque Secret of namespace kubeedge as JSON."""
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
    )


def read(secret: bytes) -> dict[str, bytes]:
    """Return the decoded data of a Secret object in JSON. Raises PkiError."""
    try:
        data = orjson.loads(secret).get("data") or {}
        return {key: base64.b64decode(value) for key, value in data.items()}
    except (ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise PkiError(f"secret cannot be read: {error}") from None
