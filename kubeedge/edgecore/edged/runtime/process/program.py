"""The supervisor as a program: detached from who starts it, one for each folder, renewed in place."""

from __future__ import annotations

import fcntl
import os
import sys
import time

from kubeedge import __version__
from kubeedge.edgecore.edged.runtime.process import logs
from kubeedge.edgecore.edged.runtime.process.convention import LOG, command_line
from kubeedge.edgecore.edged.runtime.process.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LOCK = "supervisor.lock"
MAX_LOG_BYTES = 256 * 1024


def main(arguments: list[str]) -> None:
    """Run a supervisor for the folder named first; ends in the parent when it listens, with code 1 when it cannot.

    A second argument is the descriptor of the lock that the supervisor of another version held in this process.
    """
    root, *held = arguments
    if held:
        _open_log(f"{root}/{LOG}")
        os.set_inheritable(int(held[0]), False)
        _serve(root, int(held[0]), -1)
    ready, report = os.pipe()
    if os.fork():
        os.close(report)
        sys.exit(0 if os.read(ready, 1) else 1)
    os.close(ready)
    os.setsid()
    run(root, report)


def run(root: str, report: int = -1) -> NoReturn:
    """Serve the folder root in this process, unless another one does; a byte is written to report when it is served."""
    _open_log(f"{root}/{LOG}")
    lock = os.open(f"{root}/{LOCK}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if report >= 0:
            os.write(report, b"x")
        sys.exit(0)
    os.chdir("/")
    _serve(root, lock, report)


def _serve(root: str, lock: int, report: int) -> NoReturn:
    def renew(python: str, path: str) -> NoReturn:
        # By execve the process stays the same, so its children stay its children. The lock goes along, or the runtime
        # would start another supervisor in the meantime.
        os.set_inheritable(lock, True)
        os.execv(python, [*command_line(python, path, root), str(lock)])

    supervisor = Supervisor(root, renew, _log)
    supervisor.start()
    _log(f"supervisor started version={__version__} pid={os.getpid()}")
    if report >= 0:
        os.write(report, b"x")
        os.close(report)
    supervisor.serve()


def _open_log(path: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if os.path.exists(path) and os.path.getsize(path) > MAX_LOG_BYTES:
        flags |= os.O_TRUNC
    fd, null = os.open(path, flags, 0o600), os.open("/dev/null", os.O_RDWR)
    for source, place in ((null, 0), (fd, 1), (fd, 2)):
        os.dup2(source, place)
    os.close(fd)
    os.close(null)


def _log(text: str) -> None:
    os.write(2, f"{logs.timestamp(time.time_ns())} {text}\n".encode("utf-8", "replace"))
