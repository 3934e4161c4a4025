"""Namespaces by name: making new ones, entering those of a running container."""

from __future__ import annotations

import os

from kubeedge.edgecore.edged.runtime.process import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Name -> (clone flag, file in /proc/<pid>/ns), in the order in which they have to be entered: the user namespace
# gives the right to enter the others, the mount namespace takes the host's /proc away.
NAMESPACES = {
    "user": (kernel.CLONE_NEWUSER, "user"),
    "ipc": (kernel.CLONE_NEWIPC, "ipc"),
    "uts": (kernel.CLONE_NEWUTS, "uts"),
    "pid": (kernel.CLONE_NEWPID, "pid"),
    "mount": (kernel.CLONE_NEWNS, "mnt"),
}


def unshare(names: Iterable[str]) -> None:
    """Give this process new namespaces of these names. In a new user namespace it stays the user that it is."""
    wanted = set(names)
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(sum(NAMESPACES[name][0] for name in wanted))
    if "user" in wanted:
        kernel.write_file("/proc/self/uid_map", b"%d %d 1" % (user, user))
        kernel.write_file("/proc/self/setgroups", b"deny")
        kernel.write_file("/proc/self/gid_map", b"%d %d 1" % (group, group))


def join(target: int, names: Iterable[str]) -> None:
    """Enter the namespaces of process target that have one of these names and are not this process's already."""
    enter(opened(target, names))


def opened(target: int, names: Iterable[str]) -> list[tuple[int, int]]:
    """Return descriptor and clone flag of each namespace that join() would enter. Raises OSError when target ends."""
    wanted = set(names)
    found = []
    for name, (flag, file) in NAMESPACES.items():
        path = f"/proc/{target}/ns/{file}"
        if name in wanted and os.stat(path).st_ino != os.stat(f"/proc/self/ns/{file}").st_ino:
            found.append((os.open(path, os.O_RDONLY), flag))
    return found


def enter(descriptors: list[tuple[int, int]]) -> None:
    """Enter what opened() has found, and close it."""
    for fd, flag in descriptors:
        kernel.setns(fd, flag)
        os.close(fd)
