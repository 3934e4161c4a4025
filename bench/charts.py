"""Charts of a run as SVG, readable on light and on dark pages: plain text, no library.

`comparison` shows ours beside upstream's with a mark at the target, each row on its own scale, since rows have
different units. `ratios` shows how many times as long as the compiled build another takes, all rows on one logarithmic
scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

WIDTH = 760
LABEL_WIDTH = 310
BAR_WIDTH = 350
# Room of the figure behind a bar.
FIGURE_WIDTH = 72
TOP = 74
BAR_HEIGHT = 13
ROW_HEIGHT = 44
RATIO_ROW_HEIGHT = 24
MARGIN = 16

# Where the logarithmic scale begins, and where it has lines.
LEAST_RATIO = 0.5
GRID = (1, 3, 10, 30, 100)

UNITS = {"us CPU": "µs", "ms CPU": "ms", "MB RSS": "MB", "% CPU": "%", "1/s": "/s"}

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.quiet { fill: #59636e }
.ours { fill: #2f6fdb }
.theirs { fill: #b4bcc6 }
.mark { stroke: #c2410c; stroke-width: 2 }
.grid { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .quiet { fill: #9198a1 }
  .ours { fill: #5b9bff }
  .theirs { fill: #565f6b }
  .mark { stroke: #ff9b5e }
  .grid { stroke: #3d444d }
}
"""


def number(value: float) -> str:
    """Write a number with three digits, or with all those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def comparison(title: str, lines: Sequence[dict[str, Any]]) -> str:
    """Draw ours beside upstream's; lines are those of a run's JSON that have both."""
    parts = [*_head(title, [("ours", "this project"), ("theirs", "upstream (Go)"), ("mark", "target")])]
    for row, line in enumerate(lines):
        top = TOP + row * ROW_HEIGHT
        target = line.get("most", line.get("least", 0.0))
        scale = BAR_WIDTH / max(line["value"], line["upstream"], target)
        unit = UNITS.get(line["unit"], line["unit"])
        parts.append(_text(MARGIN, top + 18, line["name"]))
        for offset, kind in ((0, "value"), (BAR_HEIGHT + 2, "upstream")):
            width = max(1.0, line[kind] * scale)
            colour = "ours" if kind == "value" else "theirs"
            parts.append(_bar(top + offset, width, colour))
            parts.append(_figure(width, target * scale, top + offset, f"{number(line[kind])} {unit}"))
        if target:
            parts.append(_mark(target * scale, top - 3, 2 * BAR_HEIGHT + 8))
    return _document(title, parts, TOP + len(lines) * ROW_HEIGHT)


def ratios(title: str, lines: Sequence[dict[str, Any]]) -> str:
    """Draw ratios with marks at their floors."""
    parts = [*_head(title, [("ours", "times as long as compiled"), ("mark", "floor")])]
    most = max(line["value"] for line in lines)
    bottom = TOP + len(lines) * RATIO_ROW_HEIGHT

    def place(ratio: float) -> float:
        return max(0.0, BAR_WIDTH * math.log(ratio / LEAST_RATIO) / math.log(most / LEAST_RATIO))

    for ratio in GRID:
        if ratio <= most:
            at = f"{LABEL_WIDTH + place(ratio):.4g}"
            parts.append(f'<line class="grid" x1="{at}" y1="{TOP - 6}" x2="{at}" y2="{bottom - 6}"/>')
            parts.append(_text(LABEL_WIDTH + place(ratio) - 8, bottom + 8, f"{ratio} ×", "quiet"))
    for row, line in enumerate(lines):
        top, width, floor = TOP + row * RATIO_ROW_HEIGHT, place(line["value"]), line.get("least", 0.0)
        parts.append(_text(MARGIN, top + 11, line["name"].removeprefix("micro: ").removesuffix("/compiled")))
        parts.append(_bar(top, width, "ours"))
        parts.append(_figure(width, place(floor) if floor else 0.0, top, f"{number(line['value'])} ×"))
        if floor:
            parts.append(_mark(place(floor), top - 3, BAR_HEIGHT + 6))
    return _document(title, parts, bottom + MARGIN)


def _head(title: str, legend: Iterable[tuple[str, str]]) -> Iterable[str]:
    yield _text(MARGIN, 28, title, "title")
    x = float(LABEL_WIDTH)
    for colour, text in legend:
        if colour == "mark":
            yield f'<line class="mark" x1="{x + 5:g}" y1="42" x2="{x + 5:g}" y2="56"/>'
        else:
            yield f'<rect class="{colour}" x="{x:g}" y="43" width="12" height="12" rx="2"/>'
        yield _text(x + 18, 53, text, "quiet")
        x += 42 + 7 * len(text)


def _text(x: float, y: float, text: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.4g}" y="{y:g}">{escape(text)}</text>'


def _figure(width: float, mark: float, top: float, text: str) -> str:
    """Write a figure behind its bar, and behind the mark where that would go through it."""
    x = mark if width <= mark < width + FIGURE_WIDTH else width
    return _text(LABEL_WIDTH + x + 8, top + 11, text, "quiet")


def _bar(y: float, width: float, colour: str) -> str:
    return f'<rect class="{colour}" x="{LABEL_WIDTH}" y="{y:g}" width="{width:.4g}" height="{BAR_HEIGHT}" rx="2"/>'


def _mark(x: float, y: float, height: float) -> str:
    at = f"{LABEL_WIDTH + x:.4g}"
    return f'<line class="mark" x1="{at}" y1="{y:g}" x2="{at}" y2="{y + height:g}"/>'


def _document(title: str, parts: Iterable[str], bottom: float) -> str:
    height = bottom + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )
