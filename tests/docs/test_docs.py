"""The pages agree with the tree: links lead somewhere, files and keys that are named exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import fields

from kubeedge.config.cloudcore import CloudCore
from kubeedge.config.edgecore import EdgeCore
from kubeedge.config.kubelet import TailoredKubeletConfig
from kubeedge.config.section import Section

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/golden/*.md")])
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()

# A path of this tree, alone between backticks: `kube/informer.py`, `tests/replay`, `ci/demo`.
_PATH = re.compile(r"`((?:[a-z_]+/)+[a-z_.]*)`")
# Folders whose name another place has too: in the data of a program, which is no file of ours.
_DATA = ("pki/", "pki/sa.key")


def found(pattern: str | re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for match in re.finditer(pattern, page.read_text()):
            yield page, match.group(1)


def shown(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("page", "target"), list(found(r"\]\(([^)#]+)[^)]*\)")), ids=shown)
def test_link_leads_somewhere(page: Path, target: str) -> None:
    assert "://" in target or (page.parent / target).exists()


@pytest.mark.parametrize(("page", "path"), sorted(set(found(_PATH))), ids=shown)
def test_file_that_is_named_exists(page: Path, path: str) -> None:
    for base in (ROOT, ROOT / "kubeedge"):
        if (base / path.partition("/")[0]).exists() and path not in _DATA:
            assert (base / path).exists()


def key_exists(section: Section, path: str) -> bool:
    name, _, rest = path.partition(".")
    for field in fields(section):
        if field.encode_name == name:
            value = getattr(section, field.name)
            return not rest or (isinstance(value, Section) and key_exists(value, rest))
    return False


@pytest.mark.parametrize(
    ("program", "key"), re.findall(r"^\| (cloudcore|edgecore) `([A-Za-z.]+)` \|", CONFIGURATION, re.MULTILINE)
)
def test_key_of_our_own_exists(program: str, key: str) -> None:
    assert key_exists({"cloudcore": CloudCore(), "edgecore": EdgeCore()}[program], key)


def test_keys_of_the_kubelet_that_have_an_effect_are_named() -> None:
    """Those that edgecore's composition root reads."""
    tree = ast.parse((ROOT / "kubeedge" / "edgecore" / "app.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kubelet"
    }
    named = CONFIGURATION.partition("these keys have an effect, the others are accepted:")[2].partition("\n\n")[0]
    keys = {field.name: field.encode_name for field in fields(TailoredKubeletConfig)}
    assert sorted(re.findall(r"`(\w+)`", named)) == sorted(keys[name] for name in read)
