"""What a container leaves behind about its end: its termination file, or the end of its log (spec 05 §5.9)."""

from __future__ import annotations

import os
from pathlib import Path

from kubeedge.edgecore.edged import labels
from kubeedge.edgecore.edged.runtime.interface import ContainerStatus

MAX_MESSAGE_BYTES = 4096
# Of all containers of a pod together.
MAX_POD_BYTES = 12 * 1024
MAX_LOG_BYTES = 2048
MAX_LOG_LINES = 80


def read(status: ContainerStatus, log_file: Path | None, containers: int) -> str:
    """Return the message of a container that has exited; containers is the number of them in the pod."""
    message = _termination_file(status)
    fallback = status.annotations.get(labels.TERMINATION_MESSAGE_POLICY) == "FallbackToLogsOnError"
    if not message and fallback and status.exit_code and log_file is not None:
        message = _end_of_log(log_file)
    limit = min(MAX_MESSAGE_BYTES, MAX_POD_BYTES // max(containers, 1))
    if status.message and message:
        message = f"{status.message}: {message}"
    return (message or status.message)[:limit]


def _termination_file(status: ContainerStatus) -> str:
    wanted = status.annotations.get(labels.TERMINATION_MESSAGE_PATH)
    if not wanted:
        return ""
    source = next((m.host_path for m in status.mounts if m.container_path == wanted), None)
    if source is None:
        return ""
    try:
        # A container may have put anything there, also a pipe that would never end.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        try:
            data = file.read(MAX_MESSAGE_BYTES)
        except OSError:
            return ""
    return (data or b"").decode("utf-8", "replace")


def _end_of_log(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            # Each line carries a time and a stream before its text.
            file.seek(max(file.tell() - 4 * MAX_LOG_BYTES, 0))
            lines = file.read().decode("utf-8", "replace").splitlines(keepends=True)
    except OSError:
        return ""
    texts: list[str] = []
    for line in lines[-MAX_LOG_LINES:]:
        # `<time> stdout|stderr F|P <text>`
        parts = line.split(" ", 3)
        if len(parts) == 4:
            texts.append(parts[3].removesuffix("\n") if parts[2] == "P" else parts[3])
    return "".join(texts).encode()[-MAX_LOG_BYTES:].decode("utf-8", "ignore")
