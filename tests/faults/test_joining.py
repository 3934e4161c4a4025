"""Nodes that cannot join the cloud: the reason is in their log and their exit code, and the cloud's count."""

from __future__ import annotations

import asyncio
import http.client
import ssl

import pytest

from kubeedge.demo.configuration import NODE_NAME
from kubeedge.pki import request, token
from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import KeyPair
from kubeedge.pki.tls import client_context
from tests.sites import EdgeNode, Site, ended, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = "newcomer"
HOST = "127.0.0.1"
HOUR_S = 3600
TIMEOUT_S = 10
REQUESTS = "kubeedge_httpserver_requests_total"


async def join_token(site: Site, fault: str) -> str:
    """Return a join token with one thing wrong."""
    authority = await site.authority()
    good = token.make(authority.certificate, authority.key, HOUR_S)
    match fault:
        case "expired":
            return token.make(authority.certificate, authority.key, -1)
        case "forged":
            return token.make(authority.certificate, Authority.create().key, HOUR_S)
        case "unsigned":
            return good.rpartition(".")[0] + "."
        case "of another cloud":
            other = Authority.create()
            return token.make(other.certificate, other.key, HOUR_S)
        case "cut":
            return good.rpartition(".")[0]
        case "garbage":
            return "garbage"
    return ""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("expired", "token is expired"),
        ("forged", "signature is invalid"),
        ("unsigned", "signature is invalid"),
        ("of another cloud", "join token is for another cloud"),
        ("cut", "join token has 3 parts"),
        ("garbage", "join token has 1 parts"),
        ("missing", "give a join token"),
    ],
)
async def test_a_node_with_no_good_token_ends_and_says_why(site: Site, fault: str, reason: str) -> None:
    bad = await join_token(site, fault)
    async with site.node(f"{NODE}-{fault.rpartition(' ')[2]}", bad, has_pods=False) as node:
        log = await node.start()
        assert await ended(node.program) == 1
        (line,) = log.lines("cannot start", "node cannot join the cloud")
        assert reason in line
        assert "Traceback" not in log.text
        # What is secret of a token is its signature.
        assert not bad.rpartition(".")[2] or bad.rpartition(".")[2] not in log.text or fault == "garbage"
        assert not (node.folder / "certs" / "node.crt").exists()


async def test_refused_tokens_are_in_the_cloud_s_log_and_count(site: Site) -> None:
    before = (await site.cloud_metrics()).of(REQUESTS, 'path="/edge.crt"', 'code="401"')
    log = site.cloud_log()
    bad = await join_token(site, "expired")
    status, text = await ask(site, NODE, request.make(NODE)[0], bad)
    assert (status, text) == (401, "token validation failure, err: token has invalid claims: token is expired")
    await log.says("certificate refused", f"node={NODE}", "token is expired")
    assert (await site.cloud_metrics()).of(REQUESTS, 'path="/edge.crt"', 'code="401"') == before + 1


async def test_a_good_token_gives_only_the_certificate_of_the_node_that_asks(site: Site) -> None:
    log = site.cloud_log()
    status, text = await ask(site, NODE, request.make(NODE_NAME)[0], await site._join_token())
    assert status == 500
    assert f"only system:node:{NODE} may be asked for" in text
    await log.says("certificate refused", f"node={NODE}", NODE_NAME)


async def test_a_node_s_certificate_gives_no_other_node_s(site: Site) -> None:
    pair = (await site.authority()).issue_client(f"system:node:{NODE}", ["system:nodes"])
    status, text = await ask(site, NODE_NAME, request.make(NODE_NAME)[0], pair=pair)
    assert status == 401
    assert f"failed to verify the certificate for edgenode: {NODE_NAME}" in text


@pytest.mark.parametrize("csr", [b"", b"garbage", b"x" * (1 << 20), b"x" * ((1 << 20) + 1)], ids=len)
async def test_what_is_no_certificate_request_is_refused(site: Site, csr: bytes) -> None:
    status, text = await ask(site, NODE, csr, await site._join_token())
    assert status == 500
    assert f"failed to sign certs for edgenode {NODE}" in text


