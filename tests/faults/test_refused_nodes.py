"""Who may be which node: everybody else is refused, with a reason in cloudcore's log and a count."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kubeedge.demo.configuration import NODE_NAME
from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import KeyPair
from tests.faults.rawnode import HOST, connected, dialled
from tests.sites import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = "mallory"
REFUSED = "kubeedge_link_refused_connections_total"
TIMEOUT_S = 10


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def undisturbed(site: Site) -> AsyncIterator[None]:
    """The other node keeps its session whatever happens."""
    log = site.cloud_log()
    yield
    assert not log.lines("session ended", f"node={NODE_NAME}")
    assert not log.lines("Traceback")


async def certificate(site: Site, common_name: str = f"system:node:{NODE}") -> KeyPair:
    return (await site.authority()).issue_client(common_name, ["system:nodes"])


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Node_id": NODE_NAME}, 403, f"'system:node:{NODE}' does not allow to be node {NODE_NAME}"),
        ({}, 400, "header Node_id names no node"),
        ({"Node_id": ""}, 400, "header Node_id names no node"),
        ({"Node_id": "a/b"}, 400, "header Node_id names no node"),
        ({"Node_id": "../" + NODE}, 400, "header Node_id names no node"),
        ({"Node_id": "x" * 300}, 400, "header Node_id names no node"),
        ({"Node_id": NODE.upper()}, 400, "header Node_id names no node"),
        ({"Node_id": NODE, "Connectionuse": "str"}, 400, "header Connectionuse is 'str'"),
        ({"Node_id": NODE, "Connectionuse": ""}, 400, "header Connectionuse is ''"),
        ({"Node_id": NODE, "Origin": "https://elsewhere.example"}, 403, "Origin"),
    ],
    ids=str,
)
async def test_headers_must_name_the_node_of_the_certificate(
    site: Site, headers: dict[str, str], status: int, reason: str
) -> None:
    before = (await site.cloud_metrics()).of(REFUSED, f'status="{status}"')
    log = site.cloud_log()
    async with dialled(site, await certificate(site), {"Connectionuse": "msg", **headers}) as node:
        assert (await node.status_line()).startswith(f"HTTP/1.1 {status} ")
    line = await log.says("connection refused", f"status={status}", reason)
    assert f"peer={HOST}:" in line
    assert (await site.cloud_metrics()).of(REFUSED, f'status="{status}"') == before + 1
    assert not log.lines("session started")


async def test_a_certificate_of_no_node_is_refused(site: Site) -> None:
    log = site.cloud_log()
    for name in ("kubeedge.io", "system:node:", "system:admin", f"system:node:{NODE}\nsystem:node:{NODE_NAME}"):
        headers = {"Node_id": NODE_NAME, "Connectionuse": "msg"}
        async with dialled(site, await certificate(site, name), headers) as node:
            assert (await node.status_line()).startswith("HTTP/1.1 403 "), name
    assert len(log.lines("connection refused", "status=403")) == 4


async def _upgrade_answer(site: Site, pair: KeyPair | None) -> str:
    """Return what the server answers to an upgrade, nothing where TLS ends first."""
    try:
        async with dialled(site, pair, {"Node_id": NODE, "Connectionuse": "msg"}) as node:
            # TLS 1.3 tells a client only when it reads.
            return await node.status_line()
    except (ssl.SSLError, ConnectionError):
        return ""


async def test_certificates_that_tls_does_not_take_are_told_with_the_reason(site: Site) -> None:
    authority = await site.authority()
    foreign = Authority.create().issue_client(f"system:node:{NODE}", ["system:nodes"])
    # Its last moment is that of its signing.
    expired = authority.issue_client(f"system:node:{NODE}", ["system:nodes"], days=0)
    server = authority.sign_server([HOST], [])
    await asyncio.sleep(1.1)
    for pair, reason in (
        (foreign, "self-signed certificate|unable to get local issuer certificate|certificate signature failure"),
        (expired, "certificate has expired"),
        (server, "unsuitable certificate purpose|unsupported certificate purpose"),
        (None, "peer did not return a certificate"),
    ):
        before = (await site.cloud_metrics()).of(REFUSED, 'status="0"')
        log = site.cloud_log()
        assert not await _upgrade_answer(site, pair)
        line = await log.says("connection refused", "reason=TLS: ")
        assert any(words in line for words in reason.split("|")), line
        assert (await site.cloud_metrics()).of(REFUSED, 'status="0"') == before + 1


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\xff garbage",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0" * 4096,
    ],
)
async def test_who_speaks_no_tls_is_counted_and_forgotten(site: Site, request_: bytes) -> None:
    before = (await site.cloud_metrics()).of(REFUSED, 'status="0"')
    reader, writer = await asyncio.open_connection(HOST, site.ports.hub)
    writer.write(request_)
    async with asyncio.timeout(TIMEOUT_S):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
    assert (await site.cloud_metrics()).of(REFUSED, 'status="0"') == before + 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nNo colon here\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
)
async def test_a_request_that_is_no_upgrade_is_answered_with_its_status(site: Site, head: bytes, status: int) -> None:
    before = (await site.cloud_metrics()).of(REFUSED, f'status="{status}"')
    async with dialled(site, await certificate(site), {}, request=head) as node:
        assert (await node.status_line()).startswith(f"HTTP/1.1 {status} ")
    assert (await site.cloud_metrics()).of(REFUSED, f'status="{status}"') == before + 1


async def test_a_good_node_is_let_in_after_all_that(site: Site) -> None:
    log = site.cloud_log()
    async with connected(site, NODE):
        await log.says("session started", f"node={NODE}")
    await log.says("session ended", f"node={NODE}")
