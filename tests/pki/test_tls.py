"""TLS contexts: who gets in, and with what."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import KeyPair, PkiError
from kubeedge.pki.tls import (
    HUB_CIPHERS,
    TUNNEL_CIPHERS,
    ClientCertificate,
    Subject,
    client_context,
    server_context,
    subject_of,
)

CA = Authority.create()
SERVER = CA.sign_server(["127.0.0.1"], ["cloud.example"])
NODE = CA.issue_client("system:node:e1", ["system:nodes"])


def server(client: ClientCertificate = ClientCertificate.REQUIRED, ciphers: str = HUB_CIPHERS) -> ssl.SSLContext:
    return server_context(SERVER.certificate_pem, SERVER.key_pem, CA.certificate_pem, client=client, ciphers=ciphers)


def client(pair: KeyPair | None = NODE, ca: Authority = CA) -> ssl.SSLContext:
    if pair is None:
        return client_context(ca.certificate_pem)
    return client_context(ca.certificate_pem, pair.certificate_pem, pair.key_pem)


@asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[Subject | None]]]:
    peers: list[Subject | None] = []

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(subject_of(writer.get_extra_info("ssl_object").getpeercert()))
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1], peers


async def greeting(port: int, context: ssl.SSLContext, name: str = "127.0.0.1") -> tuple[bytes, ssl.SSLObject]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    tls = writer.get_extra_info("ssl_object")
    try:
        return await reader.readexactly(5), tls
    finally:
        writer.transport.abort()


async def test_node_gets_in_and_is_known() -> None:
    async with listening(server()) as (port, peers):
        for name in ("127.0.0.1", "cloud.example"):
            answer, tls = await greeting(port, client(), name)
            assert answer == b"hello"
            assert tls.version() == "TLSv1.3"
            assert tls.selected_alpn_protocol() is None
    assert peers == [Subject("system:node:e1", ("system:nodes",))] * 2


@pytest.mark.parametrize(
    "pair",
    [
        None,
        Authority.create().issue_client("system:node:e1", ["system:nodes"]),
        CA.issue_client("system:node:e1", ["system:nodes"], days=0),
        SERVER,
    ],
    ids=["none", "of a foreign CA", "ended", "for servers"],
)
async def test_who_has_no_good_certificate_does_not_get_in(pair: KeyPair | None) -> None:
    async with listening(server()) as (port, peers):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await greeting(port, client(pair))
    assert peers == []


async def test_optional_certificate_may_be_left_out() -> None:
    async with listening(server(ClientCertificate.OPTIONAL)) as (port, peers):
        await greeting(port, client(None))
        await greeting(port, client())
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await greeting(port, client(Authority.create().issue_client("x")))
    assert peers == [None, Subject("system:node:e1", ("system:nodes",))]


@pytest.mark.parametrize("name", ["127.0.0.2", "other.example"])
async def test_server_under_another_name_is_refused(name: str) -> None:
    async with listening(server()) as (port, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(port, client(), name)


async def test_server_of_another_ca_is_refused() -> None:
    async with listening(server()) as (port, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(port, client(ca=Authority.create()))


def limited(version: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
    context = client()
    context.minimum_version = version
    context.maximum_version = version
    context.set_ciphers(ciphers)
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused() -> None:
    async with listening(server()) as (port, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await greeting(port, limited(ssl.TLSVersion.TLSv1_1))


@pytest.mark.parametrize(
    ("allowed", "offered", "works"),
    [
        (HUB_CIPHERS, "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        (HUB_CIPHERS, "ECDHE-ECDSA-AES256-GCM-SHA384", True),
        (HUB_CIPHERS, "ECDHE-ECDSA-CHACHA20-POLY1305", True),
        (HUB_CIPHERS, "ECDHE-ECDSA-AES128-SHA256", False),
        (TUNNEL_CIPHERS, "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        (TUNNEL_CIPHERS, "ECDHE-ECDSA-AES256-GCM-SHA384", False),
    ],
)
async def test_tls_1_2_has_the_suites_of_a_go_cloud(allowed: str, offered: str, works: bool) -> None:
    async with listening(server(ciphers=allowed)) as (port, _):
        context = limited(ssl.TLSVersion.TLSv1_2, offered)
        if works:
            _, tls = await greeting(port, context)
            cipher = tls.cipher()
            assert cipher is not None and cipher[0] == offered
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await greeting(port, context)


@pytest.mark.parametrize(
    "make",
    [
        lambda: server_context(SERVER.certificate_pem, NODE.key_pem, CA.certificate_pem),
        lambda: server_context(b"junk", b"junk", CA.certificate_pem),
        lambda: server_context(SERVER.certificate_pem, SERVER.key_pem, b"junk"),
        lambda: client_context(b""),
        lambda: client_context(CA.certificate_pem, NODE.certificate_pem, b""),
    ],
)
def test_material_that_does_not_fit_is_an_error_of_its_own(make: Callable[[], ssl.SSLContext]) -> None:
    with pytest.raises(PkiError):
        make()


@pytest.mark.parametrize(
    ("subject", "node"),
    [
        (Subject("system:node:e1", ("system:nodes",)), "e1"),
        (Subject("system:node:e1", ("system:nodes", "other")), "e1"),
        (Subject("system:node:e1", ("other", "system:nodes")), ""),
        (Subject("system:node:e1", ()), ""),
        (Subject("kubeedge.io", ("KubeEdge",)), ""),
        (Subject("system:nodes", ("system:nodes",)), ""),
    ],
)
def test_only_a_nodes_certificate_names_a_node(subject: Subject, node: str) -> None:
    assert subject.node == node
