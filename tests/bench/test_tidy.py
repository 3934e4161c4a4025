"""A benchmark that is ended leaves no process and no file behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30

# Starts the API and waits.
SITE = """
import asyncio
from bench.site import run
async def measure(site):
    await site.start_api()
    print(site.api_program.pid, site.folder, flush=True)
    await asyncio.sleep(60)
run(measure)
"""
# Starts a fleet whose cloud is not there, and waits.
FLEET = """
import asyncio
from bench.fleets import FleetProcess
from kubeedge.pki.authority import Authority
async def main():
    fleet = FleetProcess("wss://127.0.0.1:1", Authority.create("test"), ["n1"])
    await fleet.start()
    print(fleet.pid, "/", flush=True)
    await asyncio.sleep(60)
if __name__ == "__main__":
    asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    """Tell whether a process has not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def ended_by(number: signal.Signals, program: Path) -> tuple[int, Path]:
    """Run a program until it says a pid and a folder, end it, and return both when the process has ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        pid, _, folder = (await process.stdout.readline()).decode().strip().partition(" ")
        assert is_running(int(pid))
        process.send_signal(number)
        await process.communicate()
        while is_running(int(pid)):  # noqa: ASYNC110 - it is no child of ours
            await asyncio.sleep(0.05)
    return int(pid), Path(folder)


async def test_term_ends_the_programs_and_removes_the_folder(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SITE)
    _, folder = await ended_by(signal.SIGTERM, program)
    assert not folder.exists()


async def test_fleet_ends_with_the_benchmark_that_was_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FLEET)
    await ended_by(signal.SIGKILL, program)
