"""What this machine lets the runtime do, found by trying it."""

from __future__ import annotations

import os

from kubeedge.edgecore.edged.runtime.process import cgroups, kernel, namespaces, seccomp

_LAYERS = ("lower", "upper", "work", "merged")


def find(folder: str) -> list[str]:
    """Return the words for what works: root, seccomp, uts, ipc, mount, pid, overlay, memory, cpu.

    The word `user` says that namespaces can be had, but only inside a user namespace. folder is an empty folder to
    try mounts in, on the file system that containers will be kept on.
    """
    found = ["root"] if os.geteuid() == 0 else []
    base: list[str] = []
    if not _works(["uts"], folder, ""):
        if os.geteuid() == 0 or not _works(["user", "uts"], folder, ""):
            return found + cgroups.find().usable()
        base = ["user"]
    found += base
    if seccomp.is_known() and _works(base, folder, "seccomp"):
        found.append("seccomp")
    for name, needed, trial in (
        ("uts", ["uts"], ""),
        ("ipc", ["ipc"], ""),
        ("mount", ["mount"], "tmpfs"),
        ("pid", ["mount", "pid"], "proc"),
        ("overlay", ["mount"], "overlay"),
    ):
        if _works(base + needed, folder, trial):
            found.append(name)
    return found + cgroups.find().usable()


def _works(names: list[str], folder: str, trial: str) -> bool:
    """Try namespaces, and one thing more, in a child; tell whether it could."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    try:
        namespaces.unshare(names)
        inner = os.fork()
        if inner:
            os._exit(1 if os.waitpid(inner, 0)[1] else 0)
        if "mount" in names:
            kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SLAVE)
        _try(folder, trial)
        os._exit(0)
    finally:
        os._exit(1)


def _try(folder: str, trial: str) -> None:
    if trial == "tmpfs":
        kernel.mount("tmpfs", folder, "tmpfs", 0)
    elif trial == "proc":
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    elif trial == "seccomp":
        kernel.filter_system_calls(seccomp.default_profile([]))
    elif trial == "overlay":
        for name in _LAYERS:
            os.makedirs(f"{folder}/{name}", exist_ok=True)
        lower, upper, work, merged = (f"{folder}/{name}" for name in _LAYERS)
        kernel.mount("overlay", merged, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
