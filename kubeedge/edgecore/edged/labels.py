"""Labels and annotations that tie a container of the runtime to its pod (spec 05 §5.3, §5.11)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from kubeedge.edgecore.edged.pod import Object

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"

HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
TERMINATION_MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
POD_GRACE = "io.kubernetes.pod.terminationGracePeriod"
POD_DELETION_GRACE = "io.kubernetes.pod.deletionGracePeriod"
PRE_STOP = "io.kubernetes.container.preStopHandler"
PORTS = "io.kubernetes.container.ports"

# The Go edge's hash cannot be computed here. With a mark of our own a container that it started is recognised and
# left running instead of being taken for one of another specification.
_HASH_MARK = "py"


def container_hash(container: Object) -> str:
    """Hash what makes a running container outdated when it changes: its name and image."""
    text = f"{container.get('name')}\0{container.get('image')}"
    return _HASH_MARK + hashlib.sha256(text.encode()).hexdigest()[:8]


def is_outdated(container: Object, annotations: Mapping[str, str]) -> bool:
    """Tell whether a container with these annotations was made from another version of its specification."""
    known = annotations.get(HASH, "")
    return known.startswith(_HASH_MARK) and known != container_hash(container)
