"""What the machine is: read once at start from /proc, /sys and /etc."""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path

import msgspec

from kubeedge.config.host import local_address
from kubeedge.kube import quantity
from kubeedge.kube.quantity import Quantity

_ARCHITECTURES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
    "riscv64": "riscv64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}
_SUFFIXES = ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))


class Hardware(msgspec.Struct):
    """Sizes in bytes; identifiers as Kubernetes' nodeInfo names them. hugepages maps page sizes to bytes there are."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    architecture: str
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    hugepages: dict[str, int] = msgspec.field(default_factory=dict)


def read(root: Path) -> Hardware:
    """Read the machine; root lies on the file system that counts as the node's."""
    disk = os.statvfs(root)
    return Hardware(
        cpus=os.cpu_count() or 1,
        memory_bytes=memory()["MemTotal"],
        disk_bytes=disk.f_blocks * disk.f_frsize,
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        machine_id=_line("/etc/machine-id"),
        system_uuid=_line("/sys/class/dmi/id/product_uuid") or _line("/etc/machine-id"),
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
        hugepages=_hugepages(),
    )


def memory() -> dict[str, int]:
    """Return /proc/meminfo in bytes; MemTotal and MemAvailable are always there."""
    values = {"MemTotal": 0, "MemAvailable": 0}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            values[name] = int(number[0]) * (1024 if len(number) > 1 else 1)
    return values


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _hugepages() -> dict[str, int]:
    pages: dict[str, int] = {}
    folder = Path("/sys/kernel/mm/hugepages")
    if not folder.is_dir():
        return pages
    for entry in folder.iterdir():
        match = re.fullmatch(r"hugepages-(\d+)kB", entry.name)
        if match:
            size = int(match.group(1)) * 1024
            count = _line(str(entry / "nr_hugepages"))
            pages[f"hugepages-{_binary(size)}"] = size * int(count or 0)
    return pages


def _binary(size: int) -> str:
    for unit, suffix in _SUFFIXES:
        if size % unit == 0 and size:
            return f"{size // unit}{suffix}"
    return str(size)


def capacity(hardware: Hardware, max_pods: int) -> dict[str, str]:
    """Return the node's resources as quantities."""
    amounts = {
        "cpu": str(hardware.cpus),
        "ephemeral-storage": f"{hardware.disk_bytes // 1024}Ki",
        "memory": f"{hardware.memory_bytes // 1024}Ki",
        "pods": str(max_pods),
    }
    return amounts | {name: _binary(size) for name, size in hardware.hugepages.items()}


class Reservation(msgspec.Struct, frozen=True):
    """What pods cannot have: reserved quantities, and the hard eviction thresholds of memory and disk."""

    reserved: tuple[dict[str, str], ...] = ()
    memory_threshold: str = "100Mi"
    disk_threshold: str = "10%"


def allocatable(hardware: Hardware, max_pods: int, reservation: Reservation) -> dict[str, str]:
    """Return what pods can have (spec 05 §4.5)."""
    full = capacity(hardware, max_pods)
    reserved = {
        name: Quantity(sum(quantity.parse(r[name]).nanos for r in reservation.reserved if name in r)) for name in full
    }
    free_cpu = quantity.parse(full["cpu"]).nanos - reserved["cpu"].nanos
    taken = threshold_bytes(reservation.memory_threshold, hardware.memory_bytes) + sum(hardware.hugepages.values())
    free_memory = hardware.memory_bytes - reserved["memory"].value - taken
    free_disk = hardware.disk_bytes - reserved["ephemeral-storage"].value
    free_disk -= threshold_bytes(reservation.disk_threshold, hardware.disk_bytes)
    result = dict(full)
    result["cpu"] = str(Quantity(max(free_cpu, 0)))
    result["memory"] = f"{max(free_memory, 0) // 1024}Ki"
    result["ephemeral-storage"] = str(max(free_disk, 0))
    return result


def threshold_bytes(text: str, whole: int) -> int:
    """Return an eviction threshold, a quantity or a percentage of whole; 0 for one that cannot be read."""
    try:
        if text.endswith("%"):
            return quantity.parse(text[:-1]).nanos * whole // (100 * 10**9)
        return quantity.whole(text) if text else 0
    except quantity.QuantityError:
        return 0


def node_address(name: str, wanted: str) -> str:
    """Return the node's own address: the wanted one, that of its name, or that of the default route."""
    if wanted:
        return wanted
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    for *_, address in found:
        text = str(address[0])
        if not text.startswith("127.") and text != "::1":
            return text
    return local_address()
