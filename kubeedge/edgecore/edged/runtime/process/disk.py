"""Small files that are there whole or not at all."""

from __future__ import annotations

import os


def read(path: str) -> str:
    """Return the text of a file, empty when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def write_durably(path: str, data: bytes) -> None:
    """Replace a file so that after a power cut it has the old or the new content. Raises OSError."""
    draft = path + ".new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(draft, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def boot_id() -> str:
    """Return what names this run of the machine."""
    return read("/proc/sys/kernel/random/boot_id").strip()
