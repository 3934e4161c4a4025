"""What port 10002 answers over TLS, as a Go cloudcore does (spec 02 §1.3), and what upstream should refuse (§1.9)."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeedge.bus import Bus
from kubeedge.cloudcore.httpserver.service import CertificateService
from kubeedge.kube.api import KubeApi
from kubeedge.kube.kinds import NODE
from kubeedge.message import Message
from kubeedge.pki import request, token
from kubeedge.pki.authority import Authority, is_issued_by
from kubeedge.pki.pem import KeyPair
from kubeedge.pki.tls import client_context
from tests.certificates import certificate_service


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Cloud:
    def __init__(self, service: CertificateService, reports: list[Message]) -> None:
        self.service = service
        self.authority = service.authority
        self.reports = reports

    def bearer(self, **changes: Any) -> str:
        made = token.make(
            self.authority.certificate, changes.get("key", self.authority.key), changes.get("valid_s", 60)
        )
        return f"Bearer {token.bearer_of(made, self.authority.certificate)}"

    def context(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        if pair is None:
            return client_context(self.authority.certificate_pem)
        return client_context(self.authority.certificate_pem, pair.certificate_pem, pair.key_pem)

    async def call(
        self, method: str, path: str, body: bytes | None = None, *, pair: KeyPair | None = None, **headers: str
    ) -> Answer:
        def exchange() -> Answer:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.service.port, timeout=10, context=self.context(pair)
            )
            try:
                connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
                response = connection.getresponse()
                return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            finally:
                connection.close()

        return await asyncio.to_thread(exchange)


@pytest.fixture
async def cloud(api: KubeApi, tmp_path: Path) -> AsyncIterator[Cloud]:
    reports: list[Message] = []
    bus = Bus()
    bus.register("taskmanager", "taskmanager", reports.append)
    await api.create(NODE, "", b'{"metadata":{"name":"e1"}}')
    async with certificate_service(api, tmp_path, bus) as service:
        yield Cloud(service, reports)


async def test_ca_is_given_to_anybody_as_der(cloud: Cloud) -> None:
    answer = await cloud.call("GET", "/ca.crt")
    assert (answer.status, answer.body) == (200, cloud.authority.certificate)
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_node_with_a_token_gets_its_certificate(cloud: Cloud) -> None:
    csr, key = request.make("e9")
    answer = await cloud.call("GET", "/edge.crt", csr, Authorization=cloud.bearer(), NodeName="e9")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    facts = request.facts(answer.body, key)
    assert (facts.subject.common_name, facts.subject.organizations) == ("system:node:e9", ("system:nodes",))
    assert 364.9 < (facts.not_after - time.time()) / 86400 <= 365
    assert is_issued_by(answer.body, cloud.authority.certificate)
    certificate = x509.load_der_x509_certificate(answer.body)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


async def test_node_renews_with_its_certificate_and_without_a_token(cloud: Cloud) -> None:
    pair = cloud.authority.issue_client("system:node:e9", ["system:nodes"])
    csr, key = request.make("e9")
    answer = await cloud.call("GET", "/edge.crt", csr, pair=pair, NodeName="e9")
    assert answer.status == 200
    assert request.facts(answer.body, key).subject.node == "e9"


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        (
            "Bearer bad",
            "token validation failure, err: token is malformed: token contains an invalid number of segments",
        ),
        ("", "token validation failure, token is empty"),
        ("Bearer", "token validation failure, token cannot be split"),
        ("Bearer a b", "token validation failure, token cannot be split"),
        ("expired", "token validation failure, err: token has invalid claims: token is expired"),
        ("forged", "token validation failure, err: token signature is invalid: signature is invalid"),
    ],
)
async def test_wrong_token_is_refused(cloud: Cloud, authorization: str, text: str) -> None:
    made = {
        "expired": lambda: cloud.bearer(valid_s=-1),
        "forged": lambda: cloud.bearer(key=b"another key"),
    }
    given = made[authorization]() if authorization in made else authorization
    csr, _ = request.make("e9")
    headers = {"Authorization": given} if given else {}
    answer = await cloud.call("GET", "/edge.crt", csr, NodeName="e9", **headers)
    assert (answer.status, answer.body.decode()) == (401, text)
    assert answer.headers["content-type"].startswith("text/plain")


async def test_token_does_not_buy_the_certificate_of_another_node(cloud: Cloud) -> None:
    csr, _ = request.make("victim")
    answer = await cloud.call("GET", "/edge.crt", csr, Authorization=cloud.bearer(), NodeName="e9")
    assert answer.status == 500
    assert answer.body.startswith(b"failed to sign certs for edgenode e9, err: certificate request is for")


async def test_certificate_of_one_node_does_not_renew_another(cloud: Cloud) -> None:
    pair = cloud.authority.issue_client("system:node:e9", ["system:nodes"])
    csr, _ = request.make("victim")
    answer = await cloud.call("GET", "/edge.crt", csr, pair=pair, NodeName="victim", Authorization=cloud.bearer())
    assert answer.status == 401
    assert answer.body.startswith(b"failed to verify the certificate for edgenode: victim, err: ")


@pytest.mark.parametrize(
    ("common_name", "organization"),
    [("system:node:e9", "system:masters"), ("kubeedge.io", "KubeEdge"), ("e9", "system:nodes")],
)
async def test_certificate_that_is_no_nodes_renews_nothing(cloud: Cloud, common_name: str, organization: str) -> None:
    pair = cloud.authority.issue_client(common_name, [organization])
    csr, _ = request.make("e9")
    assert (await cloud.call("GET", "/edge.crt", csr, pair=pair, NodeName="e9")).status == 401


async def test_certificate_of_a_foreign_ca_or_past_its_end_ends_the_handshake(cloud: Cloud) -> None:
    csr, _ = request.make("e9")
    for pair in (
        Authority.create().issue_client("system:node:e9", ["system:nodes"]),
        cloud.authority.issue_client("system:node:e9", ["system:nodes"], days=0),
    ):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await cloud.call("GET", "/edge.crt", csr, pair=pair, NodeName="e9", Authorization=cloud.bearer())


def csr_of(*attributes: tuple[x509.ObjectIdentifier, str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    built = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.DER)


CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741 - the names of X.500


@pytest.mark.parametrize(
    "csr",
    [
        b"",
        b"garbage",
        csr_of((O, "system:nodes")),
        csr_of((O, "system:masters"), (CN, "system:node:e9")),
        csr_of((O, "system:nodes"), (O, "system:masters"), (CN, "system:node:e9")),
        csr_of((CN, "system:node:e9")),
        csr_of((O, "system:nodes"), (CN, "system:node:e9"), (CN, "system:node:other")),
        request.make("e9")[0][:-3] + b"\x00\x00\x00",
    ],
)
async def test_request_that_asks_for_something_else_is_not_signed(cloud: Cloud, csr: bytes) -> None:
    answer = await cloud.call("GET", "/edge.crt", csr, Authorization=cloud.bearer(), NodeName="e9")
    assert answer.status == 500
    assert answer.body.startswith(b"failed to sign certs for edgenode e9, err: ")


@pytest.mark.parametrize(("usages", "status"), [("[2]", 200), ("[1]", 500), ("[2,1]", 500), ("[]", 500), ("x", 500)])
async def test_only_client_authentication_is_signed(cloud: Cloud, usages: str, status: int) -> None:
    csr, _ = request.make("e9")
    answer = await cloud.call("GET", "/edge.crt", csr, Authorization=cloud.bearer(), NodeName="e9", ExtKeyUsages=usages)
    assert answer.status == status


async def test_request_of_more_than_a_mebibyte_is_refused(cloud: Cloud) -> None:
    answer = await cloud.call("GET", "/edge.crt", b"x" * (1 << 20) + b"x", Authorization=cloud.bearer(), NodeName="e9")
    assert answer.status == 500
    assert b"longer than 1 MiB" in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nothing", 404, b"404: Page Not Found"),
        ("GET", "/node/", 404, b"404: Page Not Found"),
        ("POST", "/ca.crt", 405, b"405: Method Not Allowed"),
        ("GET", "/nodeupgrade", 405, b"405: Method Not Allowed"),
        ("GET", "/node/e1", 200, b"Node found"),
        ("GET", "/node/e2", 404, b"Node not found"),
        ("GET", "/node/..%2f..", 404, b"404: Page Not Found"),
        ("GET", "/node/UPPER", 404, b"Node not found"),
    ],
)
async def test_other_paths_answer_as_upstream(cloud: Cloud, method: str, path: str, status: int, body: bytes) -> None:
    answer = await cloud.call(method, path)
    assert (answer.status, answer.body) == (status, body)


async def test_wrong_method_names_the_right_one(cloud: Cloud) -> None:
    assert (await cloud.call("DELETE", "/ca.crt")).headers["allow"] == "GET"
    assert (await cloud.call("GET", "/nodeupgrade")).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("accept", "status"), [("*/*", 200), ("text/html, */*;q=0.1", 200), ("text/html", 406), ("application/json", 406)]
)
async def test_accept_must_allow_anything(cloud: Cloud, accept: str, status: int) -> None:
    assert (await cloud.call("GET", "/ca.crt", Accept=accept)).status == status


async def test_report_reaches_the_task_manager(cloud: Cloud) -> None:
    body = orjson.dumps({"nodename": "e1", "Event": "Upgrade", "ACTION": "Success", "Extra": 1})
    answer = await cloud.call("POST", "/task/upgrade/name/t1/node/e1/status", body)
    assert (answer.status, answer.body) == (200, b"ok")
    (message,) = cloud.reports
    assert (message.operation, message.resource) == ("upgrade", "task/t1/node/e1")
    assert orjson.loads(message.content)["Event"] == "Upgrade"
    assert orjson.loads(message.content)["NodeName"] == "e1"


@pytest.mark.parametrize(
    ("status", "event", "action"),
    [
        ("upgrade_success", "Upgrade", "Success"),
        ("upgrade_failed_rollback_success", "Rollback", "Success"),
        ("upgrade_failed_rollback_failed", "Rollback", "Failure"),
    ],
)
async def test_upgrade_result_reaches_the_task_manager(cloud: Cloud, status: str, event: str, action: str) -> None:
    body = orjson.dumps({"UpgradeID": "u1", "NodeName": "e1", "Status": status})
    assert (await cloud.call("POST", "/nodeupgrade", body)).body == b"ok"
    (message,) = cloud.reports
    assert message.resource == "task/u1/node/e1"
    content = orjson.loads(message.content)
    assert (content["Event"], content["Action"]) == (event, action)


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"Event":1}'])
async def test_report_that_cannot_be_read_is_a_bad_request(cloud: Cloud, body: bytes) -> None:
    for path in ("/nodeupgrade", "/task/upgrade/name/t/node/e1/status"):
        answer = await cloud.call("POST", path, body)
        assert answer.status == 400
        assert answer.body.startswith(b"failed to unmarshal task info: ")
    assert cloud.reports == []


async def test_node_cannot_report_for_another(cloud: Cloud) -> None:
    pair = cloud.authority.issue_client("system:node:e9", ["system:nodes"])
    assert (await cloud.call("POST", "/task/upgrade/name/t/node/e1/status", b"{}", pair=pair)).status == 401
    assert (await cloud.call("POST", "/task/upgrade/name/t/node/e9/status", b"{}", pair=pair)).status == 200


async def test_reports_can_be_closed_to_peers_without_a_certificate(api: KubeApi, tmp_path: Path) -> None:
    async with certificate_service(api, tmp_path, require_node_certificate=True) as service:
        cloud = Cloud(service, [])
        assert (await cloud.call("GET", "/node/e1")).status == 401
        assert (await cloud.call("POST", "/task/upgrade/name/t/node/e9/status", b"{}")).status == 401
        assert (await cloud.call("GET", "/ca.crt")).status == 200
        pair = cloud.authority.issue_client("system:node:e9", ["system:nodes"])
        assert (await cloud.call("GET", "/node/e1", pair=pair)).status == 404
