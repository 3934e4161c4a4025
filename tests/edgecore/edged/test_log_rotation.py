"""Logs of running containers are rotated, compressed and limited in number."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged.log_rotation import LogRotation
from kubeedge.edgecore.edged.runtime.interface import RuntimeCallError


class Writer:
    """A runtime that writes into the file that it has open, until it is told to open it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab")
        self.is_broken = False

    async def reopen_log(self, container_id: str) -> None:
        if self.is_broken:
            raise RuntimeCallError("Unknown", "no")
        self.file.close()
        self.file = self.path.open("ab")

    def write(self, text: bytes) -> None:
        self.file.write(text)
        self.file.flush()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "0.log"
        self.writer = Writer(self.path)
        self.now = 1_700_000_000.0
        running = lambda: [("id", str(self.path)), ("gone", str(folder / "absent"))]  # noqa: E731
        runtime: Any = self.writer
        self.rotation = LogRotation(runtime, running, lambda: self.now, max_size_bytes=100, max_files=3, look_s=0.01)

    async def pass_by(self) -> None:
        task = asyncio.create_task(self.rotation.run())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        self.now += 1


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_small_log_is_left_alone(bench: Bench) -> None:
    bench.writer.write(b"x" * 100)
    await bench.pass_by()
    assert [entry.name for entry in bench.path.parent.iterdir()] == ["0.log"]


async def test_large_logs_are_moved_aside_compressed_and_limited(bench: Bench) -> None:
    for number in range(5):
        bench.writer.write(str(number).encode() * 101)
        await bench.pass_by()
    assert bench.path.read_bytes() == b""
    names = sorted(entry.name for entry in bench.path.parent.iterdir())
    assert names == ["0.log", "0.log.20231114-221323.gz", "0.log.20231114-221324"]
    assert gzip.decompress((bench.path.parent / names[1]).read_bytes()) == b"3" * 101
    assert (bench.path.parent / names[2]).read_bytes() == b"4" * 101


async def test_nothing_is_lost_when_the_runtime_does_not_open_the_log_anew(bench: Bench) -> None:
    bench.writer.is_broken = True
    bench.writer.write(b"x" * 101)
    await bench.pass_by()
    bench.writer.write(b"y")
    assert bench.path.read_bytes() == b"x" * 101 + b"y"
