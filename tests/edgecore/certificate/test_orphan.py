"""The program that applies for certificates, when the edgecore that started it has died."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from kubeedge.edgecore.certificate.order import Order, encode

PROGRAM = (sys.executable, "-m", "kubeedge.edgecore.certificate")
END_TIMEOUT_S = 30
NOBODY_TO_TELL = 1


async def end(order: bytes, output: int) -> tuple[int, str]:
    """Run the program on an order; return its code and what it says on standard error."""
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*PROGRAM, stdin=pipe, stdout=output, stderr=pipe)
    async with asyncio.timeout(END_TIMEOUT_S):
        _, errors = await program.communicate(order)
    return int(program.returncode or 0), errors.decode()


async def test_program_that_gets_no_order_ends_quietly() -> None:
    assert await end(b"", asyncio.subprocess.DEVNULL) == (NOBODY_TO_TELL, "")


async def test_program_that_nobody_listens_to_ends_quietly(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("ca", "certificate", "key")]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        order = encode(Order("ensure", "edge-1", "https://127.0.0.1:1", *files))
        assert await end(order, writer) == (NOBODY_TO_TELL, "")
    finally:
        os.close(writer)
