"""What the demo leaves behind when it does not end well. That it ends well is what `ci/demo --check` shows."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

START_TIMEOUT_S = 60
END_TIMEOUT_S = 40


class Demo:
    """`python -m kubeedge.demo --check` as a child process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = ""

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", "kubeedge.demo", "--check", "--runtime", "process"),
            *("--folder", str(self.folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def says(self, text: str) -> None:
        """Wait until it has printed text."""
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            while text not in self.output:
                line = await self._process.stdout.readline()
                assert line, f"ended too early:\n{self.output}"
                self.output += line.decode()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end and return the exit code."""
        async with asyncio.timeout(END_TIMEOUT_S):
            rest, _ = await self._process.communicate()
        self.output += rest.decode()
        code = self._process.returncode
        assert code is not None
        return code

    def processes(self, name: str = "") -> list[int]:
        """Return the processes that have this demo's folder in their command line or environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in (os.getpid(), self._process.pid):
                continue
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(self.folder) in words and name.encode() in words:
                found.append(int(entry.name))
        return found

    def check_nothing_left(self) -> None:
        assert self.processes() == []
        assert not self.folder.exists()
        assert str(self.folder) not in Path("/proc/self/mounts").read_text()


@pytest.fixture
async def demo(tmp_path: Path) -> Demo:
    demo = Demo(tmp_path / "demo")
    await demo.start()
    return demo


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_demo_leaves_nothing_behind(demo: Demo, number: signal.Signals) -> None:
    await demo.says("pass  Deployment of 2 pods")
    assert len(demo.processes()) >= 4
    demo.send(number)
    assert await demo.ended() == 130
    demo.check_nothing_left()


async def test_failed_step_is_told_with_the_last_words_and_cleaned_up(demo: Demo) -> None:
    await demo.says("pass  Node Ready")
    (edgecore,) = demo.processes("kubeedge.edgecore\0--config")
    os.kill(edgecore, signal.SIGKILL)
    assert await demo.ended() == 1
    assert "edgecore ended with code -9" in demo.output
    assert "--- last lines of edgecore.log" in demo.output
    assert demo.output.splitlines()[-1].startswith("took") or "failed" in demo.output
    demo.check_nothing_left()
