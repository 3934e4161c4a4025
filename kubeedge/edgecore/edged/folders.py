"""The folders that edged keeps for its pods on the node (spec 05 §5.3, §5.6)."""

from __future__ import annotations

import os
from pathlib import Path

from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.removal import remove_tree
from kubeedge.edgecore.edged.volumes import mounts

POD_FOLDER_MODE = 0o750
LOG_FOLDER_MODE = 0o755
# Any user of a container may write why it ended.
TERMINATION_LOG_MODE = 0o666


class Folders:
    """Where things lie. root is edged's own folder (`/var/lib/kubelet`), logs that of all pods (`/var/log/pods`)."""

    def __init__(self, root: Path, logs: Path) -> None:
        self.root = root
        self.logs = logs

    def prepare(self) -> None:
        """Make the folders that all pods share. Raises OSError."""
        (self.root / "pods").mkdir(mode=POD_FOLDER_MODE, parents=True, exist_ok=True)
        self.logs.mkdir(mode=LOG_FOLDER_MODE, parents=True, exist_ok=True)

    def pod(self, uid: str) -> Path:
        return self.root / "pods" / uid

    def volume(self, uid: str, plugin: str, name: str) -> Path:
        return self.pod(uid) / "volumes" / f"kubernetes.io~{plugin}" / name

    def subpath(self, uid: str, volume: str, container: str, index: int) -> Path:
        return self.pod(uid) / "volume-subpaths" / volume / container / str(index)

    def hosts_file(self, uid: str) -> Path:
        return self.pod(uid) / "etc-hosts"

    def pod_logs(self, pod: Pod) -> Path:
        return self.logs / f"{pod.namespace}_{pod.name}_{pod.uid}"

    def make_pod(self, pod: Pod) -> None:
        """Make the folders of one pod. Raises OSError."""
        for folder in (self.pod(pod.uid), self.pod(pod.uid) / "volumes", self.pod(pod.uid) / "plugins"):
            folder.mkdir(mode=POD_FOLDER_MODE, parents=True, exist_ok=True)
        self.pod_logs(pod).mkdir(mode=LOG_FOLDER_MODE, parents=True, exist_ok=True)

    def write_hosts(self, uid: str, text: str) -> Path:
        """Write a pod's /etc/hosts in place: containers have the file itself mounted. Raises OSError."""
        path = self.hosts_file(uid)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o644)
        return path

    def make_termination_log(self, uid: str, container: str) -> Path:
        """Make a fresh file for the last words of a container. Raises OSError."""
        path = self.pod(uid) / "containers" / container / os.urandom(4).hex()
        path.parent.mkdir(mode=POD_FOLDER_MODE, parents=True, exist_ok=True)
        path.touch()
        path.chmod(TERMINATION_LOG_MODE)
        return path

    def clear_termination_logs(self, uid: str, container: str, keep: set[str]) -> None:
        """Remove what containers that are gone left behind; keep holds paths still in use."""
        folder = self.pod(uid) / "containers" / container
        if folder.is_dir():
            for entry in folder.iterdir():
                if str(entry) not in keep:
                    entry.unlink(missing_ok=True)

    def make_container_logs(self, pod: Pod, container: str) -> Path:
        """Make the folder of a container's logs. Raises OSError."""
        path = self.pod_logs(pod) / container
        path.mkdir(mode=LOG_FOLDER_MODE, parents=True, exist_ok=True)
        return path

    def last_logged_restart(self, pod: Pod, container: str) -> int:
        """Return the highest N of the files `N.log`, -1 where there is none."""
        try:
            names = os.listdir(self.pod_logs(pod) / container)
        except OSError:
            return -1
        numbers = [name.split(".", 1)[0] for name in names if ".log" in name]
        return max((int(number) for number in numbers if number.isdigit()), default=-1)

    def known_pods(self) -> list[str]:
        """Return the uids of pods that have a folder."""
        try:
            return os.listdir(self.root / "pods")
        except OSError:
            return []

    def remove_pod(self, uid: str) -> None:
        """Unmount everything below a pod's folder and remove it. Raises OSError; nothing is removed through a mount."""
        folder = self.pod(uid)
        if not folder.exists():
            return
        for point in mounts.mounts_below(folder):
            mounts.unmount(point)
        left = mounts.mounts_below(folder)
        if left:
            raise OSError(f"{left[0]} is still mounted")
        remove_tree(folder)

    def remove_logs(self, uids_to_keep: set[str]) -> None:
        """Remove the logs of pods that are gone; folders that no pod's name fits are left alone."""
        try:
            names = os.listdir(self.logs)
        except OSError:
            return
        for name in names:
            parts = name.split("_")
            if len(parts) == 3 and parts[2] not in uids_to_keep:
                remove_tree(self.logs / name, ignore_errors=True)

    def remove_pod_logs(self, pod: Pod) -> None:
        """Remove the logs of one pod."""
        remove_tree(self.pod_logs(pod), ignore_errors=True)
