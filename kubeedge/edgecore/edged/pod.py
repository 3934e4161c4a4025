"""A pod as edged reads it: the API object with the questions that are asked of it again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

# What Kubernetes takes where a pod says nothing (its API server writes these numbers into the spec).
DEFAULT_GRACE_S = 30

TERMINAL_PHASES = frozenset(("Failed", "Succeeded"))


class Pod:
    """One version of a pod. data is the API object and is never changed."""

    __slots__ = ("data", "metadata", "name", "namespace", "spec", "uid")

    def __init__(self, data: Object) -> None:
        self.data = data
        self.metadata: Object = data.get("metadata") or {}
        self.spec: Object = data.get("spec") or {}
        self.uid: str = self.metadata.get("uid") or ""
        self.namespace: str = self.metadata.get("namespace") or ""
        self.name: str = self.metadata.get("name") or ""

    def __repr__(self) -> str:
        return f"Pod({self.namespace}/{self.name} {self.uid})"

    @property
    def full_name(self) -> str:
        """`<name>_<namespace>(<uid>)`, the form of messages that Kubernetes shows."""
        return f"{self.name}_{self.namespace}({self.uid})"

    @property
    def key(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.namespace}/{self.name}"

    @property
    def status(self) -> Object:
        """The status as the API last knew it."""
        return self.data.get("status") or {}

    @property
    def resource_version(self) -> int:
        """The version as a number, 0 where there is none (spec 03 §3.6: compared as unsigned integers)."""
        text = str(self.metadata.get("resourceVersion") or "0")
        return int(text) if text.isdigit() else 0

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.get("labels") or {}

    @property
    def annotations(self) -> dict[str, str]:
        return self.metadata.get("annotations") or {}

    @property
    def containers(self) -> list[Object]:
        return self.spec.get("containers") or []

    @property
    def init_containers(self) -> list[Object]:
        return self.spec.get("initContainers") or []

    @property
    def ephemeral_containers(self) -> list[Object]:
        return self.spec.get("ephemeralContainers") or []

    def every_container(self) -> Iterator[Object]:
        """Init, regular and ephemeral containers, in the order of their start."""
        yield from self.init_containers
        yield from self.containers
        yield from self.ephemeral_containers

    def container(self, name: str) -> Object | None:
        """Return the container of that name."""
        return next((c for c in self.every_container() if c.get("name") == name), None)

    @property
    def volumes(self) -> list[Object]:
        return self.spec.get("volumes") or []

    @property
    def restart_policy(self) -> str:
        return self.spec.get("restartPolicy") or "Always"

    @property
    def host_network(self) -> bool:
        return bool(self.spec.get("hostNetwork"))

    @property
    def security(self) -> Object:
        return self.spec.get("securityContext") or {}

    @property
    def grace_s(self) -> int:
        """Seconds that a container of this pod gets to end by itself."""
        grace = self.spec.get("terminationGracePeriodSeconds")
        return DEFAULT_GRACE_S if grace is None else int(grace)

    @property
    def is_deleted(self) -> bool:
        """Somebody asked the API to delete it."""
        return bool(self.metadata.get("deletionTimestamp"))

    @property
    def deletion_grace_s(self) -> int:
        """Seconds of grace that the deletion allows."""
        grace = self.metadata.get("deletionGracePeriodSeconds")
        return self.grace_s if grace is None else int(grace)

    @property
    def is_terminal(self) -> bool:
        """Its phase, as the API knows it, never changes again."""
        return self.status.get("phase") in TERMINAL_PHASES


def is_sidecar(container: Object) -> bool:
    """Tell an init container that keeps running beside the regular ones from an ordinary one."""
    return container.get("restartPolicy") == "Always"


def skeleton(uid: str, name: str, namespace: str, containers: list[str], grace_s: int) -> Pod:
    """Return as much of a pod as the runtime knows, to end one that nobody wants any more."""
    return Pod(
        {
            "metadata": {"uid": uid, "name": name, "namespace": namespace},
            "spec": {
                "terminationGracePeriodSeconds": grace_s,
                "containers": [{"name": container} for container in containers],
            },
        }
    )
