"""What changes in the API, sent to the nodes that need it (spec 03 §1)."""

from __future__ import annotations

import logging

from kubeedge import resources
from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.location import Locations, Reference
from kubeedge.cloudcore.edgecontroller.node import has_spec_of, is_edge_node, is_terminating, node_name_of
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.object import Object
from kubeedge.message import NULL, new_message

log = logging.getLogger(__name__)

MODULE = "edgecontroller"
GROUP = "resource"
HUB = "cloudhub"

_OPERATIONS = {"ADDED": "insert", "MODIFIED": "update", "DELETED": "delete"}


class Downstream:
    """Turns informer events into messages to CloudHub, which sends what a node has not acked yet and drops the rest.

    Unlike upstream it looks at the pods of a node again when the node becomes an edge node or connects, so a pod bound
    too early is not lost (spec 03 §9.13), and it keeps the exact set of nodes that need an object, by pods and not by
    the history of the process (quirks EC1, EC2).

    pods must have the index `node` and may leave out pods that are not bound.
    """

    def __init__(self, bus: Bus, nodes: Informer, pods: Informer, config_maps: Informer, secrets: Informer) -> None:
        self._bus = bus
        self._nodes = nodes
        self._pods = pods
        self._known: set[str] = set()
        self._locations = Locations()
        nodes.on_event(self._on_node)
        pods.on_event(self._on_pod)
        config_maps.on_event(self._on_config_map)
        secrets.on_event(self._on_secret)

    def connected(self, node: str) -> None:
        """Offer node everything that is its own; a pod bound while it was away has no ObjectSync yet (spec 03 §3.4)."""
        object = self._nodes.get("", node)
        if node in self._known and object is not None:
            self._send(node, "update", "node", object)
            self._send_pods(node)

    def _on_node(self, type_: EventType, new: Object, old: Object | None) -> None:
        node = new.name
        if type_ == "DELETED" or not is_edge_node(new):
            if node in self._known:
                self._known.discard(node)
                log.info("edge node gone node=%s", node)
                # Ends the session of the node; nothing of it is sent (spec 01 §7.2 N2).
                self._bus.send(
                    HUB,
                    new_message(MODULE, GROUP, "delete", resources.for_node(node, f"null/node/{node}"), NULL),
                )
            return
        is_new = node not in self._known
        self._known.add(node)
        self._send(node, "update", "node", new)
        if is_new:
            log.info("edge node known node=%s", node)
            self._send_pods(node)

    def _send_pods(self, node: str) -> None:
        for pod in self._pods.by_index("node", node):
            self._send(node, "update" if is_terminating(pod) else "insert", "pod", pod)

    def _on_pod(self, type_: EventType, new: Object, old: Object | None) -> None:
        node = node_name_of(new)
        if type_ == "DELETED":
            self._locations.remove(new)
        elif node and (old is None or not has_spec_of(new, old)):
            # Nearly every change is one of the status, which names nothing.
            self._locations.put(new, node)
        if node not in self._known:
            return
        operation = _OPERATIONS[type_]
        if operation == "insert" and is_terminating(new):
            operation = "update"
        self._send(node, operation, "pod", new)

    def _on_config_map(self, type_: EventType, new: Object, old: Object | None) -> None:
        self._send_referenced(_OPERATIONS[type_], "configmap", new)

    def _on_secret(self, type_: EventType, new: Object, old: Object | None) -> None:
        # A Secret is never inserted (spec 03 §1.2).
        self._send_referenced("delete" if type_ == "DELETED" else "update", "secret", new)

    def _send_referenced(self, operation: str, type_: str, object: Object) -> None:
        wire = resources.build(object.namespace, type_, object.name)
        for node in self._locations.nodes(Reference(type_, object.namespace, object.name)):
            if node in self._known:
                self._send_wire(node, operation, wire, object)

    def _send(self, node: str, operation: str, type_: str, object: Object) -> None:
        self._send_wire(node, operation, resources.build(object.namespace, type_, object.name), object)

    def _send_wire(self, node: str, operation: str, wire: str, object: Object) -> None:
        resource = resources.for_node(node, wire)
        message = new_message(MODULE, GROUP, operation, resource, object.raw, resource_version=object.resource_version)
        self._bus.send(HUB, message)
