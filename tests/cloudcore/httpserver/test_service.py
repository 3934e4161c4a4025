"""What cloudcore's listeners show their peers."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeedge.bus import Bus
from kubeedge.cloudcore.httpserver.service import CertificateService, Settings
from kubeedge.kube.api import KubeApi
from kubeedge.pki.authority import Authority
from tests.certificates import sources


@pytest.mark.parametrize("signs_itself", [True, False])
async def test_the_ca_stands_behind_the_certificate_of_the_server_that_it_has_signed(
    api: KubeApi, tmp_path: Path, signs_itself: bool
) -> None:
    authority = Authority.create()
    server = (authority if signs_itself else Authority.create()).sign_server(["127.0.0.1"])
    authority.pair.write(tmp_path / "rootCA.crt", tmp_path / "rootCA.key")
    server.write(tmp_path / "server.crt", tmp_path / "server.key")
    service = CertificateService(api, Bus(), Settings(sources(tmp_path)))
    await service.prepare()
    credentials = service.hub_credentials()
    assert credentials.certificate == server.certificate_pem + (authority.certificate_pem if signs_itself else b"")
    assert credentials.context().cert_store_stats()["x509_ca"] == 1
    assert service.tunnel_context().cert_store_stats()["x509_ca"] == 1
