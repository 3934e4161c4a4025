"""Images of the process runtime: the host itself, and file trees that somebody unpacked.

No registry is asked. A container that gives a command runs it in the host's file tree, whatever its image is called.
`<root>/images/<name>/rootfs` (name with `/` and `:` written as `%2F` and `%3A`, the tag `latest` left out) holds an
unpacked image; beside it may be `config.json`, the `config` object of the OCI image specification, of which
Entrypoint, Cmd, Env, WorkingDir and User are used.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from kubeedge.edgecore.edged.runtime.interface import Image, RuntimeCallError

HOST = "host"


class ImageConfig(msgspec.Struct, rename="pascal"):
    """What an image says about its own start (OCI image specification, object `config`)."""

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    working_dir: str = ""
    user: str = ""


class LocalImage(msgspec.Struct):
    """An image that containers can start from; rootfs is empty for the host's file tree."""

    name: str
    rootfs: str = ""
    config: ImageConfig = msgspec.field(default_factory=ImageConfig)

    def described(self) -> Image:
        """Return it as the runtime interface shows images."""
        uid, username = _user(self.config.user) if self.rootfs else (os.geteuid(), "")
        reference = self.name if self.rootfs else HOST
        return Image(reference, [self.name], [], 0, uid=uid, username=username, pinned=True)


class Images:
    """The images of one runtime folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> LocalImage:
        """Return the unpacked image of that name, else the host's tree under that name. Raises RuntimeCallError."""
        folder = self._folder / _folder_name(name)
        if not (folder / "rootfs").is_dir():
            return LocalImage(name)
        return self._load(name, folder)

    def all(self) -> list[LocalImage]:
        """Return the host and every unpacked image."""
        found = [LocalImage(HOST)]
        for folder in sorted(self._folder.glob("*/rootfs")):
            found.append(self._load(folder.parent.name.replace("%2F", "/").replace("%3A", ":"), folder.parent))
        return found

    def _load(self, name: str, folder: Path) -> LocalImage:
        path = folder / "config.json"
        config = ImageConfig()
        if path.exists():
            try:
                config = msgspec.json.decode(path.read_bytes(), type=ImageConfig)
            except (OSError, msgspec.MsgspecError) as error:
                raise RuntimeCallError("ImageInspectError", f"{path}: {error}") from error
        return LocalImage(name, str(folder / "rootfs"), config)


def _folder_name(name: str) -> str:
    return name.removesuffix(":latest").replace("/", "%2F").replace(":", "%3A")


def _user(user: str) -> tuple[int | None, str]:
    name = user.partition(":")[0]
    if not name:
        return 0, ""
    return (int(name), "") if name.isdigit() else (None, name)
