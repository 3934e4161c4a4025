"""The file tree of one container, built in a mount namespace of its own (spec 05 §5.3, §5.6).

The tree is the host's, or an unpacked image under a layer of the container's own. Volumes appear at their paths.
A path that the host does not have is never made on the host: the folder above it is replaced, in this namespace
only, by a small tmpfs that shows the same entries plus the missing one.
"""

from __future__ import annotations

import os
import stat

from kubeedge.edgecore.edged.runtime.process import kernel, mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SHOWN_ENTRIES = 5000
# What a container may write into folders that stand in for the host's, and into /dev.
STAND_IN_OPTIONS = "size=16m"
SHM_OPTIONS = "size=64m,mode=1777"

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_KERNEL_FILES = ("/proc", "/sys", "/dev")


class Tree:
    """Builds the tree. stage is an empty folder of the container's, used as a mount point on the way."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        # Folder -> whether a mount point may be made in it; the longest prefix of a path decides.
        self._writable = {"/": False}
        self._old_root = ""

    def build(self, plan: dict[str, Any]) -> None:
        """Build the tree that plan describes and make it the root. Raises OSError, LookupError."""
        sources = [os.open(mount["source"], os.O_PATH) for mount in plan["mounts"]]
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SLAVE)
        if plan["image"]:
            self._enter_image(plan["image"], plan["layer"])
        if plan["pid"]:
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        if not plan["privileged"]:
            self._make_devices()
        order = sorted(range(len(sources)), key=lambda index: plan["mounts"][index]["target"].count("/"))
        outer = [plan["mounts"][index]["target"] for index in order]
        for number, index in enumerate(order):
            if not any(_is_below(outer[number], above) for above in outer[:number]):
                self._make_point(outer[number], _is_folder(sources[index]))
        for path in plan["masked"]:
            _mask(path)
        for path in plan["readonly_paths"]:
            if os.path.exists(path):
                kernel.mount(path, path, None, kernel.MS_BIND | kernel.MS_REC)
                kernel.make_readonly(path)
        if plan["readonly"]:
            self._make_tree_readonly()
        for index in order:
            self._bind(sources[index], plan["mounts"][index])
        if self._old_root:
            kernel.unmount(self._old_root, kernel.MNT_DETACH)
            if not plan["readonly"]:
                os.rmdir(self._old_root)
        for fd in sources:
            os.close(fd)

    def _enter_image(self, image: str, layer: str) -> None:
        """Make an unpacked image the root, written to in the container's own layer only."""
        options = f"lowerdir={image},upperdir={layer}/upper,workdir={layer}/work"
        kernel.mount("overlay", self._stage, "overlay", 0, options)
        for folder in _KERNEL_FILES:
            os.makedirs(self._stage + folder, exist_ok=True)
            kernel.mount(folder, self._stage + folder, None, kernel.MS_BIND | kernel.MS_REC)
        self._pivot()
        self._writable = {"/": True, **dict.fromkeys(_KERNEL_FILES, False)}

    def _pivot(self) -> None:
        self._old_root = "/.host"
        os.makedirs(self._stage + self._old_root, mode=0o700)
        kernel.pivot_root(self._stage, self._stage + self._old_root)
        os.chdir("/")
        self._stage = self._old_root + self._stage

    def _make_devices(self) -> None:
        """Replace /dev by the few devices that every container has."""
        stage = self._stage
        kernel.mount("tmpfs", stage, "tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, f"{STAND_IN_OPTIONS},mode=755")
        for name in _DEVICES:
            _bind_entry(f"/dev/{name}", f"{stage}/{name}", is_folder=False)
        for name, target in _DEVICE_LINKS:
            os.symlink(target, f"{stage}/{name}")
        os.mkdir(f"{stage}/pts")
        kernel.mount(
            "devpts",
            f"{stage}/pts",
            "devpts",
            kernel.MS_NOSUID | kernel.MS_NOEXEC,
            "newinstance,ptmxmode=0666,mode=0620",
        )
        os.mkdir(f"{stage}/shm")
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("tmpfs", f"{stage}/shm", "tmpfs", flags, SHM_OPTIONS)
        kernel.mount(stage, "/dev", None, kernel.MS_MOVE)
        self._writable["/dev"] = True

    def _make_point(self, target: str, is_folder: bool) -> None:
        """See to it that target exists as a folder or file to mount on."""
        path = os.path.realpath(target)
        if os.path.isdir(path) if is_folder else os.path.exists(path) and not os.path.isdir(path):
            return
        if os.path.lexists(path):
            raise OSError(f"{target} is not a {'folder' if is_folder else 'file'} there")
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        if not self._may_write(parent):
            self._stand_in(parent)
        if is_folder:
            os.makedirs(path, exist_ok=True)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))

    def _may_write(self, folder: str) -> bool:
        while folder not in self._writable:
            folder = os.path.dirname(folder)
        return self._writable[folder]

    def _stand_in(self, folder: str) -> None:
        """Replace folder by a tmpfs that shows its entries and can take more."""
        kept = os.stat(folder)
        with os.scandir(folder) as found:
            entries = list(found)
        if len(entries) > MAX_SHOWN_ENTRIES:
            raise OSError(f"{folder} has too many entries to mount something beside them")
        stage = self._stage
        kernel.mount("tmpfs", stage, "tmpfs", 0, STAND_IN_OPTIONS)
        # Otherwise it would be shown inside itself, as a part of the entry that the stage lies in.
        kernel.mount(None, stage, None, kernel.MS_UNBINDABLE)
        os.chmod(stage, stat.S_IMODE(kept.st_mode))
        if os.geteuid() == 0:
            os.chown(stage, kept.st_uid, kept.st_gid)
        for entry in entries:
            shown = f"{stage}/{entry.name}"
            try:
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), shown)
                    continue
                is_folder = entry.is_dir()
                _bind_entry(entry.path, shown, is_folder)
            except FileNotFoundError:
                continue
            if is_folder:
                self._writable.setdefault(entry.path, False)
        self._writable[folder] = True
        if folder == "/":
            self._pivot()
        else:
            kernel.mount(stage, folder, None, kernel.MS_MOVE)
        kernel.mount(None, folder, None, kernel.MS_PRIVATE)

    def _make_tree_readonly(self) -> None:
        for point in mountinfo.mount_points():
            hidden = self._old_root and _is_below(point, self._old_root)
            if hidden or any(_is_below(point, folder) for folder in _KERNEL_FILES):
                continue
            try:
                kernel.make_readonly(point)
            except FileNotFoundError:
                continue  # it lies below another mount and cannot be reached

    def _bind(self, source: int, mount: dict[str, Any]) -> None:
        target = os.path.realpath(mount["target"])
        self._make_point(target, _is_folder(source))
        kernel.mount(f"/proc/self/fd/{source}", target, None, kernel.MS_BIND | kernel.MS_REC)
        if not mount["follows_host"]:
            kernel.mount(None, target, None, kernel.MS_PRIVATE | kernel.MS_REC)
        if mount["readonly"]:
            kernel.make_readonly(target)
        self._writable[target] = True


def _bind_entry(source: str, target: str, is_folder: bool) -> None:
    """Show source at target, which is made for it."""
    if is_folder:
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def _mask(path: str) -> None:
    """Hide a file behind /dev/null, a folder behind an empty one that cannot be written."""
    if os.path.isdir(path):
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_RDONLY)
    elif os.path.exists(path):
        kernel.mount("/dev/null", path, None, kernel.MS_BIND)


def _is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
