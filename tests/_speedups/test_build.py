"""Which build runs, and how it is chosen."""

from __future__ import annotations

import os
import subprocess
import sys

from kubeedge import _speedups
from tests._speedups.builds import BUILDS


def report(**environment: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-m", "kubeedge._speedups"],
        env={**os.environ, "KUBEEDGE_PURE": "0", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


def test_the_environment_bypasses_compiled_files_that_lie_there() -> None:
    words = report(KUBEEDGE_PURE="1")
    assert words[0] == "pure"
    assert "compiled" not in words


def test_the_report_names_every_module() -> None:
    words = report()
    assert words[1::2] == list(_speedups.MODULES)
    assert words[0] in ("compiled", "pure")


def test_the_plain_build_of_the_tests_is_plain() -> None:
    assert BUILDS[0].build == "pure"
    assert [build.build for build in BUILDS[1:]] in ([], ["compiled"])
