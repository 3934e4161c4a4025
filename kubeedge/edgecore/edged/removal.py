"""Removing folders with all that is in them, without shutil: that is half a megabyte, archives included."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def remove_tree(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder with everything in it; a link is removed, not followed, even if a pod swaps it in meanwhile.

    Raises OSError; with ignore_errors as much is removed as can be.
    """
    with contextlib.suppress(OSError) if ignore_errors else contextlib.nullcontext():
        # Each name is removed relative to the open folder that it was found in.
        for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
            for name in folders + files:
                with contextlib.suppress(OSError) if ignore_errors else contextlib.nullcontext():
                    _remove(name, descriptor)
        os.rmdir(folder)


def _remove(name: str, descriptor: int) -> None:
    try:
        os.unlink(name, dir_fd=descriptor)
    except (IsADirectoryError, PermissionError):
        # POSIX lets unlink refuse a folder with either.
        os.rmdir(name, dir_fd=descriptor)
