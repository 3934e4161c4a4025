"""How a daemon starts, stops and fails, in processes of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

TIMEOUT_S = 20

PROGRAM = """
import asyncio, sys
from kubeedge import daemon
daemon.set_up_logging()
daemon.SHUTDOWN_TIMEOUT_S = 0.2

async def serve():
{body}

sys.exit(daemon.run(serve))
"""


@asynccontextmanager
async def program(body: str) -> AsyncIterator[asyncio.subprocess.Process]:
    text = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", text, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def outcome(body: str, *signals: signal.Signals) -> tuple[int | None, str]:
    """Run a program; send it each signal after a line of it on standard output. Returns exit code and log."""
    async with program(body) as process:
        assert process.stdout is not None
        for number in signals:
            await process.stdout.readline()
            process.send_signal(number)
        _, log = await process.communicate()
        return process.returncode, log.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
async def test_signal_ends_it_in_order(number: signal.Signals) -> None:
    body = """
        try:
            print(flush=True)
            await asyncio.sleep(60)
        finally:
            print("cleaned up", file=sys.stderr)
    """
    code, log = await outcome(body, number)
    assert code == 0
    assert f"INFO kubeedge stopping signal={number.name}" in log
    assert log.endswith("cleaned up\n")


async def test_what_cannot_start_says_why_and_not_where() -> None:
    body = """
        async with asyncio.TaskGroup() as group:
            async def fail():
                raise daemon.CannotStartError("port 1 is in use")
            group.create_task(fail())
    """
    code, log = await outcome(body)
    assert code == 1
    assert log.endswith("ERROR kubeedge cannot start reason=port 1 is in use\n")
    assert "Traceback" not in log


async def test_unexpected_error_says_where_it_came_from() -> None:
    code, log = await outcome("raise LookupError('lost')")
    assert code == 1
    assert "ERROR kubeedge ended by error=LookupError('lost')" in log
    assert "Traceback" in log


async def test_end_without_error_is_success() -> None:
    assert await outcome("pass") == (0, "")


STUBBORN = """
    while True:
        try:
            print(flush=True)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print(flush=True)
            for _ in range({patience}):
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    continue
            return
"""


async def test_module_that_does_not_stop_in_time_is_left_behind() -> None:
    code, log = await outcome(STUBBORN.format(patience=20), signal.SIGTERM)
    assert code == 1
    assert "ERROR kubeedge modules did not stop in time" in log


async def test_second_signal_ends_it_at_once() -> None:
    body = STUBBORN.format(patience=1000)
    code, log = await outcome(f"daemon.SHUTDOWN_TIMEOUT_S = 60\n{textwrap.dedent(body)}", signal.SIGTERM, signal.SIGINT)
    assert code == 1
    assert "WARNING kubeedge stopped at once signal=SIGINT" in log


async def test_a_server_may_open_as_many_files_as_the_system_allows() -> None:
    body = """
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        print(daemon.raise_file_limit() == hard, resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard)
    """
    async with program(body) as process:
        output, _ = await process.communicate()
    assert output == b"True True\n"
