from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.apiserver.https import Https

START_TIMEOUT_S = 20
MAPS = "/api/v1/namespaces/default/configmaps"


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kubeedge.apiserver", *arguments, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(*arguments: str) -> tuple[int | None, str]:
    async with started(*arguments) as process:
        async with asyncio.timeout(START_TIMEOUT_S):
            _, err = await process.communicate()
        return process.returncode, err.decode()


async def until_serving(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    log = ""
    async with asyncio.timeout(START_TIMEOUT_S):
        async for line in process.stderr:
            log += line.decode()
            if b" serving " in line:
                return log
    raise AssertionError(log)


async def test_objects_outlive_sigterm_and_sigkill(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    options = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--kubeconfig", str(kubeconfig))
    async with started(*options) as process:
        log = await until_serving(process)
        assert "one machine" in log
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        assert (await Https(kubeconfig).call("POST", MAPS, {"metadata": {"name": "first"}})).status == 201
        # An open watch does not hold the server up.
        _, writer = await Https(kubeconfig).open()
        await Https(kubeconfig).send(writer, "GET", f"{MAPS}?watch=1")
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 0
        writer.close()
    async with started(*options) as process:
        await until_serving(process)
        assert (await Https(kubeconfig).call("POST", MAPS, {"metadata": {"name": "second"}})).status == 201
        process.kill()
    async with started(*options) as process:
        await until_serving(process)
        items = (
            await Https(kubeconfig).call("GET", f"{MAPS}?fieldSelector=metadata.name%21%3Dkube-root-ca.crt")
        ).json()
        assert [item["metadata"]["name"] for item in items["items"]] == ["first", "second"]


async def test_second_program_on_the_same_folder_ends_with_the_reason(tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path), "--port", "0")
    async with started(*options) as process:
        await until_serving(process)
        code, log = await ended(*options)
        assert code == 1
        assert "cannot start" in log and "in use" in log and "Traceback" not in log


async def test_damaged_database_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_bytes(os.urandom(8192))
    code, log = await ended("--data-dir", str(tmp_path), "--port", "0")
    assert code == 1
    assert "objects.db" in log and "damaged" in log and "Traceback" not in log


async def test_port_in_use_ends_with_the_reason(tmp_path: Path) -> None:
    async with started(
        "--data-dir", str(tmp_path / "a"), "--port", "0", "--kubeconfig", str(tmp_path / "k")
    ) as process:
        await until_serving(process)
        port = str(Https(tmp_path / "k").port)
        code, log = await ended("--data-dir", str(tmp_path / "b"), "--port", port)
        assert code == 1
        assert "address already in use" in log and "Traceback" not in log


async def test_version_and_help_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert (await ended("--version"))[0] == 0
    assert (await ended("--help"))[0] == 0
    out = capfd.readouterr().out
    assert "Kubernetes v1." in out and "for one machine" in out
