"""Every benchmark with one command: `python -m bench [--json FILE] [NAME...]`, or `--short` for the ratios alone.

CPU times are those of the measured process, from /proc, so that what plays its peers may share its cores. Exits with 1
when a ratio is below its floor (bench/floors.json) or a program fails; a time beside its target fails nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench import imports, ratios
from kubeedge import __version__
from kubeedge._speedups import BUILD

ROOT = Path(__file__).parents[1]
PROGRAM_TIMEOUT_S = 300


class Line(NamedTuple):
    """One figure. target is the most, or with is_least the least, that it should be; None where none is set."""

    name: str
    value: float
    unit: str
    method: str
    target: float | None = None
    is_least: bool = False

    @property
    def is_met(self) -> bool | None:
        """Tell whether the target is met, None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.is_least else self.value <= self.target


def output(*command: str, may_miss: bool = False) -> dict[str, Any]:
    """Run a program of bench/ and return the JSON it prints; with may_miss, exit code 1 means a missed target."""
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
    )
    if done.returncode and not (may_miss and done.returncode == 1 and done.stdout):
        raise subprocess.CalledProcessError(done.returncode, done.args)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def link() -> list[Line]:
    """Requests of nodes and their answers, connections, memory."""
    busy = output("bench/link_roundtrip.py", "--nodes", "10", "--messages", "100000")
    many = output("bench/link_roundtrip.py", "--nodes", "400", "--messages", "40000")
    ten, all_ = "10 nodes, one request each under way, mTLS", "400 nodes that connect at once, mTLS"
    return [
        Line("link: request and reply", busy["cpu_us_per_round_trip"], "us CPU", ten, 22),
        Line("link: round trips", busy["round_trips_per_s"], "1/s", ten),
        Line("link: request and reply, many nodes", many["cpu_us_per_round_trip"], "us CPU", all_),
        Line("link: new connection", many["cpu_us_per_connection"] / 1000, "ms CPU", all_, 1.4),
        Line("link: memory a connected node", many["rss_kb_per_node"], "kB", f"{all_}: growth of RSS by node", 32),
    ]


def push() -> list[Line]:
    """Reliable pushes until they are recorded."""
    result = output("-m", "bench.push")
    each, one = (
        f"{result['nodes']} nodes have the object, each acknowledgement written",
        "one node, one change at a time",
    )
    return [
        Line("push: until recorded", result["cpu_us_per_push"], "us CPU", each, 150),
        Line(f"push: one object to {result['nodes']} nodes", result["fan_out_ms"], "ms", "until the last has it"),
        Line("push: p50", result["p50_ms"], "ms", f"{one}, from the call to the API until the node acknowledges", 1.5),
        Line("push: p99", result["p99_ms"], "ms", one),
    ]


def store() -> list[Line]:
    """Durable commits."""
    lines = []
    for writers, row in output("-m", "bench.store").items():
        name, method = f"store: {writers} writers", "1 kB rows, each writer waits for its commit on disk"
        lines += [
            Line(f"{name}: commits", row["commits_per_s"], "1/s", method),
            Line(f"{name}: a commit", row["cpu_us"], "us CPU", method),
            Line(f"{name}: p50", row["p50_ms"], "ms", method),
            Line(f"{name}: p99", row["p99_ms"], "ms", method),
            Line(f"{name}: written a commit", row["written_bytes"], "bytes", "write_bytes of /proc/self/io"),
        ]
    return lines


def api() -> list[Line]:
    """The embedded API."""
    result = output("bench/apiserver.py")
    method, watched = result["method"], result["one write to many watches"]
    targets = {"get config map": 350, "create config map": 700, "merge patch config map": 800}
    lines = [
        Line(f"api: {name}", row["cpu_us"], "us CPU", method, targets.get(name))
        for name, row in result.items()
        if isinstance(row, dict) and "cpu_us" in row
    ]
    lines.append(Line("api: one write to 500 watchers", watched["best_ms"], "ms", "until the last has heard", 50))
    lines.append(Line("api: memory at rest", result["rss_mib_idle"], "MiB", "RSS, controllers included", 90))
    return lines


def edge() -> list[Line]:
    """An object of the cloud at the edge, from bus to acknowledgement."""
    result = output("bench/metamanager.py")
    method = "3 kB pods, stored durably before the acknowledgement"
    return [
        Line("edge: object in a burst", result["burst_cpu_us_a_message"], "us CPU", method),
        Line("edge: one object, p50", result["single_wall_ms_p50"], "ms", method),
        Line("edge: one object, p99", result["single_wall_ms_p99"], "ms", method),
    ]


