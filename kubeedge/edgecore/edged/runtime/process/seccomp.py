"""The default seccomp profile of this runtime: system calls that a container has no use for are refused.

What it refuses follows Docker's and containerd's default profile: calls that change the kernel, the clock, mounts and
namespaces, or that look into other processes, each unless the container keeps the capability that is for it. A
program of another architecture (32 bit on a 64 bit machine) cannot run under it.
"""

from __future__ import annotations

import os
import struct

from kubeedge.edgecore.edged.runtime.process import capabilities

# Machine -> (AUDIT_ARCH_*, column of the table below, number of clone).
_ARCHITECTURES = {"x86_64": (0xC000003E, 0, 56), "aarch64": (0xC00000B7, 1, 220)}

# Capability that allows it -> name -> numbers on x86_64 and aarch64, -1 where there is no such call.
_REFUSED = {
    "": {
        "_sysctl": (156, -1),
        "add_key": (248, 217),
        "create_module": (174, -1),
        "get_kernel_syms": (177, -1),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "io_uring_setup": (425, 425),
        "keyctl": (250, 219),
        "move_pages": (279, 239),
        "nfsservctl": (180, 42),
        "pivot_root": (155, 41),
        "query_module": (178, -1),
        "request_key": (249, 218),
        "swapoff": (168, 225),
        "swapon": (167, 224),
        "sysfs": (139, -1),
        "uselib": (134, -1),
        "userfaultfd": (323, 282),
        "ustat": (136, -1),
    },
    "DAC_READ_SEARCH": {"open_by_handle_at": (304, 265)},
    "SYS_ADMIN": {
        "bpf": (321, 280),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fsopen": (430, 430),
        "fspick": (433, 433),
        "lookup_dcookie": (212, 18),
        "mount": (165, 40),
        "mount_setattr": (442, 442),
        "move_mount": (429, 429),
        "open_tree": (428, 428),
        "perf_event_open": (298, 241),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "setns": (308, 268),
        "umount2": (166, 39),
        "unshare": (272, 97),
    },
    "SYS_BOOT": {"kexec_file_load": (320, 294), "kexec_load": (246, 104), "reboot": (169, 142)},
    "SYS_MODULE": {"delete_module": (176, 106), "finit_module": (313, 273), "init_module": (175, 105)},
    "SYS_NICE": {"get_mempolicy": (239, 236), "mbind": (237, 235), "set_mempolicy": (238, 237)},
    "SYS_PACCT": {"acct": (163, 89)},
    "SYS_PTRACE": {
        "kcmp": (312, 272),
        "pidfd_getfd": (438, 438),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
    },
    "SYS_RAWIO": {"ioperm": (173, -1), "iopl": (172, -1)},
    "SYS_TIME": {"clock_adjtime": (305, 266), "clock_settime": (227, 112), "settimeofday": (164, 170)},
    "SYSLOG": {"syslog": (103, 116)},
}
_CLONE3 = 435
# Flags of clone that make namespaces: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET.
_NEW_NAMESPACES = 0x7E020000
# Numbers from here on are those of the x32 ABI.
_X32 = 0x40000000

# Classic BPF (linux/filter.h) and the answers of seccomp (linux/seccomp.h).
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_EPERM, _ENOSYS = 0x00050000 | 1, 0x00050000 | 38
# Places in struct seccomp_data: number, architecture, low half of the first argument (both machines are little-endian).
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16


def is_known(machine: str = "") -> bool:
    """Tell whether there is a profile for this machine."""
    return (machine or os.uname().machine) in _ARCHITECTURES


def default_profile(kept: list[int] | None, machine: str = "") -> bytes:
    """Return the filter, as an array of struct sock_filter, for a container that keeps these capabilities (None: all).

    Raises KeyError for a machine that is not known.
    """
    architecture, column, clone = _ARCHITECTURES[machine or os.uname().machine]
    names = set(capabilities.NAMES) if kept is None else {capabilities.NAMES[number] for number in kept}
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, _ENOSYS),
    ]
    for capability, calls in _REFUSED.items():
        if capability not in names:
            for numbers in calls.values():
                if numbers[column] >= 0:
                    program += ((_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _EPERM))
    if "SYS_ADMIN" not in names:
        # The flags of clone3 lie in memory, where a filter cannot look; the C library then takes clone.
        program += ((_JUMP_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ENOSYS))
        program += ((_JUMP_EQUAL, 0, 3, clone), (_LOAD, 0, 0, _ARGUMENT))
        program += ((_JUMP_SET, 0, 1, _NEW_NAMESPACES), (_RETURN, 0, 0, _EPERM))
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
