from __future__ import annotations

import asyncio
import ssl
import time

import orjson
import pytest

from kubeedge.apiserver import http
from kubeedge.apiserver.app import ApiServer
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube.api import ApiUnavailableError
from kubeedge.kube.kinds import CONFIG_MAP, POD, SERVICE_ACCOUNT
from kubeedge.pki.authority import Authority
from kubeedge.pki.tls import client_context
from tests.apiserver.https import Https

MAPS = "/api/v1/namespaces/default/configmaps"


async def test_nobody_may_see_more_than_health_and_version(https: Https) -> None:
    for path in ("/version", "/healthz", "/livez", "/readyz"):
        assert (await https.call("GET", path, context=https.as_nobody)).status == 200
    for path in ("/api", "/metrics", "/openapi/v3", "/nothing", MAPS):
        response = await https.call("GET", path, context=https.as_nobody)
        assert response.status == 403
        assert response.json()["reason"] == "Forbidden"
        assert '"system:anonymous"' in response.json()["message"]


async def test_certificate_of_a_foreign_authority_ends_the_handshake(https: Https) -> None:
    pair = Authority.create("stranger").issue_client("admin", ("system:masters",))
    context = client_context(https.ca, pair.certificate_pem, pair.key_pem)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await https.call("GET", MAPS, context=context)


async def test_kubeconfig_is_for_its_owner_only(bare: ApiServer) -> None:
    assert bare.kubeconfig.stat().st_mode & 0o777 == 0o600


async def test_forged_and_garbled_tokens_are_refused(https: Https, bare: ApiServer) -> None:
    good = await token(bare.api)
    head, payload, signature = good.split(".")
    forged = [
        "nonsense",
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}.{payload[:-2]}.{signature}",
        "..",
        "a.b.c",
    ]
    for text in forged:
        response = await https.call("GET", "/api", context=https.as_nobody, authorization=f"Bearer {text}")
        assert response.status == 401, text
    assert (await https.call("GET", "/api", context=https.as_nobody, authorization=f"Bearer {good}")).status == 200


async def token(api: LocalApi, **spec: object) -> str:
    body = orjson.dumps({"spec": spec})
    answer = orjson.loads(await api.create(SERVICE_ACCOUNT, "default", body, name="default", subresource="token"))
    text: str = answer["status"]["token"]
    return text


async def test_token_dies_with_the_pod_that_it_is_bound_to(https: Https, bare: ApiServer) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await bare.api.create(POD, "default", orjson.dumps(pod))
    bound = await token(bare.api, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    authorization = f"Bearer {bound}"
    review = {"spec": {"token": bound}}
    answer = (await https.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)).json()
    assert answer["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert (await https.call("GET", "/api", context=https.as_nobody, authorization=authorization)).status == 200
    await bare.api.delete(POD, "default", "p")
    assert (await https.call("GET", "/api", context=https.as_nobody, authorization=authorization)).status == 401


async def test_token_dies_in_time(https: Https, bare: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await token(bare.api, expirationSeconds=600)
    clock = time.time() + 601
    tokens = bare.engine._reviews._tokens
    assert tokens is not None
    monkeypatch.setattr(tokens, "_now_s", lambda: clock)
    assert (await https.call("GET", "/api", context=https.as_nobody, authorization=f"Bearer {text}")).status == 401


async def test_only_masters_may_act_as_others(https: Https, bare: ApiServer) -> None:
    reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    review = await https.call("POST", reviews, {}, impersonate_user="jane", impersonate_group="developers")
    assert review.json()["status"]["userInfo"] == {
        "username": "jane",
        "groups": ["developers", "system:authenticated"],
    }
    bearer = f"Bearer {await token(bare.api)}"
    response = await https.call("GET", MAPS, context=https.as_nobody, impersonate_user="jane", authorization=bearer)
    assert response.status == 403 and 'cannot impersonate resource "users"' in response.json()["message"]


async def test_body_that_is_too_large_is_refused(https: Https) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"k":"' + b"x" * http.MAX_BODY_BYTES + b'"}}'
    response = await https.call("POST", MAPS, body)
    assert response.status == 413
    assert response.json()["reason"] == "RequestEntityTooLarge"


async def test_what_is_no_http_is_refused_and_counted(https: Https) -> None:
    reader, writer = await https.open()
    writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    assert (await reader.read(-1)).startswith(b"HTTP/1.1 400")
    writer.close()
    metrics = (await https.call("GET", "/metrics")).body.decode()
    assert 'kubeedge_https_refused_total{server="apiserver"}' in metrics


async def test_one_connection_carries_many_requests(https: Https) -> None:
    reader, writer = await https.open()
    for number in range(3):
        await https.send(writer, "POST", MAPS, {"metadata": {"name": f"c{number}"}})
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


async def test_slow_request_ends_with_a_timeout(https: Https, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT_S", 0.2)
    _, writer = await https.open()
    writer.write(f"POST {MAPS} HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n".encode() + b"{")
    reader, writer = await https.open()
    writer.write(f"POST {MAPS} HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n".encode() + b"{")
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 504")
    writer.close()


async def test_failing_disk_is_an_internal_error_and_the_server_goes_on(https: Https, bare: ApiServer) -> None:
    database = bare.storage._database
    pages = await database.write(lambda connection: connection.execute("PRAGMA page_count").get)
    await database.write(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").get)
    body = {"metadata": {"name": "big"}, "data": {"k": "x" * 200_000}}
    response = await https.call("POST", MAPS, body)
    assert response.status == 500 and "full" in response.json()["message"]
    with pytest.raises(ApiUnavailableError, match="full"):
        await bare.api.create(CONFIG_MAP, "default", orjson.dumps(body))
    assert (await https.call("GET", f"{MAPS}/big")).status == 404
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count=1000000").get)
    assert (await https.call("POST", MAPS, body)).status == 201


async def test_yaml_is_read_and_written(https: Https) -> None:
    body = b"metadata: {name: y}\ndata: {k: v}\n"
    assert (await https.call("POST", MAPS, body, content_type="application/yaml")).status == 201
    response = await https.call("GET", f"{MAPS}/y", accept="application/yaml")
    assert response.headers["content-type"] == "application/yaml"
    assert response.body.startswith(b"apiVersion: v1\ndata:\n  k: v\nkind: ConfigMap\n")


async def test_deeply_nested_body_is_a_bad_request(https: Https) -> None:
    body = b'{"metadata":{"name":"a"},"data":' + b'{"k":' * 990 + b"1" + b"}" * 991
    assert (await https.call("POST", MAPS, body)).status == 400
