from __future__ import annotations

import asyncio
from dataclasses import astuple
from pathlib import Path

import pytest
import yaml

from kubeedge.config import cloudcore, edgecore
from kubeedge.demo import configuration, thermometer
from kubeedge.demo.device import SETPOINT_PATH
from kubeedge.demo.kubectl import Kubectl, KubectlError
from kubeedge.demo.program import Program, ProgramError
from kubeedge.demo.show import _Rate
from kubeedge.demo.site import DEVICE_EXAMPLE, EXAMPLE_PORT, EXAMPLES
from kubeedge.mapper import config as mapper
from kubeedge.mapper import manifest
from kubeedge.mapper.description import describe
from kubeedge.mapper.modbus.registers import point


def test_ports_differ() -> None:
    ports = astuple(configuration.free_ports())
    assert len(set(ports)) == len(ports)


def test_written_files_are_accepted_without_a_warning(tmp_path: Path) -> None:
    ports = configuration.free_ports()
    (tmp_path / "kubeconfig").write_text("")
    for module, document in (
        (cloudcore, configuration.cloudcore(tmp_path, ports, tmp_path / "kubeconfig")),
        (edgecore, configuration.edgecore(tmp_path, ports, "token")),
        (edgecore, configuration.edgecore(tmp_path, ports, "token", has_devices=True)),
        (mapper, configuration.mapper(tmp_path, ports)),
    ):
        path = tmp_path / "file.yaml"
        path.write_text(yaml.safe_dump(document))
        _, warnings = module.load(path)
        assert warnings == []


def test_files_of_the_device_example_are_what_they_say() -> None:
    _, warnings = mapper.load(EXAMPLES / "thermometer" / "config.yaml")
    assert warnings == []
    (device,), (model,) = manifest.read(DEVICE_EXAMPLE.read_text())
    described, problems = describe(device, model)
    assert problems == []
    # What the demo puts its own port in for, and what the steps count on.
    assert EXAMPLE_PORT in DEVICE_EXAMPLE.read_text()
    assert described.config["port"] == 5020
    places = {name: point(one).address for name, one in described.properties.items()}
    assert places == {"temperature": thermometer.TEMPERATURE, "setpoint": thermometer.SETPOINT}
    assert list(places)[int(SETPOINT_PATH.split("/")[3])] == "setpoint"


def test_every_example_is_a_list_of_objects() -> None:
    files = [*EXAMPLES.glob("*.yaml"), DEVICE_EXAMPLE]
    assert len(files) > 1
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            assert {"apiVersion", "kind", "metadata"} <= document.keys()


async def test_program_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = Program("nothing", "kubeedge.no_such_program", [], tmp_path / "log")
    program.check_running()
    await program.start()
    async with asyncio.timeout(10):
        await program.ended()
    with pytest.raises(ProgramError, match=r"nothing ended with code 1, its last words:\n.*no_such_program"):
        program.check_running()


async def test_stopped_program_is_not_missed(tmp_path: Path) -> None:
    program = Program("server", "http.server", ["0", "--bind", "127.0.0.1"], tmp_path / "log")
    await program.start()
    assert program.is_running()
    assert program.rss_kb() > 0
    await program.stop()
    assert not program.is_running()
    program.check_running()
    await program.start()
    await program.kill()
    program.check_running()


async def test_kubectls_words_are_the_error(tmp_path: Path) -> None:
    with pytest.raises(KubectlError, match="kubectl frobnicate: error: unknown command"):
        await Kubectl(tmp_path / "kubeconfig")("frobnicate")


def test_rate_is_between_two_looks() -> None:
    times = iter([0.0, 2.0, 3.0])
    rate = _Rate(lambda: next(times))
    assert rate.update(100) == 0
    assert rate.update(120) == 10
    assert rate.update(5) == 0
