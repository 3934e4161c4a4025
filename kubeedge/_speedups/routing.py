"""Where a message goes: the decisions that fall for every message of the link (spec 01 §3.5, §4.4, §6.2)."""

from __future__ import annotations

import re
from typing import Final

from kubeedge._speedups.envelope import Message

# What the cloud does with a message from a node (spec 01 §3.5). From ROUTER on it is handed to controllers; in the
# resource of those from FIRST_PREFIXED on stands the node.
KEEPALIVE: Final = 1
VOLUME: Final = 2
ACK: Final = 3
ERROR: Final = 4
CLUSTER_CA: Final = 5
REJECTED: Final = 6
TASK_MANAGER: Final = 7
ROUTER: Final = 8
DYNAMIC_CONTROLLER: Final = 9
DEVICE_CONTROLLER: Final = 10
EDGE_CONTROLLER: Final = 11
FIRST_PREFIXED: Final = ROUTER

# What the edge does with a message from the cloud (spec 01 §4.4).
WAITER: Final = 1
META: Final = 2
TWIN: Final = 3
EVENT_BUS: Final = 4
SERVICE_BUS: Final = 5
TASKS: Final = 6
UNKNOWN: Final = 7

# Go's \w is ASCII, and the expression need not reach the end (spec 01 §3.5 row 2).
_VOLUME = re.compile(r"\w[-\w.+]*/volume/\w", re.ASCII)


def upstream(message: Message) -> int:
    """Return what to do with a message as it came from a node; first match wins (spec 01 §3.5)."""
    operation = message.operation
    if operation == "keepalive":
        return KEEPALIVE
    resource = message.resource
    if "/volume/" in resource and _VOLUME.match(resource) is not None:
        return VOLUME
    if operation == "response":
        return ACK
    if operation == "error":
        return ERROR
    if operation == "upload" and message.group == "user":
        return ROUTER
    if operation in ("prepull", "upgrade", "UpdateNodeActionStatus"):
        return TASK_MANAGER
    if resource == "k8s/ca.crt":
        return CLUSTER_CA
    source = message.source
    if source == "metaserver":
        return DYNAMIC_CONTROLLER
    if source == "twin":
        return DEVICE_CONTROLLER
    # A node that speaks in the name of a module of the cloud.
    if source in ("cloudhub", "cloudStream", "devicecontroller", "edgecontroller", "synccontroller"):
        return REJECTED
    return EDGE_CONTROLLER


def downstream(message: Message) -> int:
    """Return which part of the edge node takes a message as it came from the cloud (spec 01 §4.4)."""
    group = message.group
    if group in ("resource", "func"):
        return WAITER if message.parent_id else META
    if group == "twin":
        return TWIN
    if group == "user":
        if message.parent_id:
            return WAITER
        if message.source == "router_eventbus":
            return EVENT_BUS
        return SERVICE_BUS if message.source == "router_servicebus" else UNKNOWN
    return TASKS if group == "taskmanager" else UNKNOWN


def is_control(message: Message) -> bool:
    """Tell whether the link itself answers this message and nobody else sees it (spec 01 §2.1.4)."""
    return message.operation in ("ping", "pong", "config")


def needs_ack(message: Message, wire_resource: str) -> bool:
    """Tell whether a message for a node must be acknowledged by it (spec 01 §6.2).

    wire_resource is its resource without `node/<node>/`. Upstream looks for words anywhere in the resource; here a word
    must be a segment of its own, so that a pod may be called podlist (spec 01 §9 quirk 13).
    """
    if message.operation in (
        "createvolume",
        "deletevolume",
        "controllerpublishvolume",
        "controllerunpublishvolume",
        "applicationResponse",
    ):
        return False
    if message.group == "user":
        return False
    source = message.source
    if source in ("taskmanager", "nodeupgradejobcontroller"):
        return False
    is_response = message.operation == "response"
    if is_response and (message.content == b'"OK"' or message.content.startswith(b'{"ErrStatus":')):
        return False
    first, _, rest = wire_resource.partition("/")
    kind, _, name = rest.partition("/")
    if kind in ("podlist", "serviceaccounttoken"):
        return False
    if wire_resource in ("k8s/ca.crt", "membership", "membership/detail"):
        return False
    if first == "device" and name.endswith("twin/cloud_updated"):
        return False
    if source == "edgecontroller":
        if kind == "pod":
            return not is_response
        if kind == "node":
            return message.operation == "update"
        return kind not in ("lease", "nodepatch", "podpatch", "podstatus", "certificatesigningrequest")
    return True
