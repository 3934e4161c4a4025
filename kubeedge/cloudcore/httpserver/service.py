"""The certificate service as cloudcore starts it: keys first, then listeners, then the token kept fresh."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass

from kubeedge.bus import Bus
from kubeedge.cloudcore.httpserver.application import Application
from kubeedge.cloudcore.httpserver.material import HOUR_S, Material, SecretStore, Sources, refresh_token
from kubeedge.kube.api import ApiError, ApiUnavailableError, KubeApi
from kubeedge.pki.authority import Authority, is_issued_by
from kubeedge.pki.tls import (
    HUB_CIPHERS,
    TUNNEL_CIPHERS,
    ClientCertificate,
    ServerCredentials,
    Subject,
    server_context,
    subject_of,
)
from kubeedge.serving import Server

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 60
# Requests under way at a time; more are answered 503 at once.
MAX_REQUESTS = 1000
# Pause after a token that could not be written.
TOKEN_RETRY_S = 30


@dataclass(slots=True, frozen=True)
class Settings:
    """Where to listen, for how long to sign, and what the server certificate comes from."""

    sources: Sources
    address: str = "0.0.0.0"
    port: int = 10002
    certificate_days: int = 365
    token_refresh_hours: int = 12
    require_node_certificate: bool = False


class CertificateService:
    """Port 10002 and cloudcore's TLS material. prepare() must have returned before any listener opens (02 §1.1)."""

    def __init__(self, api: KubeApi, bus: Bus, settings: Settings) -> None:
        self.listening = asyncio.Event()
        self._api = api
        self._bus = bus
        self._settings = settings
        self._store = SecretStore(api)
        self._material: Material | None = None
        self._server: Server | None = None

    async def prepare(self) -> None:
        """Find or make CA and server certificate and write secrets and join token.

        Raises MaterialError, PkiError, ApiError, ApiUnavailableError, TimeoutError: cloudcore cannot start then.
        """
        self._material = await Material.prepare(self._api, self._settings.sources)
        await refresh_token(self._store, self._material.authority, self._settings.token_refresh_hours)
        log.info("certificates ready")

    @property
    def authority(self) -> Authority:
        """The CA that signs edge nodes."""
        return self._ready.authority

    @property
    def port(self) -> int:
        """The port that is listened on, once `listening` is set."""
        return self._server.port if self._server is not None else self._settings.port

    def hub_credentials(self) -> ServerCredentials:
        """Return what CloudHub's listener (10000) identifies itself and its nodes with."""
        ca = self._ready.authority.certificate_pem
        return ServerCredentials(self._chain, self._ready.server.key_pem, ca, HUB_CIPHERS)

    def tunnel_context(self) -> ssl.SSLContext:
        """Make the context of the stream tunnel (10004). Raises PkiError."""
        return self._context(ClientCertificate.REQUIRED, TUNNEL_CIPHERS)

    async def run(self) -> None:
        """Serve and keep the token fresh until cancelled. Raises OSError when the address cannot be bound."""
        application = Application(
            self.authority,
            self._api,
            self._bus,
            certificate_days=self._settings.certificate_days,
            require_node_certificate=self._settings.require_node_certificate,
        )
        self._server = Server(
            application,
            self._context(ClientCertificate.OPTIONAL),
            self._settings.address,
            self._settings.port,
            name="httpserver",
            owner=_subject,
            keep_alive_s=KEEP_ALIVE_S,
            max_requests=MAX_REQUESTS,
        )
        await self._server.open()
        self.listening.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.run())
            tasks.create_task(self._keep_token_fresh())

    async def _keep_token_fresh(self) -> None:
        pause_s: float = self._settings.token_refresh_hours * HOUR_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await refresh_token(self._store, self.authority, self._settings.token_refresh_hours)
            except (ApiError, ApiUnavailableError, TimeoutError) as error:
                log.warning("join token not refreshed reason=%r", error)
                pause_s = TOKEN_RETRY_S
            else:
                log.info("join token refreshed")
                pause_s = self._settings.token_refresh_hours * HOUR_S

    def _context(self, client: ClientCertificate, ciphers: str = "") -> ssl.SSLContext:
        ca = self._ready.authority.certificate_pem
        return server_context(self._chain, self._ready.server.key_pem, ca, client=client, ciphers=ciphers)

    @property
    def _chain(self) -> bytes:
        """The certificate of the server, in PEM, and behind it that of the CA which has signed it.

        OpenSSL sends both in any case; without the second it would find it and verify the first for each connection,
        which takes 90 us of the 730 of a handshake.
        """
        server, authority = self._ready.server, self._ready.authority.pair
        issuer = authority.certificate_pem if is_issued_by(server.certificate, authority.certificate) else b""
        return server.certificate_pem + issuer

    @property
    def _ready(self) -> Material:
        if self._material is None:
            raise RuntimeError("prepare() has not been called")
        return self._material


def _subject(tls: ssl.SSLObject | None) -> Subject | None:
    return subject_of(tls.getpeercert()) if tls is not None else None
