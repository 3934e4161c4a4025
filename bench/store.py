"""Durable commits of the store: how many a second, CPU time each, bytes that reach the disk (`python -m bench.store`).

Each writer waits for one commit before it begins the next; what is committed survives a power cut.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import apsw
import uvloop

from bench.processes import written_bytes
from bench.report import middle_and_last_percent, publish
from kubeedge.store.database import Database

SCHEMA = ("CREATE TABLE objects (key TEXT PRIMARY KEY, value BLOB) STRICT",)
VALUE = b"x" * 1000
KEYS = 1000


async def measure(folder: Path, writers: int, commits: int) -> dict[str, Any]:
    """Commit that often with that many writers at a time."""
    database = Database(folder / f"{writers}.db", schema=SCHEMA)
    database.open()
    left, waits_s = commits, list[float]()

    async def write() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            key = f"object-{left % KEYS}"

            def put(connection: apsw.Connection, key: str = key) -> None:
                connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, VALUE))

            began_s = time.perf_counter()
            await database.write(put)
            waits_s.append(time.perf_counter() - began_s)

    cpu_s, began_s, before = time.process_time(), time.perf_counter(), written_bytes(os.getpid())
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(write())
    cpu_s, took_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    written = written_bytes(os.getpid()) - before
    await database.close()
    p50_ms, p99_ms = middle_and_last_percent([wait_s * 1e3 for wait_s in waits_s], 3)
    return {
        "commits_per_s": round(commits / took_s),
        "cpu_us": round(cpu_s / commits * 1e6, 1),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "written_bytes": round(written / commits),
    }


async def run(folder: Path, commits: int) -> dict[str, Any]:
    """Measure with 1, 16 and 256 writers."""
    numbers = (1, 16, 256)
    return {f"{number} writers": await measure(folder, number, commits * min(number, 10)) for number in numbers}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the database lies; its disk decides the times")
    parser.add_argument("--commits", type=int, default=1000, help="by one writer; more writers commit more")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        publish("store", uvloop.run(run(Path(folder), options.commits)), options.json)


if __name__ == "__main__":
    main()
