"""Imports only go downwards (DESIGN: layout), checked on the source of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "kubeedge"

# From the bottom up. A module may import from its own layer or from a lower one; inside the layer of the programs'
# modules it may only import from its own folder.
SHARED = {
    "kubeedge._speedups": 0,
    "kubeedge": 0,
    "kubeedge.metrics": 0,
    "kubeedge.message": 1,
    "kubeedge.resources": 1,
    "kubeedge.topics": 1,
    "kubeedge.monitoring": 1,
    "kubeedge.bus": 2,
    "kubeedge.daemon": 2,
    "kubeedge.link": 2,
    "kubeedge.store": 2,
    "kubeedge.kube": 2,
    "kubeedge.pki": 2,
    "kubeedge.config": 2,
    "kubeedge.proto": 2,
    "kubeedge.serving": 2,
}
PROGRAMS = ("kubeedge.cloudcore", "kubeedge.edgecore")
MODULE_LAYER = 3
APPLICATION_LAYER = 4
COMPOSITION_ROOTS = ("app", "__main__")


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kubeedge")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "kubeedge":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if (ROOT / Path(*full.split("."))).with_suffix(".py").exists() else node.module


def layer(name: str) -> int:
    parts = name.split(".")
    for length in range(min(len(parts), 2), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in SHARED:
            if prefix == "kubeedge" and len(parts) > 1:
                break
            return SHARED[prefix]
    if name.startswith(PROGRAMS) and (len(parts) < 3 or parts[2] in COMPOSITION_ROOTS):
        return APPLICATION_LAYER
    if name.startswith("kubeedge.demo"):
        return APPLICATION_LAYER
    return MODULE_LAYER


def component(name: str) -> str:
    """The folder that a module of the third layer belongs to: `kubeedge.cloudcore.hub`, `kubeedge.apiserver`."""
    parts = name.split(".")
    return ".".join(parts[:3]) if name.startswith(PROGRAMS) else ".".join(parts[:2])


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_module_imports_only_downwards(name: str, path: Path) -> None:
    own = layer(name)
    for target in imported(path):
        assert layer(target) <= own, f"{name} imports {target}, which lies above it"
        if own == MODULE_LAYER and layer(target) == MODULE_LAYER:
            assert component(name) == component(target), f"{name} imports its sibling {target}; they meet on the bus"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_folder_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path} has no docstring"
    assert docstring.count("\n") < 10, f"the docstring of {path} is longer than ten lines"
