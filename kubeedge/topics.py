"""Names of the `$hw/events/...` topics of devices, and their grammar (spec 04 §3.2, §4.1, §4.2).

    $hw/events/device/<namespace>/<name>/<action>       twin/update, twin/get, twin/cloud_updated, state/update, updated
    $hw/events/node/<node>/<action>                     membership/get, membership/updated, membership/detail/result

Topics are taken apart by position: a namespace `dev` or a node `node` is a name like any other (spec 04 Q2).
"""

from __future__ import annotations

DEVICE = "$hw/events/device/"
NODE = "$hw/events/node/"

# Actions on a device. What comes in:
TWIN_UPDATE = "twin/update"
TWIN_GET = "twin/get"
TWIN_CLOUD_UPDATED = "twin/cloud_updated"
STATE_UPDATE = "state/update"
STATE_GET = "state/get"
# In and, when something changed, out.
UPDATED = "updated"
# And what goes out.
TWIN_UPDATE_RESULT = "twin/update/result"
TWIN_UPDATE_DOCUMENT = "twin/update/document"
TWIN_UPDATE_DELTA = "twin/update/delta"
TWIN_GET_RESULT = "twin/get/result"
STATE_UPDATE_RESULT = "state/update/result"

# Actions on a node.
MEMBERSHIP_GET = "membership/get"
MEMBERSHIP_GET_RESULT = "membership/get/result"
MEMBERSHIP_UPDATED = "membership/updated"
MEMBERSHIP_DETAIL_RESULT = "membership/detail/result"
AUTH_INFO_GET_RESULT = "authInfo/get/result"

# What DeviceTwin wants to hear of (spec 04 §4.1).
TWIN_FILTERS = (f"{DEVICE}+/+/twin/+", f"{DEVICE}+/+/{STATE_UPDATE}", f"{NODE}+/{MEMBERSHIP_GET}")


def device_topic(device: str, action: str) -> str:
    """Name the topic of an action on the device `<namespace>/<name>`."""
    return f"{DEVICE}{device}/{action}"


def node_topic(node: str, action: str) -> str:
    """Name the topic of an action on a node."""
    return f"{NODE}{node}/{action}"


def is_device_topic(topic: str) -> bool:
    """Tell whether a publication is for DeviceTwin and not for the cloud (spec 04 §4.1)."""
    return topic.startswith((DEVICE, NODE))


def of_device(topic: str) -> tuple[str, str] | None:
    """Give device (`<namespace>/<name>`) and action of a device topic; None for any other topic."""
    if not topic.startswith(DEVICE):
        return None
    namespace, _, rest = topic[len(DEVICE) :].partition("/")
    name, _, action = rest.partition("/")
    if not namespace or not name or not action:
        return None
    return f"{namespace}/{name}", action


def of_node(topic: str) -> tuple[str, str] | None:
    """Give node and action of a node topic; None for any other topic."""
    if not topic.startswith(NODE):
        return None
    node, _, action = topic[len(NODE) :].partition("/")
    return (node, action) if node and action else None
