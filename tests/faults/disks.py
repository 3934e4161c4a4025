"""Small disks that can be full or read-only. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIMEOUT_S = 10
FILLER = "filler"


class Disk:
    """A file system in memory, mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no room on it."""
        descriptor = os.open(self.folder / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            # The last page goes in pieces.
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        os.write(descriptor, bytes(size))
                except OSError:
                    continue
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Give the room back."""
        (self.folder / FILLER).unlink()

    def set_read_only(self, is_read_only: bool) -> None:
        """Let nothing be written any more, or all again; no file may be open for that."""
        _run("mount", "-o", f"remount,{'ro' if is_read_only else 'rw'}", str(self.folder))


@contextmanager
def disk(folder: Path, size_mib: int = 8) -> Iterator[Disk]:
    """Mount a disk of that size on a folder, which is made."""
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0711", "tmpfs", str(folder))
    try:
        yield Disk(folder)
    finally:
        _run("umount", "-l", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
