"""Replaces all files of a directory at once: readers see the old set or the new one, never a mixture (spec 05 §5.6).

The files lie in a directory `..<time>.<random>`, the symbolic link `..data` names it and is swapped by rename; what
users see are links `name -> ..data/name`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kubeedge.edgecore.edged.removal import remove_tree

DATA = "..data"
_NEW_DATA = "..data_tmp"
_OWN_PREFIX = ".."


class File(msgspec.Struct, frozen=True):
    """One file to be written. mode holds permission bits; user and group None: as of the process."""

    content: bytes
    mode: int
    user: int | None = None
    group: int | None = None


def write(target: Path, files: Mapping[str, File]) -> bool:
    """Make target hold exactly files, by their relative path; return False when it does already.

    Raises OSError.
    """
    current = _current(target)
    if current is not None and _holds(current, files):
        _link(target, files)
        return False
    stamp = datetime.now(UTC).strftime("%Y_%m_%d_%H_%M_%S.")
    fresh = target / f"{_OWN_PREFIX}{stamp}{os.urandom(5).hex()}"
    fresh.mkdir()
    try:
        fresh.chmod(0o755)
        for name, file in files.items():
            _write_file(fresh, name, file)
        new_link = target / _NEW_DATA
        new_link.unlink(missing_ok=True)
        new_link.symlink_to(fresh.name)
        new_link.rename(target / DATA)
    except OSError:
        remove_tree(fresh, ignore_errors=True)
        raise
    _link(target, files)
    _clear(target, files, fresh)
    return True


def _current(target: Path) -> Path | None:
    try:
        name = os.readlink(target / DATA)
    except OSError:
        return None
    return target / name


def _holds(folder: Path, files: Mapping[str, File]) -> bool:
    found: set[str] = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            relative = str(path.relative_to(folder))
            wanted = files.get(relative)
            if wanted is None or _mode(path) != wanted.mode or path.read_bytes() != wanted.content:
                return False
            found.add(relative)
    return len(found) == len(files) and folder.is_dir()


def _mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def _write_file(folder: Path, name: str, file: File) -> None:
    path = folder / name
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(file.content)
    if file.user is not None or file.group is not None:
        os.chown(path, -1 if file.user is None else file.user, -1 if file.group is None else file.group)
    # After the change of owner, which takes bits away; and past the umask.
    path.chmod(file.mode)


def _link(target: Path, files: Mapping[str, File]) -> None:
    for top in {name.split("/", 1)[0] for name in files}:
        link = target / top
        destination = f"{DATA}/{top}"
        if link.is_symlink() and os.readlink(link) == destination:
            continue
        if link.is_symlink() or link.exists():
            _remove(link)
        link.symlink_to(destination)


def _clear(target: Path, files: Mapping[str, File], fresh: Path) -> None:
    tops = {name.split("/", 1)[0] for name in files}
    for entry in target.iterdir():
        if entry.name in tops or entry.name == DATA or entry == fresh:
            continue
        if entry.name.startswith(_OWN_PREFIX) or entry.is_symlink():
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        remove_tree(path, ignore_errors=True)
