"""Mounts of the node: memory file systems, bind mounts, and taking them away again."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_REC = 16384
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_MOUNT_TABLE = "/proc/self/mountinfo"


class _Kernel:
    """The two system calls, out of the C library that Python has loaded anyway."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None

    def _c(self) -> ctypes.CDLL:
        if self._library is None:
            self._library = ctypes.CDLL(None, use_errno=True)
        return self._library

    def mount(self, source: str, target: str, kind: str, flags: int, options: str) -> None:
        result = self._c().mount(
            source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
        )
        if result:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)

    def unmount(self, target: str) -> None:
        if self._c().umount2(target.encode(), MNT_DETACH | UMOUNT_NOFOLLOW):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)


_kernel = _Kernel()


def mount_memory(target: Path, size_bytes: int | None = None) -> None:
    """Mount an empty memory file system of at most size_bytes. Raises OSError (PermissionError without the right)."""
    options = f"size={size_bytes}" if size_bytes else ""
    _kernel.mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV, options)


def mount_bind(source: str, target: Path) -> None:
    """Make source appear at target. Raises OSError."""
    _kernel.mount(source, str(target), "", MS_BIND | MS_REC, "")


def unmount(target: Path) -> None:
    """Take the mount at target away, even if somebody still uses it. Raises OSError."""
    _kernel.unmount(str(target))


def mounts_below(folder: Path) -> list[Path]:
    """Return all mount points in folder or at it, the innermost first."""
    root = os.path.realpath(folder)
    found: list[Path] = []
    with open(_MOUNT_TABLE, encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = _unescape(line.split(" ", 5)[4])
            if point == root or point.startswith(root + "/"):
                found.append(Path(point))
    # Later lines lie over earlier ones: the last mounted goes first.
    found.reverse()
    return found


def is_mount_point(path: Path) -> bool:
    """Tell whether something is mounted exactly there."""
    return Path(os.path.realpath(path)) in mounts_below(path)


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
