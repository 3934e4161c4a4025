"""Sets up the volumes of pods, keeps the files of projected kinds fresh and says where containers find them."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from kubeedge.edgecore.edged import requests
from kubeedge.edgecore.edged.downward import Place
from kubeedge.edgecore.edged.expansion import expand_strictly
from kubeedge.edgecore.edged.folders import Folders
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.runtime.interface import Mount, MountPropagation
from kubeedge.edgecore.edged.volumes import atomic, mounts, payload
from kubeedge.edgecore.edged.volumes.payload import MountError
from kubeedge.kube import quantity

log = logging.getLogger("kubeedge.edged")

_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
}
_PAYLOAD_KINDS = frozenset(("configMap", "secret", "downwardAPI", "projected"))
# Secrets of a node must not lie on a disk that somebody may take out.
_IN_MEMORY_KINDS = frozenset(("secret", "downwardAPI", "projected"))

_EMPTY_DIR_MODE = 0o777
_PAYLOAD_MODE = 0o777
_HOST_FOLDER_MODE = 0o755
_HOST_FILE_MODE = 0o644

_PROPAGATION = {
    None: MountPropagation.PRIVATE,
    "None": MountPropagation.PRIVATE,
    "HostToContainer": MountPropagation.HOST_TO_CONTAINER,
    "Bidirectional": MountPropagation.BIDIRECTIONAL,
}


def kind_of(volume: Object) -> str:
    """Return the kind of a volume: its key beside the name; emptyDir where there is none, as the API defaults it."""
    return next((key for key in volume if key != "name"), "emptyDir")


def unsupported(pod: Pod) -> str:
    """Say which volume of a pod this node cannot give, empty when it can give all."""
    for volume in pod.volumes:
        kind = kind_of(volume)
        if kind != "hostPath" and kind not in _PLUGINS:
            return f'volume "{volume.get("name")}" of kind {kind} is not supported on this node'
    return ""


class VolumeMounter:
    """Volumes on the node's file system, all pods. Slow work runs on threads."""

    def __init__(self, folders: Folders, objects: Objects) -> None:
        self._folders = folders
        self._objects = objects
        self._may_mount = True

    async def set_up(self, pod: Pod, place: Place) -> None:
        """Bring every volume of a pod into its place; what is there already stays. Raises MountError."""
        for volume in pod.volumes:
            await self._set_up_one(pod, volume, place)

    async def refresh(self, pod: Pod, place: Place) -> None:
        """Bring the files of projected kinds up to date. Raises MountError; what could be refreshed, is."""
        failure: MountError | None = None
        for volume in pod.volumes:
            if kind_of(volume) in _PAYLOAD_KINDS:
                try:
                    await self._set_up_one(pod, volume, place)
                except MountError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    async def _set_up_one(self, pod: Pod, volume: Object, place: Place) -> None:
        kind = kind_of(volume)
        name = volume["name"]
        try:
            if kind == "emptyDir":
                await asyncio.to_thread(self._empty_dir, pod, volume)
            elif kind == "hostPath":
                await asyncio.to_thread(_check_host_path, volume)
            elif kind in _PAYLOAD_KINDS:
                files = await payload.gather(pod, volume, self._objects, place)
                await asyncio.to_thread(self._write, pod, volume, kind, files)
            else:
                raise MountError(name, f"volume kind {kind} is not supported on this node", is_final=True)
        except OSError as error:
            raise MountError(name, f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")) from None

    def _empty_dir(self, pod: Pod, volume: Object) -> None:
        target = self._folders.volume(pod.uid, _PLUGINS["emptyDir"], volume["name"])
        body = volume.get("emptyDir") or {}
        medium = body.get("medium") or ""
        is_new = not target.exists()
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
        if medium == "Memory":
            if not mounts.is_mount_point(target):
                self._mount_memory(volume["name"], target, _memory_size(pod, body))
                is_new = True
        elif medium:
            raise MountError(volume["name"], f'storage medium "{medium}" is not supported on this node', is_final=True)
        if is_new:
            target.chmod(_EMPTY_DIR_MODE)
            group = pod.security.get("fsGroup")
            if group is not None:
                os.chown(target, -1, int(group))
                target.chmod(_EMPTY_DIR_MODE | stat.S_ISGID)

    def _mount_memory(self, name: str, target: Path, size_bytes: int | None) -> None:
        try:
            mounts.mount_memory(target, size_bytes)
        except PermissionError:
            raise MountError(name, "this node may not mount memory file systems", is_final=True) from None

    def _write(self, pod: Pod, volume: Object, kind: str, files: dict[str, atomic.File]) -> None:
        target = self._folders.volume(pod.uid, _PLUGINS[kind], volume["name"])
        target.mkdir(mode=0o750, parents=True, exist_ok=True)
        if kind in _IN_MEMORY_KINDS and self._may_mount and not mounts.is_mount_point(target):
            try:
                mounts.mount_memory(target)
            except PermissionError:
                # Without the right to mount they lie on the disk, readable for this user alone.
                self._may_mount = False
                log.warning("secrets are kept on disk reason=%s", "mounting is not permitted")
        if stat.S_IMODE(target.stat().st_mode) != _PAYLOAD_MODE:
            target.chmod(_PAYLOAD_MODE)
        if atomic.write(target, files):
            log.debug("volume written pod=%s volume=%s", pod.key, volume["name"])

    def over_limit(self, pod: Pod) -> str:
        """Say which emptyDir of a pod holds more than its sizeLimit, empty when none does. Reads the whole volume."""
        for volume in pod.volumes:
            body = volume.get("emptyDir") or {}
            # One in memory is no larger than its limit anyway.
            if body.get("sizeLimit") and body.get("medium") != "Memory":
                path = self._folders.volume(pod.uid, _PLUGINS["emptyDir"], volume["name"])
                if _usage_bytes(path) > quantity.whole(body["sizeLimit"]) > 0:
                    return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{body["sizeLimit"]}". '
        return ""

    def host_path(self, pod: Pod, volume: Object) -> str:
        """Return where a volume lies on the node."""
        kind = kind_of(volume)
        if kind == "hostPath":
            return str(volume["hostPath"]["path"])
        return str(self._folders.volume(pod.uid, _PLUGINS[kind], volume["name"]))

    async def mounts_of(self, pod: Pod, container: Object, environment: Mapping[str, str]) -> list[Mount]:
        """Return the mounts of a container for its volumeMounts, in their order.

        environment serves subPathExpr. Raises MountError.
        """
        volumes = {volume["name"]: volume for volume in pod.volumes}
        result: list[Mount] = []
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            volume = volumes.get(mount["name"])
            if volume is None:
                raise MountError(mount["name"], f'no volume "{mount["name"]}" in the pod', is_final=True)
            source = self.host_path(pod, volume)
            sub_path = _sub_path(mount, environment)
            if sub_path:
                target = self._folders.subpath(pod.uid, volume["name"], container["name"], index)
                try:
                    source = await asyncio.to_thread(self._bind_sub_path, source, sub_path, target)
                except OSError as error:
                    message = f'failed to prepare subPath for volumeMount "{mount["name"]}": {error.strerror or error}'
                    raise MountError(mount["name"], message) from None
            result.append(
                Mount(
                    container_path=mount["mountPath"],
                    host_path=source,
                    readonly=bool(mount.get("readOnly")) or kind_of(volume) in _PAYLOAD_KINDS,
                    propagation=_PROPAGATION.get(mount.get("mountPropagation"), MountPropagation.PRIVATE),
                )
            )
        return result

    def _bind_sub_path(self, volume: str, sub_path: str, target: Path) -> str:
        if mounts.is_mount_point(target):
            return str(target)
        root = os.path.realpath(volume)
        real = os.path.realpath(os.path.join(root, sub_path))
        if real != root and not real.startswith(root + os.sep):
            raise OSError(f"subpath {sub_path!r} leads out of its volume")
        descriptor = _open_beneath(root, os.path.relpath(real, root))
        try:
            if not self._may_mount:
                return real
            target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                target.mkdir(mode=0o750, exist_ok=True)
            else:
                target.touch(mode=0o640)
            mounts.mount_bind(f"/proc/self/fd/{descriptor}", target)
        except PermissionError:
            self._may_mount = False
            return real
        finally:
            os.close(descriptor)
        return str(target)


def _open_beneath(root: str, relative: str) -> int:
    """Open a path below root, making the folders that are missing.

    No link is followed: a container that changes the way meanwhile gains nothing.
    """
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    for part in relative.split(os.sep):
        if part == ".":
            continue
        try:
            following = _open_or_make(part, descriptor, mode)
        finally:
            os.close(descriptor)
        descriptor = following
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{part!r} became a link")
    return descriptor


def _open_or_make(name: str, folder: int, mode: int) -> int:
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=folder)
        made = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=folder)
        # Past the umask: whoever may use the volume may use its parts.
        os.fchmod(made, mode)
        return made


