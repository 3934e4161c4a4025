"""What an object of the cloud costs at the edge, from the bus to the acknowledgement: `python -m bench.metamanager`.

CPU time of the whole process (writer thread included) a message in a burst, and the wall time of one message after the
other. The disk of the database decides the latter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.report import middle_and_last_percent, publish
from kubeedge.bus import Bus
from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database

BURST = 5000
SINGLE = 300
OBJECTS = 100
OBJECT_BYTES = 3000


def push(number: int) -> Message:
    """Make an update of one of OBJECTS pods."""
    name = f"p{number % OBJECTS}"
    metadata = {"name": name, "namespace": "default", "uid": f"u-{name}", "resourceVersion": str(number)}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"x": "y" * OBJECT_BYTES}}
    return new_message("edgecontroller", "resource", "update", f"default/pod/{name}", json.dumps(pod).encode())


async def measure(folder: Path) -> dict[str, Any]:
    """Run both measurements."""
    bus, acks, more = Bus(), 0, asyncio.Event()

    def up(_: Message) -> None:
        nonlocal acks
        acks += 1
        more.set()

    async def acknowledged(count: int) -> None:
        while acks < count:
            more.clear()
            await more.wait()

    bus.register("websocket", "hub", up)
    bus.register("edged", "edged", lambda _: None)
    database = Database(folder / "edgecore.db", schema=SCHEMA)
    database.open()
    running = asyncio.ensure_future(MetaManager(bus, database, lambda: True).run())
    messages = [push(number) for number in range(BURST + SINGLE)]
    cpu_s = time.process_time()
    for message in messages[:BURST]:
        bus.send("metamanager", message)
    await acknowledged(BURST)
    cpu_s = time.process_time() - cpu_s
    waits_s = []
    for number, message in enumerate(messages[BURST:], start=BURST + 1):
        start_s = time.perf_counter()
        bus.send("metamanager", message)
        await acknowledged(number)
        waits_s.append(time.perf_counter() - start_s)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()
    p50_ms, p99_ms = middle_and_last_percent([wait_s * 1e3 for wait_s in waits_s], 3)
    return {
        "burst_cpu_us_a_message": round(cpu_s / BURST * 1e6, 1),
        "single_p50_ms": p50_ms,
        "single_p99_ms": p99_ms,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the database lies")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        publish("metamanager", uvloop.run(measure(Path(folder))), options.json)


if __name__ == "__main__":
    main()
