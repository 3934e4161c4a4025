"""The lock that keeps a second process away from a file that is ours."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock; pid is its number as far as it wrote it down, else empty."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(f"{path} is held by another process{f' (pid {pid})' if pid else ''}")
        self.path = path
        self.pid = pid


class LockFile:
    """An exclusive lock on a file of its own, given back by the kernel whatever becomes of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises LockedError when it is taken, OSError when the file cannot be made."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LockedError(self._path, pid) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes hold two files of that name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
