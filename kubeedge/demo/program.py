"""One of the programs as a child process with a log file of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

# Longer than daemon.SHUTDOWN_TIMEOUT_S; what does not leave by then is killed.
STOP_TIMEOUT_S = 25


class ProgramError(Exception):
    """A program did not start or ended by itself."""


class Program:
    """Runs `python -m module arguments`. Not in the terminal's process group: Ctrl-C reaches only the demo."""

    def __init__(self, name: str, module: str, arguments: list[str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._command = [sys.executable, "-m", module, *arguments]
        self._process: asyncio.subprocess.Process | None = None
        self._is_wanted = False

    async def start(self, *arguments: str) -> None:
        """Start it, with more arguments this time; what it writes goes to the end of its log file."""
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._is_wanted = True

    @property
    def pid(self) -> int:
        """Number of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            await self._process.wait()

    def check_running(self) -> None:
        """Raise ProgramError when it ended though nobody stopped it."""
        if self._is_wanted and not self.is_running():
            code = self._process.returncode if self._process else None
            raise ProgramError(f"{self.name} ended with code {code}, its last words:\n{self.last_words()}")

    async def kill(self) -> None:
        """End it without any chance to tidy up (SIGKILL)."""
        self._is_wanted = False
        if self._process is not None and self.is_running():
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end (SIGTERM); kill it when that takes too long."""
        self._is_wanted = False
        if self._process is None or not self.is_running():
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    def last_words(self, lines: int = 15) -> str:
        """Return the end of its log file, indented."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def rss_kb(self) -> int:
        """Return the resident memory of the process in kB."""
        return rss_kb(self.pid)


def rss_kb(pid: int) -> int:
    """Return the resident memory of a process in kB. Raises OSError when it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
