"""The charts and tables of docs/, made from the results that are checked in: `python -m bench.pages`.

`python -m bench --json bench/results/bench.json` and `python -m bench.scale --json bench/results/scale.json` give new
results, on a machine that does nothing else. Between the marks of a page everything is replaced. A test holds docs/ to
what this makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import charts
from bench.extrapolation import Fleet, extrapolate

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CHARTS = DOCS / "charts"
RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- {}: made by python -m bench.pages -->", "<!-- {}: end -->"

LEASE = "leases: lease update"
# Charts that compare with upstream: name of the file, title, units of the lines in it.
COMPARISONS = (
    ("processor", "CPU time of an operation", ("us CPU", "ms CPU")),
    ("memory", "Memory", ("kB", "MB RSS")),
    ("times", "Times and throughput", ("ms", "s", "1/s")),
    ("rest", "At rest", ("% CPU", "kB/min")),
)


def result(name: str) -> dict[str, Any]:
    """Return a result that is checked in."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def pictures(bench: dict[str, Any]) -> dict[str, str]:
    """Return the charts of a run by the name of their file."""
    lines = bench["lines"]
    made = {}
    for name, title, units in COMPARISONS:
        chosen = [line for line in lines if line["unit"] in units and "upstream" in line]
        made[f"{name}.svg"] = charts.comparison(title, chosen)
    micro = [line for line in lines if line["name"].startswith("micro: ")]
    made["hot-paths.svg"] = charts.ratios("Compiled hot paths: pure Python and other libraries beside them", micro)
    return made


def targets(bench: dict[str, Any]) -> str:
    """Return the table of all lines that have a target."""
    rows = [
        (
            line["name"],
            f"{charts.number(line['value'])} {line['unit']}",
            f"≤ {line['most']:g}" if "most" in line else f"≥ {line['least']:g}",
            "yes" if line["is_met"] else "**no**",
            charts.number(line["upstream"]) if "upstream" in line else "",
            line["method"],
        )
        for line in bench["lines"]
        if "is_met" in line and not line["name"].startswith("micro: ")
    ]
    return _measured(bench) + _table(("line", "ours", "target", "met", "upstream", "how"), rows)


def measured(scale: dict[str, Any]) -> str:
    """Return the table of what bench.scale has measured."""
    nodes, known, quiet, idle = scale["nodes"], scale["known"], scale["quiet"], scale["idle"]
    first, restart, push = scale["first_connect"], scale["restart"], scale["push"]

    def times(part: dict[str, float]) -> str:
        return f"{part['p50_s']:g} s / {part['p99_s']:g} s / {part['last_s']:g} s"

    recorded = push["until_all_recorded"]
    delivery_s = (recorded["cloudcore_cpu_s"] - idle["cloudcore_cpu_percent"] / 100 * recorded["wall_s"]) / nodes
    rows = [
        ("memory of cloudcore for a Node and a lease that it knows of", f"{known['kb_per_known_node']:g} kB"),
        ("memory of cloudcore for a connection", f"{quiet['kb_per_connection']:g} kB"),
        ("memory of cloudcore in all, nodes at work", f"{idle['cloudcore_kb'] / 1000:,.0f} MB"),
        ("CPU of cloudcore, connections with keepalives alone", f"{quiet['cloudcore_cpu_percent']:g} % of a core"),
        ("CPU of cloudcore, with leases and statuses", f"{idle['cloudcore_cpu_percent']:g} % of a core"),
        ("CPU of the embedded API meanwhile", f"{idle['api_cpu_percent']:g} % of a core"),
        ("writes to the API meanwhile", f"{idle['api_writes_per_s']:g}/s"),
        ("all connect at once: middle / 99 % / last", times(first["connected"])),
        ("cloudcore restarted: connected again", times(restart["connected"])),
        ("cloudcore restarted: lease renewed", times(restart["ready"])),
        ("attempts that failed meanwhile", f"{restart['failures']:,}"),
        ("Nodes that the API calls Ready then", f"{restart['ready_in_the_api']:,}"),
        ("one ConfigMap changed for all: arrived", times(push["arrived"])),
        ("CPU of cloudcore for each, until recorded", f"{delivery_s * 1e6:,.0f} µs, what idle nodes use taken off"),
    ]
    return _measured(scale) + _table((f"{nodes:,} nodes", "figure"), rows)


def extrapolated(scale: dict[str, Any], bench: dict[str, Any]) -> str:
    """Return the table of what a larger fleet needs."""
    rows = extrapolate(scale, lease_us(bench), Fleet())
    return _table(("what", "how", "figure"), [(row.what, row.formula, row.figure) for row in rows])


def lease_us(bench: dict[str, Any]) -> float:
    """Return what the renewal of a lease costs cloudcore, in microseconds."""
    return next(float(line["value"]) for line in bench["lines"] if line["name"] == LEASE)


def filled(page: str, block: str, text: str) -> str:
    """Return a page with the text between the marks of a block replaced. Raises ValueError without marks."""
    begin, end = BEGIN.format(block), END.format(block)
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"there is no block {block}")
    return f"{before}{begin}\n{text}{end}{after}"


def files() -> dict[Path, str]:
    """Return what belongs into docs/, by file."""
    bench, scale = result("bench"), result("scale")
    made = {CHARTS / name: text for name, text in pictures(bench).items()}
    performance, large = DOCS / "performance.md", DOCS / "scale.md"
    made[performance] = filled(performance.read_text(), "targets", targets(bench))
    page = filled(large.read_text(), "measured", measured(scale))
    made[large] = filled(page, "extrapolated", extrapolated(scale, bench))
    return made


def _measured(about: dict[str, Any]) -> str:
    day = about["time"].partition("T")[0]
    return f"Measured {day} on {about['machine']}, Python {about['python']}, {about['build']}.\n\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Write them."""
    CHARTS.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
