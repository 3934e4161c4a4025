"""The command line of both daemons (spec 02 §2.7)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubeedge.config import edgecore
from kubeedge.config.commandline import Arguments, parse


def run(*arguments: str) -> Arguments:
    return parse(
        "edgecore", "The edge.", edgecore.DEFAULT_PATH, edgecore.default_document, edgecore.minimal_document, arguments
    )


def test_nothing_given_means_the_usual_file() -> None:
    assert run() == (Path("/etc/kubeedge/config/edgecore.yaml"), "INFO")


@pytest.mark.parametrize("arguments", [["--config", "/a.yaml"], ["--config=/a.yaml"]])
def test_file_is_taken(arguments: list[str]) -> None:
    assert run(*arguments).config == Path("/a.yaml")


@pytest.mark.parametrize(
    ("arguments", "level"),
    [(["-v", "4"], "DEBUG"), (["-v4"], "DEBUG"), (["--v=5"], "DEBUG"), (["--v", "2"], "INFO"), (["-v=3"], "INFO")],
)
def test_klogs_level_is_the_level_of_the_log(arguments: list[str], level: str) -> None:
    assert run(*arguments).log_level == level


def test_flags_of_klog_are_accepted() -> None:
    run("--vmodule", "a=1", "--log-flush-frequency=10s", "--minconfig=false", "--defaultconfig=F")


def test_positional_arguments_are_not_looked_at() -> None:
    assert run("start", "--config", "/a.yaml", "now").config == Path("/a.yaml")


@pytest.mark.parametrize("flag", ["--minconfig", "--minconfig=true"])
def test_small_configuration_is_printed(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(flag, "--defaultconfig")
    assert caught.value.code == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line[:1] for line in lines[:4]] == ["#", "#", "#", ""]
    assert lines[-2:] == ["", ""]
    assert yaml.safe_load("\n".join(lines)) == edgecore.minimal_document()


def test_whole_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--defaultconfig")
    assert caught.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out) == edgecore.default_document()


@pytest.mark.parametrize(
    ("flag", "text"), [("--version", "KubeEdge v1.23.0"), ("--help", "--config FILE"), ("-h", "usage")]
)
def test_help_and_version(flag: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(flag)
    assert caught.value.code == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--kubeconfig", "x"], ["--conf", "x"], ["--minconfig=maybe"], ["-v", "high"], ["--log-flush-frequency=x"]],
)
def test_wrong_flag_is_named_with_the_usage_and_status_1(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert "usage: edgecore" in error
