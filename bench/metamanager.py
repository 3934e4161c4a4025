"""What an object of the cloud costs at the edge, from the bus to the acknowledgement: `python bench/metamanager.py`.

CPU time of the whole process (writer thread included) a message in a burst, and the wall time of one message after the
other. The database lies in the folder given as argument (default: a temporary one), whose disk decides the latter.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import uvloop

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


async def measure(folder: Path) -> dict[str, object]:
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
    waits_s.sort()
    return {
        "burst_cpu_us_a_message": round(cpu_s / BURST * 1e6, 1),
        "single_wall_ms_p50": round(waits_s[len(waits_s) // 2] * 1e3, 3),
        "single_wall_ms_p99": round(waits_s[len(waits_s) * 99 // 100] * 1e3, 3),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        result = uvloop.run(measure(Path(folder)))
    print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), **result}))
