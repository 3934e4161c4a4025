"""The table of mounts of this namespace, as the kernel shows it."""

from __future__ import annotations


def mount_points() -> list[str]:
    """Return where something is mounted in this namespace, in the order of mounting."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return [_unescaped(line.split(" ", 5)[4]) for line in table]


def _unescaped(field: str) -> str:
    """Undo the octal escapes of /proc/self/mountinfo."""
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
