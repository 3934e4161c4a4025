"""Mappers as programs, and a new one from the template."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeedge.mapper.__main__ import main
from kubeedge.mapper.testing import FakeEdge
from tests.mapper.lamps import MODEL, lamp, prop, text

ROOT = Path(__file__).parents[2]
END_TIMEOUT_S = 15


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_new_mapper_works_and_its_test_passes(tmp_path: Path) -> None:
    made = run("-m", "kubeedge.mapper", "new", "lamp-post", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    project = tmp_path / "lamp-post"
    source = (project / "lamp_post.py").read_text()
    assert len([line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]) <= 30
    assert [one["kind"] for one in yaml.safe_load_all((project / "device.yaml").read_text())] == [
        "DeviceModel",
        "Device",
    ]
    passed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), folder=project)
    assert passed.returncode == 0, passed.stdout
    assert "1 passed" in passed.stdout
    assert run("lamp_post.py", "--help", folder=project).returncode == 0


@pytest.mark.parametrize("name", ["Lamp", "1lamp", "", "a b", "läuft", "x" * 41])
def test_name_that_cannot_be_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / name) if name else "/"]) == 1
    assert "is no name for a protocol" in capsys.readouterr().err


def test_project_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lamp").mkdir()
    (tmp_path / "lamp" / "mine").touch()
    assert main(["new", str(tmp_path / "lamp")]) == 1
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["new"], ["cloud"], ["new", "--help"]])
def test_command_that_is_none_is_told_which_there_are(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "modbus|opcua|simulator" in capsys.readouterr().err


def test_wrong_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("common: {http_port: soon}")
    assert main(["simulator", "--config-file", str(path)]) == 1
    assert re.search(r"config.yaml: common.http_port: expected", capsys.readouterr().err)
    assert main(["simulator", "--config-file", str(tmp_path / "none.yaml")]) == 1


async def test_simulator_runs_as_a_program(edge: FakeEdge, short_path: Path) -> None:
    model: dict[str, Any] = {
        "kind": "DeviceModel",
        "metadata": {"name": "lamp", "namespace": "default"},
        "spec": {"properties": [{"name": "power", "type": "INT", "accessMode": "ReadWrite"}]},
    }
    edge.add(text(model, lamp(prop("power", "5"))))
    path = short_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "grpc_server": {"socket_path": str(edge.mapper_path)},
                "common": {"edgecore_sock": str(edge.socket_path), "http_port": -1},
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kubeedge.mapper", "simulator", "--config-file", str(path)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await edge.reported("l1", "power", "5", observed="5")
    finally:
        process.terminate()
        async with asyncio.timeout(END_TIMEOUT_S):
            _, log = await process.communicate()
    assert process.returncode == 0
    words = log.decode()
    assert "starting mapper=simulator-mapper protocol=simulator" in words
    assert "device added device=default/l1" in words
    assert "ERROR" not in words
    assert not edge.mapper_path.exists()


@pytest.mark.parametrize(("command", "library"), [("modbus", "pymodbus"), ("opcua", "asyncua")])
def test_library_that_is_missing_is_named_with_its_extra(command: str, library: str, tmp_path: Path) -> None:
    script = f"import sys; sys.modules[{library!r}] = None; from kubeedge.mapper.__main__ import main; sys.exit(main())"
    said = run("-c", script, command, folder=tmp_path)
    assert said.returncode == 1
    assert f"error: {library} is missing: pip install 'kubeedge[{command}]'" in said.stderr


def test_edgecore_is_no_part_of_a_mapper(tmp_path: Path) -> None:
    script = "import sys, kubeedge.mapper, kubeedge.mapper.__main__; print(*sys.modules)"
    modules = run("-c", script, folder=tmp_path).stdout.split()
    assert "kubeedge.mapper.worker" in modules
    strangers = (
        "kubeedge.edgecore",
        "kubeedge.cloudcore",
        "kubeedge.store",
        "kubernetes",
        "gmqtt",
        "pymodbus",
        "asyncua",
    )
    assert [name for name in modules if name.startswith(strangers)] == []


async def test_mapper_of_the_tutorial_works(edge: FakeEdge) -> None:
    page = (ROOT / "docs" / "mappers.md").read_text()
    source = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Lamp" in block)
    assert len(source.splitlines()) <= 36
    names: dict[str, Any] = {"__name__": "tutorial"}
    exec(compile(source, "mappers.md", "exec"), names)
    kept = {"level": "10"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode().split():
            if line[0] == "set":
                kept[line[1]] = line[2]
            writer.write(f"{kept[line[1]]}\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    config = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}
    where = {"visitors": {"configData": {"command": "level"}}}
    edge.add(text(MODEL, lamp(prop("brightness", "80", **where), config=config)))
    async with server:
        async with edge.running(names["Lamp"]):
            await edge.reported("l1", "brightness", "80", observed="80")
            await edge.has_state("l1", "online")
        assert kept == {"level": "80"}
