"""How the build falls back, without running a compiler."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools

SETUP = Path(__file__).parents[2] / "setup.py"


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What setup.py hands to setuptools."""
    calls: list[Any] = []
    monkeypatch.setattr(setuptools, "setup", lambda **options: calls.append(options["ext_modules"]))
    monkeypatch.chdir(SETUP.parent)
    monkeypatch.delenv("KUBEEDGE_PURE", raising=False)
    monkeypatch.delenv("KUBEEDGE_REQUIRE_COMPILED", raising=False)
    # An entry of None makes the import fail, as if Cython were not installed.
    monkeypatch.setitem(sys.modules, "Cython.Build", None)
    return calls


def test_without_cython_the_plain_build_is_made(declared: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SETUP))
    assert declared == [[]]
    assert "hot paths stay plain Python" in capsys.readouterr().err


def test_without_cython_a_build_that_must_be_compiled_fails(
    declared: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEEDGE_REQUIRE_COMPILED", "1")
    with pytest.raises(ImportError):
        runpy.run_path(str(SETUP))
    assert declared == []


def test_the_plain_build_can_be_asked_for(
    declared: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBEEDGE_PURE", "1")
    monkeypatch.setenv("KUBEEDGE_REQUIRE_COMPILED", "1")
    runpy.run_path(str(SETUP))
    assert declared == [[]]
    assert capsys.readouterr().err == ""
