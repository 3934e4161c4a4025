"""Linux capabilities by the names that Kubernetes uses."""

from __future__ import annotations

NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

# What a container has that asks for nothing: the set that containerd and Docker give.
DEFAULT = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)


def normalise(name: str) -> str:
    """Return the name without CAP_, in capitals."""
    return name.upper().removeprefix("CAP_")


def kept(add: list[str], drop: list[str]) -> list[int]:
    """Return the numbers of the capabilities that a container keeps: the default set, less drop, plus add.

    ALL stands for every one; a name in both lists is kept, as with containerd. Raises KeyError for an unknown name.
    """
    dropped = {normalise(name) for name in drop}
    added = {normalise(name) for name in add}
    names = frozenset(NAMES) if "ALL" in added else DEFAULT
    names = frozenset() if "ALL" in dropped else names - dropped
    if "ALL" in added and "ALL" in dropped:
        names = frozenset(NAMES)
    return sorted(NUMBERS[name] for name in names | (added - {"ALL"}))
