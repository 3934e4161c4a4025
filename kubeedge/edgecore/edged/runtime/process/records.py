"""What the runtime keeps on disk: a record for each sandbox and container, and the plan for its launch.

<root>/sandboxes/<id>.json      SandboxRecord
<root>/containers/<id>/         container.json (ContainerRecord), plan, started, exited (supervisor.py),
                                stdin stdout stderr (pipes), work (its own folder), stage, layer (mounts)
<root>/images/<name>/           rootfs/ and config.json of an unpacked image (images.py)
"""

from __future__ import annotations

import contextlib
import marshal
import os
from pathlib import Path
from typing import Any

import msgspec

from kubeedge.edgecore.edged.removal import remove_tree
from kubeedge.edgecore.edged.runtime.interface import ContainerConfig, SandboxConfig
from kubeedge.edgecore.edged.runtime.process import disk
from kubeedge.edgecore.edged.runtime.process.convention import PLAN


class SandboxRecord(msgspec.Struct):
    """A pod sandbox: no process of its own, only what its containers share."""

    id: str
    config: SandboxConfig
    created_at: int
    boot_id: str
    is_ready: bool = True


class ContainerRecord(msgspec.Struct):
    """A container as it was asked for. image_ref is what the listing shows as its image, cgroup empty for none."""

    id: str
    sandbox_id: str
    config: ContainerConfig
    created_at: int
    image_ref: str
    log_path: str
    cgroup: str


class Records:
    """The folder of the runtime."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def make_folders(self) -> None:
        """Make the folders. They can be passed through by a container's user, but not listed. Raises OSError."""
        for folder in (self._root, self._root / "sandboxes", self._root / "containers", self._root / "images"):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)

    def load(self) -> tuple[dict[str, SandboxRecord], dict[str, ContainerRecord], list[str]]:
        """Return sandboxes and containers by id, and the paths of records that cannot be read."""
        sandboxes: dict[str, SandboxRecord] = {}
        containers: dict[str, ContainerRecord] = {}
        broken = []
        for path in (self._root / "sandboxes").glob("*.json"):
            try:
                sandbox = msgspec.json.decode(path.read_bytes(), type=SandboxRecord)
            except (OSError, msgspec.MsgspecError):
                broken.append(str(path))
            else:
                sandboxes[sandbox.id] = sandbox
        for path in (self._root / "containers").glob("*/container.json"):
            try:
                container = msgspec.json.decode(path.read_bytes(), type=ContainerRecord)
            except (OSError, msgspec.MsgspecError):
                broken.append(str(path))
            else:
                containers[container.id] = container
        return sandboxes, containers, broken

    def folder(self, container_id: str) -> Path:
        """Return the folder of a container."""
        return self._root / "containers" / container_id

    def save_sandbox(self, record: SandboxRecord) -> None:
        """Write a sandbox's record durably."""
        disk.write_durably(f"{self._root}/sandboxes/{record.id}.json", msgspec.json.encode(record))

    def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox's files."""
        (self._root / "sandboxes" / f"{sandbox_id}.json").unlink(missing_ok=True)
        (self._root / "sandboxes" / f"{sandbox_id}.resolv.conf").unlink(missing_ok=True)

    def save_resolv_conf(self, sandbox_id: str, text: str) -> Path:
        """Write the resolv.conf that the containers of a sandbox see; return its path."""
        path = self._root / "sandboxes" / f"{sandbox_id}.resolv.conf"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
        return path

    def save_container(self, record: ContainerRecord, plan: dict[str, Any]) -> None:
        """Make a container's folder; its record is written last, so a container without one was never made."""
        folder = self.folder(record.id)
        folder.mkdir(mode=0o711)
        for name in ("work", "stage", "layer", "layer/upper", "layer/work"):
            (folder / name).mkdir(mode=0o755)
        if plan["uid"] >= 0 and os.geteuid() == 0:
            os.chown(folder / "work", plan["uid"], -1)
        # Version 2 of the format is read by every Python that an older supervisor may run on.
        disk.write_durably(f"{folder}/{PLAN}", marshal.dumps(plan, 2))
        disk.write_durably(f"{folder}/container.json", msgspec.json.encode(record))

    def remove_all_but(self, container_ids: set[str]) -> None:
        """Remove folders of containers that are not among these."""
        for folder in (self._root / "containers").iterdir():
            if folder.name not in container_ids:
                remove_tree(folder, ignore_errors=True)

    def remove_container(self, container_id: str) -> None:
        """Remove a container's folder, the record first."""
        folder = self.folder(container_id)
        with contextlib.suppress(FileNotFoundError):
            (folder / "container.json").unlink()
        remove_tree(folder, ignore_errors=True)
