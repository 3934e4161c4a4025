"""Whether a pod is the sender's own: a node may only speak for pods that are bound to it (spec 03 §2.12)."""

from __future__ import annotations

import msgspec

from kubeedge.cloudcore.edgecontroller.node import node_name_of
from kubeedge.cloudcore.edgecontroller.request import BadRequestError, ForbiddenError
from kubeedge.kube.api import KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import POD
from kubeedge.kube.object import Object


class PodOwnership:
    """Finds pods for a node, in the cache, or in the API when the cache does not have them yet."""

    def __init__(self, api: KubeApi, pods: Informer) -> None:
        self._api = api
        self._pods = pods

    async def pod(self, node: str, namespace: str, name: str, as_node: str = "") -> Object:
        """Return the pod if it is bound to node. Raises ForbiddenError, or ApiError when there is none."""
        pod = self._pods.get(namespace, name)
        if pod is None:
            pod = Object.parse(await self._api.get(POD, namespace, name, as_node=as_node), POD)
        if node_name_of(pod) != node:
            raise ForbiddenError(f"pod {namespace}/{name} is not bound to node {node!r}")
        return pod

    def is_known(self, node: str, namespace: str, name: str) -> bool:
        """Tell whether the cache has the pod, bound to node."""
        pod = self._pods.get(namespace, name)
        return pod is not None and node_name_of(pod) == node


def require_bound_to(node: str, pod: Object) -> None:
    """Raise ForbiddenError when a pod that a node wants to create is not for itself."""
    try:
        bound_to = node_name_of(pod)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"content is no Pod: {error}") from None
    if bound_to != node:
        raise ForbiddenError(f"node {node!r} may only create pods that are bound to itself")
