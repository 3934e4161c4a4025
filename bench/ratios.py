"""How much faster the hot paths are than their plain build and than other libraries, held to recorded floors.

Absolute times differ from machine to machine and from hour to hour; ratios of what ran side by side hardly do. A ratio
below its floor in bench/floors.json therefore means that a hot path has become slower.
"""

from __future__ import annotations

import json
import timeit
from pathlib import Path

from bench.bench_speedups import CASES

FLOORS = Path(__file__).with_name("floors.json")
ROUNDS = 7
ROUND_S = 0.004
# A neighbour on the machine may spoil one try, not three in a row.
TRIES = 3


def can_compare() -> bool:
    """Tell whether there is a compiled build to measure."""
    return any(who == "compiled" for _, who in CASES)


def nanoseconds(wanted: set[str]) -> dict[str, dict[str, float]]:
    """Measure the cases of these names: the best of ROUNDS, in which all take turns."""
    timers = {case: timeit.Timer(function) for case, function in CASES.items() if case[0] in wanted}
    numbers = {case: max(1, round(ROUND_S / (timer.timeit(20) / 20))) for case, timer in timers.items()}
    best: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for (what, who), timer in timers.items():
            number = numbers[what, who]
            took = timer.timeit(number) / number * 1e9
            row = best.setdefault(what, {})
            row[who] = min(took, row.get(who, took))
    return best


def ratios(times: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return how many times as long as the compiled build each other takes, by `what: who/compiled`."""
    return {
        f"{what}: {who}/compiled": round(time / row["compiled"], 2)
        for what, row in times.items()
        for who, time in row.items()
        if who != "compiled" and "compiled" in row
    }


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Return the ratios that were reached and their floors; what falls short is measured again, the best counts."""
    floors: dict[str, float] = json.loads(FLOORS.read_text())
    wanted = {name.partition(":")[0] for name in floors}
    reached: dict[str, float] = {}
    for _ in range(TRIES):
        if not wanted:
            break
        for name, ratio in ratios(nanoseconds(wanted)).items():
            reached[name] = max(ratio, reached.get(name, 0.0))
        wanted = {name.partition(":")[0] for name, floor in floors.items() if reached.get(name, 0.0) < floor}
    return reached, floors
