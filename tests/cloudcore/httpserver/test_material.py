"""Where cloudcore's keys come from at start, and what is written to the secrets (spec 02 §1.1)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.cloudcore.httpserver.material import Material, MaterialError, SecretStore, refresh_token
from kubeedge.kube.api import ApiError, KubeApi
from kubeedge.kube.kinds import SECRET
from kubeedge.pki import secrets, token
from kubeedge.pki.authority import Authority, covers, is_issued_by
from kubeedge.pki.pem import PKCS8_KEY, to_pem
from tests.certificates import sources


async def data(api: KubeApi, name: str) -> dict[str, bytes]:
    document = orjson.loads(await api.get(SECRET, "kubeedge", name))
    assert document["type"] == "Opaque"
    return {key: base64.b64decode(value) for key, value in document["data"].items()}


async def test_empty_cluster_gets_a_ca_and_a_server_certificate(api: KubeApi, tmp_path: Path) -> None:
    material = await Material.prepare(api, sources(tmp_path, dns_names=["", "cloud.example"]))
    authority = material.authority
    assert await data(api, "casecret") == {"cadata": authority.certificate, "cakeydata": authority.key}
    server = material.server
    assert await data(api, "cloudcoresecret") == {"cloudcoredata": server.certificate, "cloudcorekeydata": server.key}
    assert is_issued_by(server.certificate, authority.certificate)
    assert covers(server.certificate, ["127.0.0.1"], ["cloud.example"])


async def test_second_start_takes_what_the_first_has_made(api: KubeApi, tmp_path: Path) -> None:
    first = await Material.prepare(api, sources(tmp_path))
    second = await Material.prepare(api, sources(tmp_path))
    assert second.authority.pair == first.authority.pair
    assert second.server == first.server


@pytest.mark.parametrize("change", [{"addresses": ["127.0.0.1", "192.0.2.7"]}, {"dns_names": ["new.example"]}])
async def test_server_certificate_is_made_anew_when_it_does_not_name_a_new_address(
    api: KubeApi, tmp_path: Path, change: dict[str, Any]
) -> None:
    first = await Material.prepare(api, sources(tmp_path))
    second = await Material.prepare(api, sources(tmp_path, **change))
    assert second.authority.pair == first.authority.pair
    assert second.server != first.server
    assert covers(second.server.certificate, change.get("addresses", []), change.get("dns_names", []))
    assert (await data(api, "cloudcoresecret"))["cloudcoredata"] == second.server.certificate


async def test_server_certificate_of_another_ca_is_made_anew(api: KubeApi, tmp_path: Path) -> None:
    stranger = Authority.create().sign_server(["127.0.0.1"])
    await SecretStore(api).ensure_namespace()
    await SecretStore(api).create(secrets.CLOUDCORE.build(stranger))
    material = await Material.prepare(api, sources(tmp_path))
    assert is_issued_by(material.server.certificate, material.authority.certificate)


async def test_files_of_an_operator_win_and_are_written_to_the_secrets(api: KubeApi, tmp_path: Path) -> None:
    await Material.prepare(api, sources(tmp_path))
    authority = Authority.create()
    server = authority.sign_server(["192.0.2.9"])
    authority.pair.write(tmp_path / "rootCA.crt", tmp_path / "rootCA.key")
    server.write(tmp_path / "server.crt", tmp_path / "server.key")
    material = await Material.prepare(api, sources(tmp_path))
    assert (material.authority.pair, material.server) == (authority.pair, server)
    assert await data(api, "casecret") == {"cadata": authority.certificate, "cakeydata": authority.key}
    assert (await data(api, "cloudcoresecret"))["cloudcoredata"] == server.certificate


@pytest.mark.parametrize("missing", ["rootCA.key", "rootCA.crt", "server.key", "server.crt"])
async def test_half_of_a_pair_ends_the_start_with_the_name_of_the_other(
    api: KubeApi, tmp_path: Path, missing: str
) -> None:
    authority = Authority.create()
    authority.pair.write(tmp_path / "rootCA.crt", tmp_path / "rootCA.key")
    authority.sign_server(["127.0.0.1"]).write(tmp_path / "server.crt", tmp_path / "server.key")
    (tmp_path / missing).write_text("nothing here")
    with pytest.raises(MaterialError, match=missing):
        await Material.prepare(api, sources(tmp_path))


async def test_ca_key_that_is_not_the_cas_ends_the_start(api: KubeApi, tmp_path: Path) -> None:
    Authority.create().pair.write(tmp_path / "rootCA.crt", tmp_path / "x.key")
    Authority.create().pair.write(tmp_path / "x.crt", tmp_path / "rootCA.key")
    with pytest.raises(MaterialError, match="does not belong to the CA"):
        await Material.prepare(api, sources(tmp_path))


async def test_secret_without_its_keys_ends_the_start(api: KubeApi, tmp_path: Path) -> None:
    await SecretStore(api).ensure_namespace()
    await SecretStore(api).create(secrets.build("casecret", {"cadata": b"x"}))
    with pytest.raises(MaterialError, match="no data under cakeydata"):
        await Material.prepare(api, sources(tmp_path))


async def test_replicas_that_start_together_use_one_ca(api: KubeApi, tmp_path: Path) -> None:
    class Late:
        """An API that another replica is quicker at: its CA is there when ours is to be created."""

        def __getattr__(self, name: str) -> Any:
            return getattr(api, name)

        async def create(self, kind: Any, namespace: str, body: bytes) -> bytes:
            if orjson.loads(body)["metadata"]["name"] == "casecret" and not hasattr(self, "other"):
                self.other = Authority.create()
                await api.create(kind, namespace, secrets.CA.build(self.other.pair))
            return await api.create(kind, namespace, body)

    late = Late()
    material = await Material.prepare(late, sources(tmp_path))
    assert material.authority.pair == late.other.pair


async def test_ca_key_in_pkcs8_is_taken_and_keys_the_token(api: KubeApi, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    from kubeedge.pki.authority import load_key

    authority = Authority.create()
    pkcs8 = load_key(authority.key).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    authority.pair.write(tmp_path / "rootCA.crt", tmp_path / "rootCA.key")
    (tmp_path / "rootCA.key").write_bytes(to_pem(PKCS8_KEY, pkcs8))
    material = await Material.prepare(api, sources(tmp_path))
    await refresh_token(SecretStore(api), material.authority, 12)
    text = (await data(api, "tokensecret"))["tokendata"].decode()
    token.verify(token.bearer_of(text, authority.certificate), pkcs8)


async def test_token_is_replaced_and_what_else_stands_in_its_secret_is_kept(api: KubeApi, tmp_path: Path) -> None:
    store = SecretStore(api)
    authority = (await Material.prepare(api, sources(tmp_path))).authority
    await store.write("tokensecret", secrets.build_token("old"))
    document = orjson.loads(await api.get(SECRET, "kubeedge", "tokensecret"))
    document["metadata"]["labels"] = {"team": "edge"}
    await api.update(SECRET, "kubeedge", "tokensecret", orjson.dumps(document))
    await refresh_token(store, authority, 12)
    after = orjson.loads(await api.get(SECRET, "kubeedge", "tokensecret"))
    assert after["metadata"]["labels"] == {"team": "edge"}
    assert secrets.read_token(orjson.dumps(after)).startswith(token.ca_hash(authority.certificate))


async def test_write_tries_again_when_another_writer_was_quicker(api: KubeApi) -> None:
    class Racing:
        conflicts = 2

        def __getattr__(self, name: str) -> Any:
            return getattr(api, name)

        async def update(self, *arguments: Any) -> bytes:
            if self.conflicts:
                self.conflicts -= 1
                raise ApiError(409, "Conflict", "changed", b"{}")
            return await api.update(*arguments)

    store = SecretStore(Racing())
    await store.ensure_namespace()
    await store.write("tokensecret", secrets.build_token("a"))
    await store.write("tokensecret", secrets.build_token("b"))
    assert await data(api, "tokensecret") == {"tokendata": b"b"}
