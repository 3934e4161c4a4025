"""Small files that are there whole or not at all, whatever is killed when."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int, keep: bool = False) -> None:
    """Put data in the place of the file at path, by rename, and have it on disk before returning.

    mode is that of the new file; with keep an existing file keeps its own mode and owner. The folder must exist.
    Raises OSError and then leaves what was there.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if keep and path.exists():
                present = path.stat()
                mode = present.st_mode & 0o7777
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), present.st_uid, present.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
