"""Whole files: they are replaced by rename, with the mode wanted or the one they had."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeedge.store.file import replace


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_new_file_has_the_mode_asked_for(tmp_path: Path) -> None:
    replace(tmp_path / "f", b"data", mode=0o600)
    assert (tmp_path / "f").read_bytes() == b"data"
    assert mode(tmp_path / "f") == 0o600


def test_existing_file_keeps_its_mode_when_told_so(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    replace(path, b"new", mode=0o600, keep=True)
    assert (path.read_bytes(), mode(path)) == (b"new", 0o644)
    replace(path, b"newer", mode=0o600)
    assert (path.read_bytes(), mode(path)) == (b"newer", 0o600)


def test_open_reader_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        replace(path, b"new", mode=0o600)
        assert reader.read() == b"old"


def test_failure_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="f"):
        replace(tmp_path / "f", b"data", mode=0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
