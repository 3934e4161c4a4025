from __future__ import annotations

import asyncio
from dataclasses import astuple
from pathlib import Path

import pytest
import yaml

from kubeedge.config import cloudcore, edgecore
from kubeedge.demo import configuration
from kubeedge.demo.kubectl import Kubectl, KubectlError
from kubeedge.demo.program import Program, ProgramError
from kubeedge.demo.show import _Rate
from kubeedge.demo.site import EXAMPLES


def test_ports_differ() -> None:
    ports = astuple(configuration.free_ports())
    assert len(set(ports)) == len(ports)


def test_written_files_are_accepted_without_a_warning(tmp_path: Path) -> None:
    ports = configuration.free_ports()
    (tmp_path / "kubeconfig").write_text("")
    for module, document in (
        (cloudcore, configuration.cloudcore(tmp_path, ports, tmp_path / "kubeconfig")),
        (edgecore, configuration.edgecore(tmp_path, ports, "token")),
    ):
        path = tmp_path / "file.yaml"
        path.write_text(yaml.safe_dump(document))
        _, warnings = module.load(path)
        assert warnings == []


def test_every_example_is_a_list_of_objects() -> None:
    files = list(EXAMPLES.glob("*.yaml"))
    assert files
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
