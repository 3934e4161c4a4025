"""Every metric is named so that a reader knows whose it is and what it counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "kubeedge"


def metrics() -> Iterator[tuple[str, str, str]]:
    """Give (class, name, description) of every metric that a module makes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and len(node.args) >= 2:
                function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                name, description = node.args[:2]
                if (
                    function in ("Counter", "Gauge")
                    and isinstance(name, ast.Constant)
                    and isinstance(description, ast.Constant)
                ):
                    yield function, str(name.value), str(description.value)


@pytest.mark.parametrize(("kind", "name", "description"), list(metrics()), ids=lambda value: str(value)[:60])
def test_metric_says_whose_it_is_and_what_it_counts(kind: str, name: str, description: str) -> None:
    # One has the name of upstream's, which dashboards know.
    assert name.startswith("kubeedge_") or name == "KubeEdge_CloudHub_connected_nodes"
    assert name.endswith("_total") is (kind == "Counter")
    assert description


def test_no_two_metrics_have_one_name() -> None:
    names = [name for _, name, _ in metrics()]
    assert len(names) > 30
    assert sorted(names) == sorted(set(names))
