"""System calls for namespaces, mounts and privileges that Python's os module lacks before 3.12."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_RELATIME = 0x200000
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

SECCOMP_MODE_FILTER = 2
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

# Flags that a read-only remount has to repeat, because the kernel takes the new set whole (statvfs bit, mount flag).
_KEPT_FLAGS = (
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, MS_NOATIME),
    (os.ST_NODIRATIME, MS_NODIRATIME),
    (os.ST_RELATIME, MS_RELATIME),
)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, path: str = "") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path or None)
    return result


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def unshare(flags: int) -> None:
    """Give this process namespaces of its own; a new PID namespace holds only its later children (unshare(2))."""
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that fd refers to (setns(2))."""
    _check(_libc.setns(fd, kind))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount or change a mount (mount(2)); OSError names the target."""
    _check(_libc.mount(_text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(data)), target)


def unmount(target: str, flags: int = 0) -> None:
    """Unmount target (umount2(2))."""
    _check(_libc.umount2(_text(target), flags), target)


def make_readonly(target: str) -> None:
    """Make the mount at target read-only in this mount namespace, whatever the file system below allows."""
    present = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT_FLAGS if present & bit)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make new_root the root of this mount namespace and move the old one to put_old (pivot_root(2))."""
    _check(_libc.pivot_root(_text(new_root), _text(put_old)), new_root)


def set_hostname(name: str) -> None:
    """Name the machine in this UTS namespace."""
    encoded = os.fsencode(name)
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))))


def _prctl(option: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    return _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def become_subreaper() -> None:
    """Become the parent of orphaned descendants in place of init; kept over execve."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Make set-user-id programs and file capabilities powerless for this process and what it starts."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def filter_system_calls(program: bytes) -> None:
    """Hold this process and all that it starts to a seccomp filter, an array of struct sock_filter of 8 bytes each.

    Needs CAP_SYS_ADMIN or forbid_new_privileges() before it.
    """
    described = _Filter(len(program) // 8, program)
    mode, zero = ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.c_ulong(0)
    _check(_libc.prctl(PR_SET_SECCOMP, mode, ctypes.byref(described), zero, zero))


def drop_from_bounding_set(capability: int) -> None:
    """Take a capability from this process and all that it starts, even from programs run as root."""
    _prctl(PR_CAPBSET_DROP, capability)


def in_bounding_set(capability: int) -> bool:
    """Tell whether the bounding set holds the capability. Raises OSError (EINVAL) where the kernel has no such one."""
    return _prctl(PR_CAPBSET_READ, capability) == 1


def write_file(path: str, data: bytes) -> None:
    """Write a file of /proc in one call, without codecs: after a change of root their modules cannot be loaded."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def reset_signal(number: int) -> None:
    """Give a signal its default action back (signal.signal would load enum, 5 ms in every launch)."""
    _libc.signal(number, None)
