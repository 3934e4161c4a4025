"""Where cloudcore's keys come from, and the secrets in which they are kept (spec 02 §1.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from kubeedge.kube.api import ApiError, Kind, KubeApi
from kubeedge.kube.kinds import NAMESPACE, SECRET
from kubeedge.pki import secrets, token
from kubeedge.pki.authority import Authority, covers, expires_within, is_issued_by
from kubeedge.pki.pem import KeyPair, PkiError, read_file

log = logging.getLogger(__name__)

# Each call of the API; a start that waits longer than this had better fail and be tried again.
API_TIMEOUT_S = 30
# Another replica may write the same secret at the same moment; more often than this it does not.
WRITE_ATTEMPTS = 5
# A server certificate from the secret is replaced this long before it ends.
RENEW_BEFORE_DAYS = 30
HOUR_S = 3600


class MaterialError(Exception):
    """Keys or certificates that cloudcore cannot start with."""


@dataclass(slots=True, frozen=True)
class Sources:
    """Where to look: PEM files that an operator may have put there, and what the server certificate must name."""

    ca_file: Path
    ca_key_file: Path
    certificate_file: Path
    key_file: Path
    addresses: Sequence[str] = field(default_factory=list)
    dns_names: Sequence[str] = field(default_factory=list)


class Material:
    """CA and server certificate of this cloudcore, shared with its other replicas through secrets."""

    def __init__(self, authority: Authority, server: KeyPair) -> None:
        self.authority = authority
        self.server = server

    @classmethod
    async def prepare(cls, api: KubeApi, sources: Sources) -> Material:
        """Find or make the CA, then the server certificate, and write both to their secrets.

        Raises MaterialError, ApiError, ApiUnavailableError, TimeoutError.
        """
        store = SecretStore(api)
        await store.ensure_namespace()
        authority = await _authority(store, sources)
        return cls(authority, await _server(store, sources, authority))


async def _authority(store: SecretStore, sources: Sources) -> Authority:
    pair = _read_pair("CA", sources.ca_file, sources.ca_key_file)
    if pair is not None:
        authority = _usable(pair, f"{sources.ca_file}, {sources.ca_key_file}")
        await store.write(secrets.CA.name, secrets.CA.build(pair))
        return authority
    made: Authority | None = None
    for _ in range(WRITE_ATTEMPTS):
        secret = await store.read(secrets.CA.name)
        if secret is not None:
            try:
                return _usable(secrets.CA.read(secret), f"secret {secrets.NAMESPACE}/{secrets.CA.name}")
            except PkiError as error:
                raise MaterialError(f"{error}; delete it to make a new CA, which no edge node trusts yet") from None
        made = made or Authority.create()
        # Created, never replaced: of two replicas that start together on an empty cluster both use what was first.
        if await store.create(secrets.CA.build(made.pair)):
            log.info("CA created")
            return made
    raise MaterialError(f"secret {secrets.NAMESPACE}/{secrets.CA.name} can neither be read nor created")


async def _server(store: SecretStore, sources: Sources, authority: Authority) -> KeyPair:
    pair = _read_pair("server certificate", sources.certificate_file, sources.key_file)
    if pair is not None:
        if not covers(pair.certificate, sources.addresses, sources.dns_names):
            log.warning("server certificate does not name every configured address path=%s", sources.certificate_file)
        await store.write(secrets.CLOUDCORE.name, secrets.CLOUDCORE.build(pair))
        return pair
    secret = await store.read(secrets.CLOUDCORE.name)
    if secret is not None:
        reason = "it cannot be read"
        try:
            pair = secrets.CLOUDCORE.read(secret)
            reason = _why_not(pair, sources, authority)
        except PkiError as error:
            reason = str(error)
        if pair is not None and not reason:
            return pair
        log.info("server certificate made anew reason=%s", reason)
    pair = authority.sign_server(sources.addresses, sources.dns_names)
    await store.write(secrets.CLOUDCORE.name, secrets.CLOUDCORE.build(pair))
    return pair


def _why_not(pair: KeyPair, sources: Sources, authority: Authority) -> str:
    if not is_issued_by(pair.certificate, authority.certificate):
        return "it is not signed by the CA"
    if not covers(pair.certificate, sources.addresses, sources.dns_names):
        return "it does not name every configured address"
    if expires_within(pair.certificate, RENEW_BEFORE_DAYS):
        return "it ends soon"
    return ""


def _usable(pair: KeyPair, where: str) -> Authority:
    try:
        return Authority.from_der(pair.certificate, pair.key)
    except PkiError as error:
        raise MaterialError(f"{where}: {error}") from None


def _read_pair(what: str, certificate_file: Path, key_file: Path) -> KeyPair | None:
    """Read two files of an operator; None when neither can be read, which is usual."""
    found: list[bytes | None] = []
    for path in (certificate_file, key_file):
        try:
            found.append(read_file(path))
        except FileNotFoundError:
            found.append(None)
        except (OSError, PkiError) as error:
            log.warning("file cannot be used path=%s reason=%s", path, error)
            found.append(None)
    certificate, key = found
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = certificate_file if certificate is None else key_file
        raise MaterialError(f"{what}: {missing} is missing or no PEM file; give both certificate and key, or neither")
    return KeyPair(certificate, key)


class SecretStore:
    """The secrets of namespace kubeedge."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def ensure_namespace(self) -> None:
        """Create the namespace when it is not there; who may not read it is told when a secret is written.

        Raises ApiError, ApiUnavailableError, TimeoutError.
        """
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                await self._api.get(NAMESPACE, "", secrets.NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                log.warning("namespace cannot be read namespace=%s reason=%s", secrets.NAMESPACE, error)
                return
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": secrets.NAMESPACE}}
            await self._create(NAMESPACE, "", orjson.dumps(namespace))

    async def read(self, name: str) -> bytes | None:
        """Return a secret as JSON, None when there is none. Raises ApiError, ApiUnavailableError, TimeoutError."""
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                return await self._api.get(SECRET, secrets.NAMESPACE, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def create(self, secret: bytes) -> bool:
        """Create a secret; False when one of its name exists. Raises ApiError, ApiUnavailableError, TimeoutError."""
        return await self._create(SECRET, secrets.NAMESPACE, secret)

    async def write(self, name: str, secret: bytes) -> None:
        """Create a secret or replace its data; what else stands in an existing one is kept.

        Raises ApiError, ApiUnavailableError, TimeoutError.
        """
        wanted = orjson.loads(secret)
        for attempt in range(WRITE_ATTEMPTS):
            present = await self.read(name)
            if present is None:
                if await self.create(secret):
                    return
                continue
            document = orjson.loads(present)
            if document.get("data") == wanted["data"]:
                return
            document["data"] = wanted["data"]
            try:
                async with asyncio.timeout(API_TIMEOUT_S):
                    await self._api.update(SECRET, secrets.NAMESPACE, name, orjson.dumps(document))
                return
            except ApiError as error:
                if error.code not in (404, 409) or attempt == WRITE_ATTEMPTS - 1:
                    raise

    async def _create(self, kind: Kind, namespace: str, body: bytes) -> bool:
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                await self._api.create(kind, namespace, body)
        except ApiError as error:
            if error.code == 409:
                return False
            raise
        return True


async def refresh_token(store: SecretStore, authority: Authority, refresh_hours: int) -> None:
    """Make a join token that lives for two refreshes and write it (spec 02 §1.2). Raises as SecretStore.write."""
    text = token.make(authority.certificate, authority.key, 2 * refresh_hours * HOUR_S)
    await store.write(secrets.TOKEN_NAME, secrets.build_token(text))
