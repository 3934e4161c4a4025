"""The charts and tables of docs/ are those of the results that are checked in."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import charts, pages
from bench.extrapolation import Fleet, extrapolate
from bench.line import Line, targets
from bench.ratios import FLOORS

LINE: dict[str, Any] = {
    "name": "a <line>",
    "value": 20.7,
    "unit": "us CPU",
    "method": "how",
    "most": 22,
    "upstream": 45,
}


@pytest.mark.parametrize(("path", "text"), pages.files().items(), ids=lambda value: getattr(value, "name", ""))
def test_page_or_chart_is_made_of_the_results(path: Path, text: str) -> None:
    assert path.read_text() == text, "run python -m bench.pages"


def test_no_other_charts_lie_there() -> None:
    assert sorted(pages.CHARTS.iterdir()) == sorted(path for path in pages.files() if path.suffix == ".svg")


def test_every_promise_has_a_figure_in_the_results() -> None:
    assert targets().keys() <= {line["name"] for line in pages.result("bench")["lines"]}


def test_every_floor_has_a_figure_in_the_results() -> None:
    floors = json.loads(FLOORS.read_text())
    assert {f"micro: {name}" for name in floors} <= {line["name"] for line in pages.result("bench")["lines"]}


def test_results_say_what_they_were_measured_on() -> None:
    for path in pages.RESULTS.iterdir():
        found = pages.result(path.stem)
        assert {"version", "build", "python", "machine", "time"} <= found.keys()
        assert found["build"] == "compiled"
    assert pages.result("bench")["failed"] == []


def test_chart_is_well_formed_and_names_line_and_figures() -> None:
    text = charts.comparison("Processor & more", [LINE])
    shown = [element.text for element in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"Processor & more", "a <line>", "20.7 µs", "45 µs"} <= set(shown)


def test_longest_bar_of_each_row_has_the_full_width_and_the_mark_is_at_the_target() -> None:
    root = ET.fromstring(charts.comparison("Processor", [LINE, {**LINE, "value": 90.0, "most": 100}]))
    bars = [float(one.attrib["width"]) for one in root.iter("{http://www.w3.org/2000/svg}rect")][2:]
    assert bars[1] == charts.BAR_WIDTH
    assert bars[2] == pytest.approx(charts.BAR_WIDTH * 0.9)
    marks = [float(one.attrib["x1"]) - charts.LABEL_WIDTH for one in root.iter("{http://www.w3.org/2000/svg}line")][1:]
    assert marks == [pytest.approx(charts.BAR_WIDTH * 22 / 45, abs=0.1), charts.BAR_WIDTH]


@pytest.mark.parametrize(
    ("bounds", "is_met"),
    [({"most": 20.0}, True), ({"most": 19.0}, False), ({"least": 20.0}, True), ({"least": 21.0}, False), ({}, None)],
)
def test_line_is_met_on_the_right_side_of_its_bound(bounds: dict[str, float], is_met: bool | None) -> None:
    assert Line("line", 20.0, "ms", "how", **bounds).is_met is is_met  # type: ignore[arg-type]


def test_page_without_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match="targets"):
        pages.filled("no marks here", "targets", "text")


def test_fleet_of_the_measured_size_needs_what_was_measured() -> None:
    scale = pages.result("scale")
    fleet = Fleet(nodes=scale["nodes"], devices=0)
    rows = {row.what: row.figure for row in extrapolate(scale, pages.lease_us(pages.result("bench")), fleet)}
    assert rows["API writes of idle nodes, as measured"] == f"{scale['idle']['api_writes_per_s']:,.0f}/s"
    assert rows["reports of devices"] == "0/s"
    # What is needed fits on one machine; the other may be away.
    assert rows["replicas of 8 cores and 32 GB"] == "2"
