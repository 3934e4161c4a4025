"""The edge's way to its certificate and to the next one, against a real port 10002 (spec 02 §1.4-1.6, §1.9)."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kubeedge.cloudcore.httpserver.service import CertificateService
from kubeedge.edgecore.certificate import keeper as module
from kubeedge.edgecore.certificate.application import NEXT, carry_out
from kubeedge.edgecore.certificate.keeper import CertificateError, CertificateKeeper, Settings
from kubeedge.edgecore.certificate.order import Order, Report
from kubeedge.pki import request, token
from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import KeyPair, read_file, write_file
from tests.certificates import certificate_service
from tests.embedded import embedded_apiserver


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[CertificateService]:
    async with (
        embedded_apiserver(tmp_path / "api", "kubeedge") as server,
        certificate_service(server.api, tmp_path / "cloud") as service,
    ):
        yield service


def settings(folder: Path, port: int, **changes: Any) -> Settings:
    files = {
        "ca_file": folder / "ca" / "rootCA.crt",
        "certificate_file": folder / "certs" / "server.crt",
        "key_file": folder / "certs" / "server.key",
    }
    return Settings(**{"node": "e1", "url": f"https://127.0.0.1:{port}", **files, **changes})


def join_token(service: CertificateService, valid_s: float = 60) -> str:
    return token.make(service.authority.certificate, service.authority.key, valid_s)


def order(settings: Settings, action: str = "ensure", token: str = "") -> Order:
    files = (str(settings.ca_file), str(settings.certificate_file), str(settings.key_file))
    return Order(action, settings.node, settings.url, *files, token)


async def do(settings: Settings, action: str = "ensure", token: str = "", now: float | None = None) -> Report:
    """Carry an order out in a thread, as its process would."""
    return await asyncio.to_thread(carry_out, order(settings, action, token), now)


def pair_of(settings: Settings) -> KeyPair:
    return KeyPair.read(settings.certificate_file, settings.key_file)


async def test_node_with_a_token_gets_its_files_in_a_process_of_its_own(
    cloud: CertificateService, tmp_path: Path
) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    keeper = CertificateKeeper(where, lambda: join_token(cloud))
    assert await keeper.ensure() is True
    assert read_file(where.ca_file) == cloud.authority.certificate
    pair = pair_of(where)
    assert request.facts(pair.certificate, pair.key).subject.node == "e1"
    for path in (where.ca_file, where.certificate_file, where.key_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keeper.ssl_context().check_hostname
    assert await keeper.ensure() is False
    assert pair_of(where) == pair


def test_keeper_does_not_bring_cryptography_into_the_process() -> None:
    program = "import sys, kubeedge.edgecore.certificate.keeper; print('cryptography' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


async def test_token_never_stands_on_a_command_line(
    cloud: CertificateService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[Any, ...]] = []
    start = asyncio.create_subprocess_exec

    async def remember(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        commands.append(command)
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", remember)
    await CertificateKeeper(settings(tmp_path / "edge", cloud.port), lambda: join_token(cloud)).ensure()
    assert commands == [(sys.executable, "-m", "kubeedge.edgecore.certificate")]


async def test_first_start_without_a_token_says_what_is_missing(cloud: CertificateService, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"there is no certificate yet .*give a join token"):
        await CertificateKeeper(settings(tmp_path / "edge", cloud.port), lambda: "").ensure()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda cloud: join_token(cloud, -1), "answered 401: .*token is expired"),
        (lambda cloud: join_token(cloud)[:-4] + "AAAA", "answered 401: .*signature is invalid"),
        (lambda cloud: "nonsense", "has 1 parts, expected are 4"),
        (
            lambda cloud: token.make(Authority.create().certificate, b"k", 60),
            "join token is for another cloud: it names the CA [0-9a-f]{64}, the cloud's CA is [0-9a-f]{64}",
        ),
    ],
)
async def test_refused_token_ends_the_first_start_with_the_reason(
    cloud: CertificateService, tmp_path: Path, make: Callable[[CertificateService], str], reason: str
) -> None:
    with pytest.raises(CertificateError, match=reason):
        await CertificateKeeper(settings(tmp_path / "edge", cloud.port), lambda: make(cloud)).ensure()
    assert not (tmp_path / "edge" / "ca").exists(), "a CA that nothing vouches for is not kept"


async def test_cloud_under_another_name_is_not_trusted(cloud: CertificateService, tmp_path: Path) -> None:
    where = settings(tmp_path / "edge", cloud.port, url=f"https://localhost:{cloud.port}")
    report = await do(where, token=join_token(cloud))
    assert report.outcome == "failed"
    assert "is not trusted: Hostname mismatch" in report.reason


async def test_cloud_that_cannot_be_reached_is_tried_again(
    cloud: CertificateService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    where = settings(tmp_path / "edge", port)
    assert not (await do(where, token=join_token(cloud))).is_final
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    keeper = CertificateKeeper(where, lambda: join_token(cloud))
    ensuring = asyncio.ensure_future(keeper.ensure())
    await asyncio.sleep(0.5)
    assert not ensuring.done()
    ensuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ensuring


def give(where: Settings, authority: Authority, node: str = "e1", days: int = 365) -> KeyPair:
    pair = authority.issue_client(f"system:node:{node}", ["system:nodes"], days)
    pair.write(where.certificate_file, where.key_file)
    write_file(where.ca_file, authority.certificate_pem)
    return pair


def spoil_nothing(where: Settings, cloud: CertificateService) -> None:
    give(where, cloud.authority)


def expire(where: Settings, cloud: CertificateService) -> None:
    give(where, cloud.authority, days=0)


def other_node(where: Settings, cloud: CertificateService) -> None:
    give(where, cloud.authority, "other")


def other_ca(where: Settings, cloud: CertificateService) -> None:
    give(where, Authority.create())
    write_file(where.ca_file, cloud.authority.certificate_pem)


def no_ca(where: Settings, cloud: CertificateService) -> None:
    give(where, cloud.authority)
    where.ca_file.unlink()


def wrong_key(where: Settings, cloud: CertificateService) -> None:
    give(where, cloud.authority)
    write_file(where.key_file, cloud.authority.issue_client("x").key_pem)


def garbage(where: Settings, cloud: CertificateService) -> None:
    give(where, cloud.authority)
    write_file(where.certificate_file, b"garbage")


SPOILED = [
    (expire, "the stored certificate ended on "),
    (other_node, "the stored certificate is for system:node:other, not for node e1"),
    (other_ca, "was not signed by the CA in "),
    (no_ca, "the cloud's CA certificate is missing"),
    (wrong_key, "private key does not belong to the certificate"),
    (garbage, "no PEM block found"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED)
async def test_pair_that_cannot_be_used_is_named_and_replaced_when_a_token_is_there(
    cloud: CertificateService, tmp_path: Path, spoil: Callable[[Settings, CertificateService], None], reason: str
) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    spoil(where, cloud)
    later = time.time() + 1
    report = await do(where, now=later)
    assert (report.outcome, report.is_final) == ("failed", True)
    assert reason in report.reason
    assert "give a join token" in report.reason
    assert (await do(where, token=join_token(cloud), now=later)).outcome == "obtained"
    pair = pair_of(where)
    assert request.facts(pair.certificate, pair.key).subject.node == "e1"
    assert (await do(where, now=later)).outcome == "usable"


async def test_node_that_had_a_certificate_waits_for_a_good_token(
    cloud: CertificateService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKEN_LOOK_S", 0.05)
    where = settings(tmp_path / "edge", cloud.port)
    expire(where, cloud)
    given = ""
    keeper = CertificateKeeper(where, lambda: given)
    ensuring = asyncio.ensure_future(keeper.ensure())
    await asyncio.sleep(1)
    assert not ensuring.done()
    given = join_token(cloud)
    assert await asyncio.wait_for(ensuring, 10) is True


async def test_token_of_a_new_cloud_replaces_ca_and_certificate(cloud: CertificateService, tmp_path: Path) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    give(where, Authority.create())
    report = await do(where, token=join_token(cloud))
    assert report.outcome == "obtained"
    assert "the cloud has a new CA" in report.warning
    assert read_file(where.ca_file) == cloud.authority.certificate


async def test_forgotten_token_of_another_cloud_does_no_harm(cloud: CertificateService, tmp_path: Path) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    pair = give(where, cloud.authority)
    report = await do(where, token=token.make(Authority.create().certificate, b"k", 60))
    assert report.outcome == "usable"
    assert "was not used" in report.warning
    assert pair_of(where) == pair


async def test_certificate_is_renewed_with_the_old_one_as_proof(cloud: CertificateService, tmp_path: Path) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    old = give(where, cloud.authority)
    report = await do(where, "rotate")
    assert report.outcome == "obtained"
    new = pair_of(where)
    assert new.certificate != old.certificate
    assert new.key != old.key


async def test_ended_certificate_is_not_renewed_without_a_token(cloud: CertificateService, tmp_path: Path) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    expire(where, cloud)
    await asyncio.sleep(1)
    assert (await do(where, "rotate")).outcome == "failed"


async def test_crash_between_the_two_files_of_a_new_pair_is_finished_at_the_next_start(
    cloud: CertificateService, tmp_path: Path
) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    give(where, cloud.authority)
    new = cloud.authority.issue_client("system:node:e1", ["system:nodes"])
    new.write(Path(f"{where.certificate_file}{NEXT}"), Path(f"{where.key_file}{NEXT}"))
    os.replace(f"{where.key_file}{NEXT}", where.key_file)
    assert (await do(where)).outcome == "usable"
    assert pair_of(where) == new


async def test_renewal_comes_in_time_and_is_told(cloud: CertificateService, tmp_path: Path) -> None:
    where = settings(tmp_path / "edge", cloud.port)
    old = give(where, cloud.authority)
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    now = time.time() + 250 * 86400
    keeper = CertificateKeeper(where, lambda: "", now=lambda: now, uniform=uniform)
    await keeper.ensure()
    rotated = asyncio.Event()
    running = asyncio.ensure_future(keeper.run(rotated.set))
    await asyncio.sleep(0.1)
    assert drawn == [(0.7, 0.9)]
    assert not rotated.is_set(), "70 % of 365 days are 255.5"
    running.cancel()
    now += 10 * 86400
    running = asyncio.ensure_future(keeper.run(rotated.set))
    await asyncio.wait_for(rotated.wait(), 10)
    assert pair_of(where) != old
    running.cancel()


async def test_renewal_is_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [Report("failed", "no")] * 6 + [Report("obtained", not_before=0, not_after=2e9)]
    pauses: list[float] = []

    async def carry(_: Order) -> Report:
        return reports.pop(0)

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    monkeypatch.setattr(module, "_carry_out", carry)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    keeper = CertificateKeeper(settings(tmp_path, 1), lambda: "", now=lambda: 1.0, uniform=lambda low, _: low)
    keeper._not_after = 2.0
    await keeper._rotate()
    assert pauses == [2, 4, 8, 16, 32, 32]


async def test_rotation_that_is_switched_off_does_nothing(tmp_path: Path) -> None:
    keeper = CertificateKeeper(settings(tmp_path, 1, rotate=False), lambda: "")
    await asyncio.wait_for(keeper.run(lambda: None), 1)


async def test_process_that_hangs_is_ended(
    cloud: CertificateService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROCESS_TIMEOUT_S", 0.01)
    report = await module._carry_out(order(settings(tmp_path / "edge", cloud.port)))
    assert report.outcome == "failed"
    assert "took longer" in report.reason


async def test_certificate_for_another_node_is_not_taken(
    cloud: CertificateService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Authority, "sign_client_csr", lambda self, *_: self.issue_client("system:node:x").certificate)
    report = await do(settings(tmp_path / "edge", cloud.port), token=join_token(cloud))
    assert report.outcome == "failed"
    assert report.is_final