def twin() -> list[Line]:
    """Updates of twins, from MQTT to MQTT."""
    result = output("bench/twin.py", may_miss=True)
    method = f"{result['method']}, {result['at_once']} at once"
    return [
        Line("twin: updates", result["updates_per_s"], "1/s", method, 4_000, is_least=True),
        Line("twin: an update", result["edgecore_cpu_us"], "us CPU", method, 180),
        Line("twin: p50", result["p50_ms"], "ms", method, 3),
        Line("twin: p99", result["p99_ms"], "ms", method),
        Line("twin: one update, p50", result["single_p50_ms"], "ms", "one at a time"),
        Line("twin: edgecore", result["kB"]["rss"] / 1000, "MB RSS", method, 60),
    ]


def pods() -> list[Line]:
    """Ten pods to Running, with local processes unless CONTAINER_RUNTIME_ENDPOINT names an engine."""
    many = output("bench/pods.py", may_miss=True)["10 pods"]
    method = f"10 pods on {os.environ.get('CONTAINER_RUNTIME_ENDPOINT') or 'local processes'}"
    return [
        Line("pods: until Running", many["running_s"], "s", method, 4),
        Line("pods: edgecore meanwhile", many["cpu_ms"], "ms CPU", method, 480),
        Line("pods: edgecore at rest", many["rest_cpu_percent"], "% CPU", method, 0.7),
        Line("pods: edgecore", many["kB"]["rss"] / 1000, "MB RSS", method, 46),
    ]


def import_cost() -> list[Line]:
    """What a daemon costs before it does anything."""
    lines = []
    for module in imports.DAEMONS:
        row, method = imports.measure(module), f"best of {imports.RUNS} fresh interpreters"
        lines.append(Line(f"import: {module}", row["cpu_ms"], "ms CPU", method))
        lines.append(Line(f"import: {module}", row["rss_kb"] / 1000, "MB RSS", method))
    return lines


def micro() -> list[Line]:
    """The compiled hot paths beside their plain build and other libraries."""
    reached, floors = ratios.measure()
    method = f"best of {ratios.ROUNDS} rounds in turns, on recorded messages"
    return [Line(f"micro: {name}", reached[name], "x", method, floors.get(name), is_least=True) for name in reached]


BENCHMARKS: dict[str, Callable[[], list[Line]]] = {
    "micro": micro,
    "link": link,
    "push": push,
    "store": store,
    "api": api,
    "edge": edge,
    "twin": twin,
    "pods": pods,
    "import": import_cost,
}


def table(lines: list[Line]) -> Table:
    """Make the table of all figures."""
    made = Table("figure", "", "unit", "target", "met", "method", title=f"kubeedge {__version__}, {BUILD}")
    for line in lines:
        sign = "≥" if line.is_least else "≤"
        target = "" if line.target is None else f"{sign} {line.target:g}"
        met = {True: "[green]yes", False: "[red]no", None: ""}[line.is_met]
        made.add_row(line.name, f"{line.value:g}", line.unit, target, met, line.method)
    return made


def main() -> int:
    """Run what was asked for, print it, judge the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without one")
    parser.add_argument("--short", action="store_true", help="only what has floors")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    names = options.names or (["micro"] if options.short else list(BENCHMARKS))
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name}")
    if "micro" in names and not ratios.can_compare():
        parser.error("micro needs the compiled build; this is the plain one")
    lines: list[Line] = []
    failed: list[str] = []
    for name in names:
        try:
            lines += BENCHMARKS[name]()
        except (subprocess.SubprocessError, json.JSONDecodeError) as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            failed.append(name)
    Console(width=None if sys.stdout.isatty() else 150).print(table(lines))
    if options.json:
        about = {
            "version": __version__,
            "build": BUILD,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        figures = [{**line._asdict(), "is_met": line.is_met} for line in lines]
        options.json.write_text(json.dumps({**about, "failed": failed, "figures": figures}, indent=2) + "\n")
    below = [line.name for line in lines if line.is_least and line.is_met is False]
    for name in below:
        print(f"below its floor: {name}", file=sys.stderr)
    return 1 if below or failed else 0


if __name__ == "__main__":
    sys.exit(main())
