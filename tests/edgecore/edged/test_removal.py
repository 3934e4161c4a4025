"""Removing folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.edged.removal import remove_tree

TREES = st.recursive(
    st.sampled_from(["file", "link to a file", "link to a folder", "link to nothing"]),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c", "...", "x y"]), inner, max_size=3),
    max_leaves=12,
)


def make(path: Path, tree: object, outside: Path) -> None:
    """Make what a tree describes; its links lead outside."""
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            make(path / name, inner, outside)
    elif tree == "file":
        path.write_text("text")
    else:
        path.symlink_to({"link to a file": outside / "file", "link to a folder": outside}.get(str(tree), "nothing"))


@given(tree=st.dictionaries(st.sampled_from(["a", "b", "c"]), TREES, max_size=3), ignore_errors=st.booleans())
def test_whatever_is_in_it_is_gone_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object], ignore_errors: bool
) -> None:
    base = tmp_path_factory.mktemp("removal")
    outside = base / "outside"
    outside.mkdir()
    (outside / "file").write_text("stays")
    make(base / "folder", tree, outside)
    remove_tree(base / "folder", ignore_errors=ignore_errors)
    assert os.listdir(base) == ["outside"]
    assert (outside / "file").read_text() == "stays"
    shutil.rmtree(base)


def test_folder_that_is_missing_is_an_error_unless_errors_are_ignored(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "none")
    remove_tree(tmp_path / "none", ignore_errors=True)


def test_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("stays")
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "folder" / "file").exists()


def test_what_cannot_be_removed_does_not_save_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a folder that is a mount point."""
    make(tmp_path / "folder", {"a": {"busy": {}, "x": "file"}, "b": "file"}, tmp_path)
    really = os.rmdir

    def rmdir(path: str | Path, *, dir_fd: int | None = None) -> None:
        if path == "busy":
            raise OSError(16, "Device or resource busy")
        really(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(OSError, match="busy"):
        remove_tree(tmp_path / "folder")
    remove_tree(tmp_path / "folder", ignore_errors=True)
    assert [path.name for path in sorted((tmp_path / "folder").rglob("*"))] == ["a", "busy"]
