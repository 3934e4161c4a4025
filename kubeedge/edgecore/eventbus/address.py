"""Where a broker listens, as the configuration writes it: `tcp://127.0.0.1:1883`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

PLAIN = frozenset({"tcp", "mqtt"})
SECURE = frozenset({"ssl", "tls", "mqtts", "mqtt+ssl", "tcps"})
PORT = 1883
SECURE_PORT = 8883


class AddressError(ValueError):
    """The URL of a broker cannot be used; the text says why."""


class Address(NamedTuple):
    """Host and port of a broker, and whether it is spoken to over TLS."""

    host: str
    port: int
    is_secure: bool


class Tls(NamedTuple):
    """Files for a broker that wants a certificate of us, and whose own is verified (`eventBusTLS`)."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


def parse(url: str) -> Address:
    """Read the URL of a broker. Raises AddressError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"{url}: {error}") from None
    if parts.scheme not in PLAIN | SECURE:
        raise AddressError(f"{url}: scheme must be tcp, mqtt, ssl, tls or mqtts")
    if not host:
        raise AddressError(f"{url}: no host")
    is_secure = parts.scheme in SECURE
    return Address(host, port or (SECURE_PORT if is_secure else PORT), is_secure)


def tls_context(address: Address, files: Tls | None) -> ssl.SSLContext | None:
    """Return how to speak to the broker: with files verified both ways, with a TLS URL alone not at all (spec 04 §5.2).

    Raises OSError (ssl.SSLError is one) when a file cannot be read.
    """
    if files is None:
        if not address.is_secure:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca_file)
    context.load_cert_chain(files.certificate_file, files.key_file)
    return context
