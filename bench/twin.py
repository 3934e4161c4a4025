"""Twin updates from MQTT to MQTT: a client, a real mosquitto and a whole edgecore (`python -m bench.twin`).

A client publishes updates of 1,000 devices with 10 properties each at QoS 1, so many at a time, and waits for the
result of each, which edgecore gives when the update is on disk. Prints JSON: updates a second, latency, CPU time of
edgecore an update (/proc), its memory, latency with one update at a time. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.processes import cpu_s, rss_kb
from bench.report import publish
from bench.site import cancel_on_term
from kubeedge.bus import Done
from kubeedge.edgecore.eventbus import address
from kubeedge.edgecore.eventbus.external import ExternalBroker
from tests.devicenode import DeviceNode
from tests.mosquitto import Mosquitto, mosquitto

MIN_UPDATES_PER_S = 4_000
MAX_CPU_US = 180
MAX_P50_MS = 3.0
MAX_RSS_KB = 60_000

DEVICES = 1_000
PROPERTIES = 10
AT_ONCE = 16
TIMEOUT_S = 240
# Long enough for the subscriptions of both, and for edgecore to come to rest.
SETTLE_S = 2.0
RESULT = "/twin/update/result"


class Load:
    """A client that keeps so many updates on their way until their number is reached."""

    def __init__(self, url: str) -> None:
        self._broker = ExternalBroker(address.parse(url), "bench")
        self._sent: dict[str, float] = {}
        self._latencies: list[float] = []
        self._count = 0
        self._number = 0
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await self._broker.run(self._take, lambda: (f"$hw/events/device/+/+{RESULT}",))

    async def drive(self, count: int, at_once: int) -> tuple[float, list[float]]:
        """Send count updates; return how long it took and the sorted latencies, in seconds."""
        self._count, self._number = count, 0
        self._latencies.clear()
        self._ended.clear()
        begin = time.perf_counter()
        for _ in range(at_once):
            self._publish()
        async with asyncio.timeout(TIMEOUT_S):
            await self._ended.wait()
        return time.perf_counter() - begin, sorted(self._latencies)

    def _publish(self) -> None:
        number = self._number
        self._number += 1
        event = f"{self._count}-{number}"
        name = f"p{number // DEVICES % PROPERTIES}"
        value = f'{{"actual":{{"value":"{20 + number % 100 / 10}"}},"metadata":{{"type":"float"}}}}'
        payload = f'{{"event_id":"{event}","timestamp":{time.time_ns() // 1_000_000},"twin":{{"{name}":{value}}}}}'
        self._sent[event] = time.perf_counter()
        self._broker.publish(f"$hw/events/device/default/d{number % DEVICES}/twin/update", payload.encode())

    def _take(self, _topic: str, payload: bytes, done: Done) -> None:
        done()
        answer = json.loads(payload)
        assert "code" not in answer, answer
        sent = self._sent.pop(answer["event_id"], None)
        if sent is None:
            return
        self._latencies.append(time.perf_counter() - sent)
        if self._number < self._count:
            self._publish()
        elif not self._sent:
            self._ended.set()


async def measure(folder: Path, broker: Mosquitto, count: int, at_once: int) -> dict[str, Any]:
    """Return the figures."""
    cancel_on_term()
    node = DeviceNode(folder / "node", {"mqttMode": 2, "mqttServerExternal": broker.url}, edged=True)
    devices = [f"default/d{number}" for number in range(DEVICES)]
    node.know(devices, ((device, f"p{n}", "float", "20.0") for device in devices for n in range(PROPERTIES)))
    load = Load(broker.url)
    running = asyncio.ensure_future(load.run())
    try:
        await node.start()
        await asyncio.sleep(SETTLE_S)
        assert node.process is not None
        assert broker.process is not None
        edge, server = node.process.pid, broker.process.pid
        rss_at_rest = rss_kb(edge)
        await load.drive(count // 10, at_once)
        cpu_before, server_before = cpu_s(edge), cpu_s(server)
        elapsed_s, latencies = await load.drive(count, at_once)
        cpu, server_cpu = cpu_s(edge) - cpu_before, cpu_s(server) - server_before
        _, singles = await load.drive(count // 40, 1)
        return {
            "at_once": at_once,
            "updates": count,
            "updates_per_s": round(count / elapsed_s),
            "edgecore_cpu_us": round(1e6 * cpu / count, 1),
            "mosquitto_cpu_us": round(1e6 * server_cpu / count, 1),
            "p50_ms": _ms(latencies, 0.5),
            "p99_ms": _ms(latencies, 0.99),
            "single_p50_ms": _ms(singles, 0.5),
            "single_p99_ms": _ms(singles, 0.99),
            "kB": {"rss_at_rest": rss_at_rest, "rss": rss_kb(edge)},
        }
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await node.clean_up()


def _ms(latencies: list[float], part: float) -> float:
    return round(1000 * latencies[int(len(latencies) * part)], 2)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=40_000)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kubeedge-bench-") as name, mosquitto(Path(name) / "broker") as broker:
        figures = uvloop.run(measure(Path(name), broker, options.updates, options.at_once))
    method = f"{DEVICES} devices x {PROPERTIES} properties, QoS 1 both ways, answered when on disk"
    publish("twin", {"method": method, **figures}, options.json)
    is_met = (
        figures["updates_per_s"] >= MIN_UPDATES_PER_S
        and figures["edgecore_cpu_us"] <= MAX_CPU_US
        and figures["p50_ms"] <= MAX_P50_MS
        and figures["kB"]["rss"] <= MAX_RSS_KB
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
