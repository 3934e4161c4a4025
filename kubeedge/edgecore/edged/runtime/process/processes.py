"""Processes as /proc shows them: which one it is, whose child, and ending it with all that belongs to it."""

from __future__ import annotations

import os

TERM = 15
KILL = 9


def start_ticks(pid: int) -> int:
    """Return when the process started, in clock ticks since boot: with the pid it names one process. -1: none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            stat = file.read()
    except OSError:
        return -1
    # The name in parentheses may hold anything; state is the first field behind it, start time the twentieth.
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] != "Z" else -1


def is_child(pid: int) -> bool:
    """Tell whether the process is a child of this one, ended or not."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def shares_pid_namespace(pid: int) -> bool:
    """Tell whether the process is in this one's PID namespace; True when it is gone."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino == os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return True


def signal(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def kill_session(leader: int) -> None:
    """Kill the process group that the leader of a session made, and the leader."""
    try:
        os.killpg(leader, KILL)
    except (ProcessLookupError, PermissionError):
        signal(leader, KILL)


def with_variable(name: str, value: str) -> list[int]:
    """Find the processes that were started with a variable in their environment."""
    mark = f"{name}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(entry))
        except OSError:
            continue
    return found