def _sub_path(mount: Object, environment: Mapping[str, str]) -> str:
    text = mount.get("subPath") or ""
    if mount.get("subPathExpr"):
        try:
            text = expand_strictly(mount["subPathExpr"], environment)
        except KeyError as error:
            raise MountError(mount["name"], f"subPathExpr names an unknown variable {error}") from None
    parts = text.split("/")
    if text.startswith("/") or ".." in parts:
        raise MountError(mount["name"], f"subPath {text!r} must be relative and without '..'", is_final=True)
    return "/".join(part for part in parts if part not in ("", "."))


def _usage_bytes(folder: Path) -> int:
    """Return what a folder takes on the disk; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except OSError:
                # Gone since it was listed.
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total


def _memory_size(pod: Pod, body: Object) -> int | None:
    limit = body.get("sizeLimit")
    size = quantity.whole(limit) if limit is not None else 0
    return size or requests.sandbox_resources(pod).memory_limit_bytes or None


def _check_host_path(volume: Object) -> None:
    body = volume["hostPath"] or {}
    path, wanted = str(body.get("path") or ""), body.get("type") or ""
    if wanted == "DirectoryOrCreate" and not os.path.exists(path):
        os.makedirs(path, mode=_HOST_FOLDER_MODE, exist_ok=True)
    elif wanted == "FileOrCreate" and not os.path.exists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, _HOST_FILE_MODE))
    checks = {
        "Directory": (stat.S_ISDIR, "a directory"),
        "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
        "File": (stat.S_ISREG, "a file"),
        "FileOrCreate": (stat.S_ISREG, "a file"),
        "Socket": (stat.S_ISSOCK, "a socket file"),
        "CharDevice": (stat.S_ISCHR, "a character device"),
        "BlockDevice": (stat.S_ISBLK, "a block device"),
    }
    if not wanted:
        return
    if wanted not in checks:
        raise MountError(volume["name"], f"hostPath type check failed: {wanted} is no type", is_final=True)
    fits, what = checks[wanted]
    try:
        is_right = fits(os.stat(path).st_mode)
    except OSError:
        is_right = False
    if not is_right:
        raise MountError(volume["name"], f"hostPath type check failed: {path} is not {what}")
