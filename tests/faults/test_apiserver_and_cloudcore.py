"""What the embedded API and cloudcore say when they cannot start, and what they keep when their disk is full."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kubeedge.demo import configuration
from kubeedge.demo.kubectl import Kubectl, KubectlError
from kubeedge.demo.program import Program
from tests.faults.disks import disk
from tests.sites import Log, Site, ended, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE_BYTES = 4096


class Api:
    """An embedded API in a folder of its own."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.database = folder / "state.db"
        kubeconfig = folder / "admin.kubeconfig"
        self.kubectl = Kubectl(kubeconfig)
        arguments = ["--data-dir", str(folder), "--port", str(configuration.free_ports().api)]
        self.program = Program("kubeedge-apiserver", "kubeedge.apiserver", arguments, logs / "apiserver.log")

    async def start(self) -> Log:
        log = Log(self.program.log_path)
        await self.program.start()
        return log

    async def serve(self) -> Log:
        log = await self.start()
        await log.says("serving url=")
        return log


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: b"garbage" * 1000, "file is not a database"),
        (lambda content: content[:PAGE_BYTES] + b"\xff" * (len(content) - PAGE_BYTES), "damaged"),
        (lambda content: content[: len(content) // 2], "damaged"),
    ],
    ids=["garbage", "pages", "cut"],
)
async def test_a_damaged_database_of_the_api_is_told_and_left_as_it_is(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    api = Api(tmp_path, tmp_path)
    await api.serve()
    await api.program.stop()
    (database,) = tmp_path.glob("*.db")
    content = damage(database.read_bytes())
    database.write_bytes(content)
    log = await api.start()
    assert await ended(api.program) == 1
    (line,) = log.lines("ERROR", "cannot start")
    assert str(database) in line
    assert reason in line
    assert "Traceback" not in log.text
    assert database.read_bytes() == content


async def test_a_second_api_on_the_same_data_ends_and_says_why(site: Site) -> None:
    api = Api(site.folder / "api", site.folder / "api")
    log = await api.start()
    assert await ended(api.program) == 1
    (line,) = log.lines("ERROR", "cannot start", "database is in use")
    assert str(site.api_program.pid) in line


async def test_a_port_that_is_taken_is_told(site: Site, tmp_path: Path) -> None:
    arguments = ["--data-dir", str(tmp_path), "--port", str(site.ports.api)]
    program = Program("kubeedge-apiserver", "kubeedge.apiserver", arguments, tmp_path / "apiserver.log")
    log = Log(program.log_path)
    await program.start()
    assert await ended(program) == 1
    (line,) = log.lines("ERROR", "cannot start", "in use")
    assert str(site.ports.api) in line
    assert "Traceback" not in log.text


@pytest.mark.root
async def test_an_api_on_a_full_disk_promises_nothing_that_it_does_not_keep(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as room:
        api = Api(room.folder, tmp_path)
        log = await api.serve()
        try:
            await api.kubectl("create", "configmap", "before", "--from-literal=a=b")
            room.fill()
            # What fits into the log's last page may still be kept; then nothing more.
            kept, refusals = ["before"], []
            for number in range(100):
                try:
                    await api.kubectl("create", "configmap", f"c{number}", "--from-literal=a=" + "x" * 5000)
                    kept.append(f"c{number}")
                except KubectlError as error:
                    refusals.append(str(error))
                if len(refusals) == 3:
                    break
            assert len(refusals) == 3
            assert "full" in refusals[-1], refusals
            await log.says("transaction failed", "full")
            assert await names(api) == sorted(kept)
            room.free()
            await until(lambda: created(api, "after"))
            assert await names(api) == sorted([*kept, "after"])
            os.kill(api.program.pid, signal.SIGKILL)
            await api.program.ended()
            await api.serve()
            assert await names(api) == sorted([*kept, "after"])
            assert "Traceback" not in log.text
        finally:
            await api.program.stop()


async def names(api: Api) -> list[str]:
    """Return the names of all ConfigMaps that people made."""
    output = await api.kubectl("get", "configmaps", "--output=name")
    found = [line.removeprefix("configmap/") for line in output.split()]
    return sorted(name for name in found if name != "kube-root-ca.crt")


async def created(api: Api, name: str) -> bool:
    try:
        await api.kubectl("create", "configmap", name)
    except KubectlError:
        return False
    return True


@pytest.mark.parametrize(
    ("kubeconfig", "reason"),
    [
        (None, "does not exist"),
        ("", "is no kubeconfig: a mapping was expected"),
        ("- a\n- list\n", ""),
        ("{", ""),
        ("\x00\x01", ""),
        ("current-context: nowhere\n", "contexts has no context 'nowhere'"),
        ("apiVersion: v1\nclusters: 7\ncurrent-context: x\n", ""),
    ],
    ids=["missing", "empty", "list", "cut", "binary", "foreign", "wrong type"],
)
async def test_cloudcore_names_a_kubeconfig_that_it_cannot_use(
    tmp_path: Path, kubeconfig: str | None, reason: str
) -> None:
    path = tmp_path / "kubeconfig"
    if kubeconfig is not None:
        path.write_text(kubeconfig)
    cloudcore, log = await cloudcore_with(tmp_path, path)
    assert await ended(cloudcore) == 1
    assert str(path) in log.text
    assert reason in log.text
    assert "Traceback" not in log.text


async def test_cloudcore_tells_an_api_that_does_not_know_it(site: Site, tmp_path: Path) -> None:
    document = yaml.safe_load(site.kubeconfig.read_text(encoding="utf-8"))
    document["users"][0]["user"] = {"token": "forged"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    cloudcore, log = await cloudcore_with(tmp_path, tmp_path / "kubeconfig")
    assert await ended(cloudcore) == 1
    (line,) = log.lines("ERROR", "cannot start")
    assert "Unauthorized" in line
    assert "Traceback" not in log.text


async def test_cloudcore_waits_for_an_api_that_is_away_and_says_so_once(tmp_path: Path) -> None:
    port = configuration.free_ports().api
    document = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    cloudcore, log = await cloudcore_with(tmp_path, tmp_path / "kubeconfig")
    await log.says("waiting for the Kubernetes API", str(port))
    await asyncio.sleep(2.5)
    assert cloudcore.is_running()
    assert len(log.lines("waiting for the Kubernetes API")) == 1
    await cloudcore.stop()
    assert cloudcore._process is not None
    assert cloudcore._process.returncode == 0


async def cloudcore_with(folder: Path, kubeconfig: Path) -> tuple[Program, Log]:
    """Start a cloudcore on free ports."""
    document = configuration.cloudcore(folder, configuration.free_ports(), kubeconfig)
    path = folder / "cloudcore.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    program = Program("cloudcore", "kubeedge.cloudcore", ["--config", str(path)], folder / "cloudcore.log")
    log = Log(program.log_path)
    await program.start()
    return program, log
