"""What the hot paths cost: the compiled and the plain build beside orjson, json and websockets on the same bytes.

python -m pytest bench/bench_speedups.py --benchmark-group-by=group --benchmark-columns=median,ops
python bench/bench_speedups.py          only the ratios, as JSON
"""

from __future__ import annotations

import json
import platform
import sys
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from websockets.protocol import SERVER, Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests._speedups.builds import BUILDS
from tests._speedups.test_envelope import RECORDED
from tests._speedups.test_twinrequest import UPDATES

KEY = b"\x12\x34\x56\x78"


def recorded(type_: str, pick: Callable[..., dict[str, Any]]) -> bytes:
    """Return one of the recorded messages about objects of a type, as it went over the link."""
    about = [message for message in RECORDED if f"/{type_}/" in message["route"].get("resource", "")]
    return orjson.dumps(pick(about, key=lambda message: len(orjson.dumps(message)))) + b"\n"


# A lease, which is most of what crosses the link, and the largest pod of the recordings.
MESSAGES = {"lease": recorded("lease", max), "pod": recorded("pod", max)}


def read_by_websockets(wire: bytes) -> Callable[[], object]:
    protocol = Protocol(SERVER, max_size=None)

    def read() -> object:
        protocol.receive_data(wire)
        return protocol.events_received()

    return read


def read_by(build: SimpleNamespace, wire: bytes) -> Callable[[], object]:
    reader, buffer = build.frames.FrameReader(True), bytearray(wire)
    return lambda: reader.feed(buffer, len(buffer))


def route_by(routing: Any, message: Any) -> Callable[[], object]:
    return lambda: (routing.upstream(message), routing.needs_ack(message, message.resource))


def update_by(build: SimpleNamespace) -> Callable[[], object]:
    """Do with the recorded updates of twins all that DeviceTwin does but the commit."""
    device = build.twin.Device("default/sensor-1", "sensor-1")
    parse, report = build.twinrequest.parse, build.twinupdate.report

    def update() -> object:
        changes = build.twinupdate.Changes()
        for payload in UPDATES:
            outcome = report(device, parse(payload), 1_795_509_153_609, "5d3c5d3c", changes)
        for twin in changes.dirty:
            twin.is_dirty = False
            twin.columns()
        return outcome

    return update


def cases() -> dict[tuple[str, str], Callable[[], object]]:
    """Give each (what is done, who does it) its function."""
    made: dict[tuple[str, str], Callable[[], object]] = {}
    for size, text in MESSAGES.items():
        wire = BUILDS[0].frames.frame(1, text, KEY)
        content = BUILDS[0].envelope.decode(text).content
        for build in BUILDS:
            envelope, frames, objects, routing = build.envelope, build.frames, build.objects, build.routing
            message = envelope.decode(text)
            made[f"decode {size}", build.build] = partial(envelope.decode, text)
            made[f"encode {size}", build.build] = partial(envelope.encode, message)
            made[f"identify {size}", build.build] = partial(objects.identify, content)
            made[f"read frame {size}", build.build] = read_by(build, wire)
            made[f"make frame {size}", build.build] = partial(frames.frame, 1, text, KEY)
            made[f"route {size}", build.build] = route_by(routing, message)
        parsed = orjson.loads(text)
        made[f"decode {size}", "orjson"] = partial(orjson.loads, text)
        made[f"decode {size}", "json"] = partial(json.loads, text)
        made[f"encode {size}", "orjson"] = partial(orjson.dumps, parsed)
        made[f"encode {size}", "json"] = partial(json.dumps, parsed)
        made[f"identify {size}", "orjson"] = partial(orjson.loads, content)
        made[f"read frame {size}", "websockets"] = read_by_websockets(wire)
    for build in BUILDS:
        made["update twins", build.build] = update_by(build)
    return made


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_speed(benchmark: Any, case: tuple[str, str]) -> None:
    benchmark.group = case[0]
    benchmark(CASES[case])


def main() -> None:
    nanoseconds: dict[str, dict[str, float]] = {}
    for (what, who), function in CASES.items():
        timer = timeit.Timer(function)
        number, _ = timer.autorange()
        nanoseconds.setdefault(what, {})[who] = round(min(timer.repeat(3, number)) / number * 1e9)
    report = {
        "bench": "speedups",
        "unit": "ns a call, best of three",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "bytes": {name: len(text) for name, text in MESSAGES.items()},
        "results": nanoseconds,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
