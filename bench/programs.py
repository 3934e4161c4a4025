"""The programs of bench/ as children that write JSON; none of them is left behind, whatever ends this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAM_TIMEOUT_S = 300
# They end processes of their own first.
STOP_TIMEOUT_S = 60


class ProgramError(Exception):
    """A program ended without figures."""


def end_by_signal() -> None:
    """Let TERM end this process as Ctrl-C does, so that what is started is ended first."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def output(module: str, *arguments: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run `python -m bench.<module>` and return the figures that it writes; a missed target (exit code 1) is no error.

    before are words of another program that runs it. Raises ProgramError.
    """
    with tempfile.TemporaryDirectory(prefix="kubeedge-bench-") as folder:
        figures = Path(folder) / "figures.json"
        program = subprocess.Popen(
            [*before, sys.executable, "-m", f"bench.{module}", *arguments, "--json", str(figures)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        try:
            code = program.wait(PROGRAM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"bench.{module} took longer than {PROGRAM_TIMEOUT_S} s") from None
        finally:
            _end(program)
        if not figures.exists():
            raise ProgramError(f"bench.{module} ended with {code} and no figures")
        result: dict[str, Any] = json.loads(figures.read_text())
        return result


def _end(program: subprocess.Popen[bytes]) -> None:
    if program.poll() is not None:
        return
    program.terminate()
    try:
        program.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
