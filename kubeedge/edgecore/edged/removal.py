"""Removing folders with all that is in them."""

from __future__ import annotations

from pathlib import Path


def remove_tree(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder with everything in it. Raises OSError unless errors are ignored."""
    # Half a megabyte, for shutil loads what it needs for archives: a node that removes nothing does without.
    import shutil

    shutil.rmtree(folder, ignore_errors=ignore_errors)
