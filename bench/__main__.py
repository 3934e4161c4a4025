"""Every benchmark with one command: `python -m bench [--json FILE] [NAME...]`, or `--short` for the ratios alone.

CPU times are those of the measured process, from /proc, so that what plays its peers may share its cores. Exits with 1
when a ratio is below its floor (bench/floors.json), a program fails, or a run of everything lacks a line that has a
target (bench/targets.json); a time beside its target fails nothing.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import ratios
from bench.line import Line, targets
from bench.programs import ProgramError, end_by_signal
from bench.report import about, progress
from bench.suite import BENCHMARKS

WIDTH = 150


def table(about: dict[str, Any], lines: list[Line]) -> Table:
    """Make the table of all figures."""
    title = f"kubeedge {about['version']}, {about['build']}, {about['machine']}"
    made = Table("line", "figure", "unit", "target", "met", "upstream", "method", title=title)
    for line in lines:
        met = {True: "[green]yes", False: "[red]no", None: ""}[line.is_met]
        upstream = "" if line.upstream is None else f"{line.upstream:g}"
        made.add_row(line.name, f"{line.value:g}", line.unit, line.target, met, upstream, line.method)
    return made


def run(names: list[str]) -> tuple[list[Line], list[str]]:
    """Run benchmarks; return their lines, and the names of those that failed."""
    lines: list[Line] = []
    failed: list[str] = []
    for name in names:
        progress(name)
        try:
            lines += BENCHMARKS[name]()
        except ProgramError as error:
            progress(f"{name} failed: {error}")
            failed.append(name)
    return lines, failed


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
    end_by_signal()
    try:
        lines, failed = run(names)
    except KeyboardInterrupt:
        progress("ended by a signal")
        return 128 + signal.SIGINT
    machine = about()
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table(machine, lines))
    if options.json:
        document = {"bench": "all", **machine, "failed": failed, "lines": [line.document for line in lines]}
        options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    wrong = [f"below its floor: {line.name}" for line in lines if line.is_ratio and line.is_met is False]
    if names == list(BENCHMARKS):
        wrong += [f"not measured: {name}" for name in targets().keys() - {line.name for line in lines}]
    for text in wrong:
        print(text, file=sys.stderr)
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main())
