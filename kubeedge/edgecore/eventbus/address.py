"""Where a broker listens, as the configuration writes it: `tcp://127.0.0.1:1883`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

# Schemes, and the port of each; those of upstream's library for MQTT.
PLAIN = {"tcp": 1883, "mqtt": 1883, "ws": 80}
SECURE = {"ssl": 8883, "tls": 8883, "mqtts": 8883, "mqtt+ssl": 8883, "tcps": 8883, "wss": 443}
WEBSOCKET = frozenset({"ws", "wss"})


class AddressError(ValueError):
    """The URL of a broker cannot be used; the text says why."""


class Address(NamedTuple):
    """Host and port of a broker, whether it is spoken to over TLS, and the URL when over WebSocket."""

    host: str
    port: int
    is_secure: bool
    websocket_url: str = ""


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
    scheme = parts.scheme
    if scheme not in PLAIN and scheme not in SECURE:
        raise AddressError(f"{url}: scheme must be tcp, mqtt, ssl, tls, mqtts, ws or wss")
    if not host:
        raise AddressError(f"{url}: no host")
    is_secure = scheme in SECURE
    default = SECURE[scheme] if is_secure else PLAIN[scheme]
    return Address(host, port or default, is_secure, url if scheme in WEBSOCKET else "")


def tls_context(address: Address, files: Tls | None) -> ssl.SSLContext | None:
    """Return how to speak to a broker whose URL asks for TLS, None when it does not.

    With files both sides are verified, without them nothing is (spec 04 §5.2). As upstream's, the URL alone decides
    whether TLS is spoken. Raises OSError (ssl.SSLError is one) when a file cannot be read.
    """
    if not address.is_secure:
        return None
    if files is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca_file)
    context.load_cert_chain(files.certificate_file, files.key_file)
    return context
