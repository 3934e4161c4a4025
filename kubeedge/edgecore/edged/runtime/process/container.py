"""One container as the supervisor knows it, and the two files that keep what it knows."""

from __future__ import annotations

import os

from kubeedge.edgecore.edged.runtime.process import disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kubeedge.edgecore.edged.runtime.process.output import Output
    from kubeedge.edgecore.edged.runtime.process.request import Connection

STARTED = "started"
EXITED = "exited"


class Container:
    """A container that was started, and may have ended. Times are Unix time in ns; pid and ticks name its process."""

    __slots__ = (
        *("cgroup", "code", "deadline_ns", "finished_ns", "folder", "id", "is_adopted", "is_namespaced", "is_recorded"),
        *("log_path", "message", "output", "pid", "reason", "sandbox", "started_ns", "ticks", "waiting"),
    )

    def __init__(self, folder: str, sandbox: str, log_path: str, cgroup: str) -> None:
        self.folder = folder
        self.id = os.path.basename(folder)
        self.sandbox = sandbox
        self.log_path = log_path
        self.cgroup = cgroup
        self.pid = 0
        self.ticks = 0
        self.is_adopted = False
        """True for the child of a supervisor that is gone: its exit code cannot be had."""
        self.is_namespaced = False
        self.started_ns = 0
        self.finished_ns = 0
        self.code = 0
        self.reason = ""
        self.message = ""
        self.is_recorded = True
        """False while the end could not be written down."""
        self.deadline_ns = 0
        """When it is killed, on the monotonic clock; 0: it is not asked to stop."""
        self.waiting: list[Connection] = []
        self.output: Output | None = None

    def is_running(self) -> bool:
        """Tell whether its main process lives."""
        return self.pid > 0 and not self.finished_ns

    def state(self) -> list[str]:
        """Return the fields of the message that tells of it."""
        if not self.finished_ns:
            return ["state", self.id, "running", str(self.started_ns), "0", str(self.pid), "", ""]
        times = (str(self.started_ns), str(self.finished_ns))
        return ["state", self.id, "exited", *times, str(self.code), self.reason, self.message]

    def record_start(self, boot_id: str) -> None:
        """Write down that it runs. Raises OSError."""
        fields = (
            *(self.pid, self.ticks, boot_id, self.started_ns, self.sandbox),
            *(self.log_path, self.cgroup, int(self.is_namespaced)),
        )
        self._write(STARTED, fields)

    def record_end(self) -> None:
        """Write down how it ended. Raises OSError."""
        self._write(EXITED, (self.finished_ns, self.code, self.reason, self.message))
        self.is_recorded = True

    def _write(self, name: str, fields: tuple[str | int, ...]) -> None:
        text = "\n".join(map(str, fields))
        disk.write_durably(f"{self.folder}/{name}", text.encode("utf-8", "surrogateescape"))


def load(folder: str) -> tuple[Container, str] | None:
    """Return the container whose files lie in folder and the boot that it was started in; None if it never was."""
    started = disk.read(f"{folder}/{STARTED}").split("\n")
    exited = disk.read(f"{folder}/{EXITED}").split("\n", 3)
    if len(started) == 8:
        container = Container(folder, started[4], started[5], started[6])
        container.pid, container.ticks, container.started_ns = int(started[0]), int(started[1]), int(started[3])
        container.is_namespaced = started[7] == "1"
    elif len(exited) == 4:
        container = Container(folder, "", "", "")
    else:
        return None
    if len(exited) == 4:
        container.finished_ns, container.code = int(exited[0]), int(exited[1])
        container.reason, container.message = exited[2], exited[3]
    return container, started[2] if len(started) == 8 else ""
