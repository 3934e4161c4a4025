"""Mounts of the node: memory file systems, bind mounts, and taking them away again."""

from __future__ import annotations

import os
from pathlib import Path

from kubeedge.edgecore.edged.runtime.process.mountinfo import mount_points

# The kernel is called through ctypes: a third of a megabyte that a node without such volumes can do without, so it is
# imported where something is mounted.


def mount_memory(target: Path, size_bytes: int | None = None) -> None:
    """Mount an empty memory file system of at most size_bytes. Raises OSError (PermissionError without the right)."""
    from kubeedge.edgecore.edged.runtime.process import kernel

    options = f"size={size_bytes}" if size_bytes else None
    kernel.mount("tmpfs", str(target), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def mount_bind(source: str, target: Path) -> None:
    """Make source appear at target. Raises OSError."""
    from kubeedge.edgecore.edged.runtime.process import kernel

    kernel.mount(source, str(target), None, kernel.MS_BIND | kernel.MS_REC)


def unmount(target: Path) -> None:
    """Take the mount at target away, even if somebody still uses it. Raises OSError."""
    from kubeedge.edgecore.edged.runtime.process import kernel

    kernel.unmount(str(target), kernel.MNT_DETACH | kernel.UMOUNT_NOFOLLOW)


def mounts_below(folder: Path) -> list[Path]:
    """Return all mount points in folder or at it, the innermost first."""
    root = os.path.realpath(folder)
    points = [Path(point) for point in mount_points() if point == root or point.startswith(root + "/")]
    # Later lines lie over earlier ones: the last mounted goes first.
    points.reverse()
    return points


def is_mount_point(path: Path) -> bool:
    """Tell whether something is mounted exactly there."""
    return Path(os.path.realpath(path)) in mounts_below(path)