async def test_a_node_that_finds_no_cloud_goes_on_trying(site: Site) -> None:
    async with site.node("early", has_pods=False) as node:
        node.document["modules"]["edgeHub"]["httpServer"] = f"https://{HOST}:1"
        log = await node.start()
        await log.says("node has no usable certificate", "cannot be reached")
        assert node.program.is_running()


async def test_a_node_whose_certificate_ended_waits_for_a_token_and_takes_it(site: Site) -> None:
    """It had joined once: its pods run on meanwhile, so it does not end."""
    async with site.node("expired", "") as node:
        await give_certificate(site, node, days=0)
        await asyncio.sleep(1.1)
        log = await node.start()
        line = await log.says("node has no usable certificate")
        assert "the stored certificate ended on" in line
        assert "give a join token" in line
        assert node.program.is_running()
        (node.folder / "bootstrap.conf").write_text(await site._join_token())
        await log.says("certificate warning", "replaced because the stored certificate ended")
        await until(lambda: site.is_ready("expired"), otherwise=lambda: log.text)


async def test_a_node_with_another_node_s_certificate_says_so(site: Site) -> None:
    async with site.node("impostor", "", has_pods=False) as node:
        await give_certificate(site, node, name=NODE_NAME)
        log = await node.start()
        line = await log.says("node has no usable certificate")
        assert f"is for system:node:{NODE_NAME}, not for node impostor" in line


async def test_a_node_that_the_cloud_refuses_tells_why_and_keeps_trying(site: Site) -> None:
    """Its files are in order, but the CA of the cloud is another one by now."""
    other = Authority.create()
    async with site.node("stale", "") as node:
        await give_certificate(site, node, authority=other)
        log = await node.start()
        await log.says("cloud not connected", "certificate of the server: ")
        assert node.program.is_running()
        assert (await node.metrics()).of("kubeedge_edgehub_connect_failures_total") >= 1
        assert (await node.metrics()).of("kubeedge_edgehub_connected") == 0


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
async def test_a_node_whose_certificate_files_are_damaged_says_which(site: Site, content: bytes) -> None:
    async with site.node(f"damaged-{len(content)}", "", has_pods=False) as node:
        await give_certificate(site, node)
        path = node.folder / "certs" / "node.crt"
        path.write_bytes(content)
        log = await node.start()
        line = await log.says("node has no usable certificate", "the stored certificate cannot be used")
        assert str(path) in line or len(content) > 10
        assert "Traceback" not in log.text


async def give_certificate(
    site: Site, node: EdgeNode, *, authority: Authority | None = None, name: str = "", days: int = 365
) -> None:
    """Put a CA and a certificate where a node that has joined keeps them."""
    authority = authority or await site.authority()
    pair = authority.issue_client(f"system:node:{name or node.name}", ["system:nodes"], days)
    certificates = node.folder / "certs"
    (certificates / "ca.crt").write_bytes(authority.certificate_pem)
    pair.write(certificates / "node.crt", certificates / "node.key")


async def ask(site: Site, node: str, csr: bytes, join: str = "", pair: KeyPair | None = None) -> tuple[int, str]:
    """Ask port 10002 for the certificate of a node; return status and text."""
    ca = (await site.authority()).certificate_pem
    tls = client_context(ca, pair.certificate_pem if pair else b"", pair.key_pem if pair else b"")
    headers = {"NodeName": node, **({"Authorization": f"Bearer {join.partition('.')[2]}"} if join else {})}
    return await asyncio.to_thread(_ask, site.ports.certificates, tls, headers, csr)


def _ask(port: int, tls: ssl.SSLContext, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPSConnection(HOST, port, timeout=TIMEOUT_S, context=tls)
    try:
        connection.request("GET", "/edge.crt", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()
