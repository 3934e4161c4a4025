"""One figure of a run, how it was taken, and what it should be.

bench/targets.json holds what DESIGN.md promises: by name the `most` or the `least` that a figure should be, and
`upstream`, what the Go programs need for the same on two cores. A ratio has its floor in bench/floors.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TARGETS = Path(__file__).with_name("targets.json")


@cache
def targets() -> dict[str, dict[str, float]]:
    """Return the targets by the name of their line."""
    found: dict[str, dict[str, float]] = json.loads(TARGETS.read_text())
    return found


@dataclass(slots=True, frozen=True)
class Line:
    """One figure. Without a target most and least are None; only what is_ratio fails a run."""

    name: str
    value: float
    unit: str
    method: str
    most: float | None = None
    least: float | None = None
    upstream: float | None = None
    is_ratio: bool = False

    @property
    def is_met(self) -> bool | None:
        """Tell whether the target is met, None without one."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def target(self) -> str:
        """The target as people write it, empty without one."""
        if self.most is not None:
            return f"≤ {self.most:g}"
        return "" if self.least is None else f"≥ {self.least:g}"

    @property
    def document(self) -> dict[str, Any]:
        """What stands in the JSON of a run."""
        fields = {name: getattr(self, name) for name in ("name", "value", "unit", "method")}
        for name in ("most", "least", "upstream"):
            if (bound := getattr(self, name)) is not None:
                fields[name] = bound
        return fields if self.is_met is None else {**fields, "is_met": self.is_met}


def line(name: str, value: float, unit: str, method: str) -> Line:
    """Make a line; its target and upstream's figure are those of its name."""
    target = targets().get(name, {})
    return Line(name, value, unit, method, target.get("most"), target.get("least"), target.get("upstream"))
