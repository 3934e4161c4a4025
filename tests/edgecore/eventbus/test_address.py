"""How the configuration names a broker."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from kubeedge.edgecore.eventbus.address import Address, AddressError, Tls, parse, tls_context


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://127.0.0.1:1883", Address("127.0.0.1", 1883, False)),
        ("mqtt://broker.site", Address("broker.site", 1883, False)),
        ("ssl://broker.site", Address("broker.site", 8883, True)),
        ("tls://[::1]:18830", Address("::1", 18830, True)),
        ("mqtts://b:1", Address("b", 1, True)),
        ("ws://b/mqtt", Address("b", 80, False, "ws://b/mqtt")),
        ("wss://b:9443", Address("b", 9443, True, "wss://b:9443")),
    ],
)
def test_url_gives_host_port_and_whether_tls_is_spoken(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:1883", "unix:///b", "http://b", "tcp://", "tcp://b:99999", "tcp://[::1"]
)
def test_url_that_names_no_broker_says_so(url: str) -> None:
    with pytest.raises(AddressError, match=r"scheme|host|[Pp]ort|IPv6"):
        parse(url)


def test_tls_url_alone_verifies_nothing() -> None:
    context = tls_context(Address("b", 8883, True), None)
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


def test_plain_url_is_plain_whatever_the_files(tmp_path: Path) -> None:
    """As with upstream, whose files of configuration have both."""
    assert tls_context(Address("b", 1883, False), None) is None
    assert tls_context(Address("b", 1883, False), Tls(tmp_path, tmp_path, tmp_path)) is None


def test_missing_files_are_an_error_of_the_attempt(tmp_path: Path) -> None:
    files = Tls(tmp_path / "ca", tmp_path / "crt", tmp_path / "key")
    with pytest.raises(FileNotFoundError):
        tls_context(Address("b", 8883, True), files)
