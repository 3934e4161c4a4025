"""TLS contexts of the project's listeners and clients, from material in memory (spec 01 §2.1.7, 02 §1.1)."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from kubeedge.pki.pem import PkiError

# TLS 1.2 suites of the hub (10000) and of the tunnel (10004). TLS 1.3 suites are OpenSSL's.
HUB_CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
TUNNEL_CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256"

NODE_ORGANIZATION = "system:nodes"
NODE_PREFIX = "system:node:"


class ClientCertificate(Enum):
    """What a listener does about its client's certificate.

    OPTIONAL asks for one and verifies it when given; Python's ssl cannot ask without verifying, so a certificate of a
    foreign CA ends the handshake where a Go listener would go on.
    """

    NONE = ssl.CERT_NONE
    OPTIONAL = ssl.CERT_OPTIONAL
    REQUIRED = ssl.CERT_REQUIRED


def server_context(
    certificate: bytes,
    key: bytes,
    client_ca: bytes = b"",
    *,
    client: ClientCertificate = ClientCertificate.REQUIRED,
    ciphers: str = "",
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """Make the context of a listener; certificate, key and client_ca are PEM. TLS 1.2 or newer.

    client_ca signs the certificates of clients and is needed unless client is NONE. ciphers are OpenSSL names of
    TLS 1.2 suites, empty for the library's own choice. Raises PkiError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A node connects once and stays: tickets would only cost it and us a signature more.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if ciphers:
        context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    load_pair(context, certificate, key)
    if client is not ClientCertificate.NONE:
        _load_ca(context, client_ca)
    context.verify_mode = ssl.VerifyMode(client.value)
    return context


@dataclass(frozen=True, slots=True, repr=False)
class ServerCredentials:
    """What a listener that wants its clients' certificates is made of, in a form that can be given to a process."""

    certificate: bytes
    key: bytes
    client_ca: bytes
    ciphers: str = ""

    def context(self) -> ssl.SSLContext:
        """Make the context of the listener. Raises PkiError."""
        return server_context(self.certificate, self.key, self.client_ca, ciphers=self.ciphers)


def client_context(ca: bytes, certificate: bytes = b"", key: bytes = b"") -> ssl.SSLContext:
    """Make the context of a client that trusts only ca and checks the host name; all PEM. No ALPN, TLS 1.2 or newer.

    Raises PkiError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_ca(context, ca)
    if certificate:
        load_pair(context, certificate, key)
    return context


def _load_ca(context: ssl.SSLContext, ca: bytes) -> None:
    try:
        context.load_verify_locations(cadata=ca.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise PkiError(f"CA certificate cannot be used: {error}") from None


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give context its own certificate and key, both PEM. Raises PkiError."""
    try:
        with _as_file(certificate.rstrip(b"\n") + b"\n" + key) as path:
            # The empty password answers OpenSSL's question for one: it would else stop the daemon at the terminal.
            context.load_cert_chain(path, password=b"")
    except (ssl.SSLError, OSError) as error:
        raise PkiError(f"certificate and key cannot be used together: {error}") from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give data a path for a moment (ssl only reads files), in memory where the system can."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("tls")
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        # Imported here: Linux does without, and an edge node without its memory.
        import tempfile

        with tempfile.NamedTemporaryFile(prefix="tls-") as file:
            file.write(data)
            file.flush()
            yield file.name


class Subject(NamedTuple):
    """Who a certificate is for."""

    common_name: str
    organizations: tuple[str, ...]

    @property
    def node(self) -> str:
        """The node that this is the identity of (`O=system:nodes, CN=system:node:<node>`), empty when it is none's."""
        if self.organizations[:1] == (NODE_ORGANIZATION,) and self.common_name.startswith(NODE_PREFIX):
            return self.common_name[len(NODE_PREFIX) :]
        return ""


def subject_of(peer_certificate: Mapping[str, Any] | None) -> Subject | None:
    """Return the subject of a verified peer, from `SSLObject.getpeercert()`; None when it showed no certificate."""
    if not peer_certificate:
        return None
    names = [pair for relative in peer_certificate.get("subject", ()) for pair in relative]
    common_names = [value for name, value in names if name == "commonName"]
    organizations = tuple(value for name, value in names if name == "organizationName")
    return Subject(common_names[-1] if common_names else "", organizations)
