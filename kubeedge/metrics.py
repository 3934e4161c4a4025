"""Counters and gauges of one process, in the text format that Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


class Counter:
    """A value that only rises, by label values given at each increment."""

    kind = "counter"

    def __init__(self, name: str, description: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.description = description
        self.labels = labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}
        _registry[name] = self

    def inc(self, *label_values: str, by: float = 1) -> None:
        """Add by to the series of label_values, given in the order of labels."""
        self._values[label_values] = self._values.get(label_values, 0) + by

    def value(self, *label_values: str) -> float:
        """Return the present value of one series."""
        return self._values.get(label_values, 0)

    def samples(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give every series as (label values, value)."""
        yield from sorted(self._values.items())


class Gauge(Counter):
    """A value that is set, or read from a function at each scrape."""

    kind = "gauge"

    def set(self, value: float, *label_values: str) -> None:
        """Replace the value of the series of label_values."""
        self._values[label_values] = value

    def read_from(self, function: Callable[[], float]) -> None:
        """Take the value of the series without labels from function at each scrape."""
        self._function = function

    def samples(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give every series as (label values, value)."""
        function = getattr(self, "_function", None)
        if function is not None:
            yield (), function()
            return
        yield from super().samples()


_registry: dict[str, Counter] = {}


class Rises:
    """What the counters of this process have risen by since they were read last, for a process that shows them."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, tuple[str, ...]], float] = {}

    def take(self) -> list[tuple[str, tuple[str, ...], float]]:
        """Return (name, label values, rise) of each series that rose."""
        rises: list[tuple[str, tuple[str, ...], float]] = []
        for metric in _registry.values():
            if metric.kind != Counter.kind:
                continue
            for label_values, value in metric.samples():
                key = metric.name, label_values
                rise = value - self._seen.get(key, 0)
                if rise:
                    self._seen[key] = value
                    rises.append((*key, rise))
        return rises


def rise(name: str, label_values: Iterable[str], by: float) -> None:
    """Let a counter rise as one of that name did elsewhere. Raises KeyError when there is none, ValueError."""
    metric = _registry[name]
    values = tuple(label_values)
    if metric.kind != Counter.kind or len(values) != len(metric.labels) or not by > 0:
        raise ValueError(f"{metric.kind} {name}{metric.labels} cannot rise by {by} for {values}")
    metric.inc(*values, by=by)


def escape(value: str) -> str:
    """Return a label value as it stands between quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition() -> str:
    """Return all metrics of the process in Prometheus text format 0.0.4."""
    lines: list[str] = []
    for metric in sorted(_registry.values(), key=lambda m: m.name):
        lines.append(f"# HELP {metric.name} {metric.description}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for label_values, value in metric.samples():
            pairs = ",".join(f'{k}="{escape(v)}"' for k, v in zip(metric.labels, label_values, strict=True))
            lines.append(f"{metric.name}{{{pairs}}} {value:g}" if pairs else f"{metric.name} {value:g}")
    return "\n".join(lines) + "\n"
