"""What is taken from the machine: its name and the address of its default route, and how addresses are written."""

from __future__ import annotations

import os
import re
import socket

# A host name that Kubernetes would refuse as a node name is replaced by this one (spec 02 §2.4).
FALLBACK_NODE_NAME = "default-edge-node"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# Addresses that no network has (RFC 5737, RFC 3849): "connecting" a datagram socket to them sends nothing and tells
# which own address the default route would use.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def is_node_name(name: str) -> bool:
    """Tell whether Kubernetes takes name for a node: a DNS-1123 subdomain of at most 253 characters."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None


def node_name() -> str:
    """Return the machine's name, or FALLBACK_NODE_NAME when it cannot name a node."""
    name = socket.gethostname()
    return name if is_node_name(name) else FALLBACK_NODE_NAME


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local_address() -> str:
    """Return the address of the interface with the default route; 127.0.0.1 on a machine without a network."""
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"


def endpoint(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_endpoint(port: int) -> str:
    """Return `address:port` of this machine."""
    return endpoint(local_address(), port)
