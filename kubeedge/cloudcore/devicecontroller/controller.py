"""The module as the rest of cloudcore sees it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from kubeedge import resources
from kubeedge.bus import Bus
from kubeedge.cloudcore.devicecontroller.conditions import Conditions
from kubeedge.cloudcore.devicecontroller.device import Device
from kubeedge.cloudcore.devicecontroller.downstream import HUB, MODULE, TWIN, Downstream
from kubeedge.cloudcore.devicecontroller.reports import MalformedReportError, read_state, read_twins
from kubeedge.cloudcore.devicecontroller.statuses import Statuses
from kubeedge.kube.api import Kind, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.object import Object
from kubeedge.message import OK, Message, new_message
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

MEMBERSHIP_DETAIL = "membership/detail"

reports = Counter("kubeedge_devicecontroller_reports_total", "Reports of nodes about devices", labels=("outcome",))


class DeviceController:
    """Registers itself on the bus as module and group `devicecontroller`."""

    def __init__(
        self,
        bus: Bus,
        api: KubeApi,
        devices: Informer,
        models: Informer,
        statuses: Informer,
        *,
        impersonate: bool = False,
    ) -> None:
        """Join the informers and the bus.

        devices needs the indexes `node`, `use` and `model` (device.by_node, by_use, by_model). impersonate writes what
        a node reports in its name (spec 02 §1.8).
        """
        self._bus = bus
        self._devices = devices
        self._impersonate = impersonate
        self._downstream = Downstream(bus, devices, models)
        self._statuses = Statuses(api, devices, statuses)
        self._conditions = Conditions(api, devices, models)
        self._complained: set[str] = set()
        bus.register(MODULE, MODULE, self.receive)

    async def run(self) -> None:
        """Write what nodes report and what is wrong with devices, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._statuses.run())
            group.create_task(self._conditions.run())

    def belongs(self, kind: Kind, object: Object, node: str) -> bool:
        """Tell whether an object is for node, as far as this module decides that."""
        return self._downstream.belongs(kind, object, node)

    def receive(self, message: Message) -> None:
        """Take a report of a node, or the news that one has come or gone (spec 01 §3.8)."""
        node = resources.node_of(message.resource)
        resource = resources.trim(message.resource)
        if message.operation == "connected":
            self._downstream.connected(node)
        elif message.operation == "disconnected":
            self._complained.discard(node)
        elif resource == MEMBERSHIP_DETAIL:
            self._answer_membership(node, message)
        else:
            self._take_report(node, resource, message)

    def _answer_membership(self, node: str, message: Message) -> None:
        """Confirm the question and send what is asked for, which must not look like a confirmation (quirk Q7)."""
        self._confirm(node, message)
        resource = resources.for_node(node, MEMBERSHIP_DETAIL)
        self._bus.send(HUB, new_message(MODULE, TWIN, "update", resource, self._downstream.membership(node)))

    def _take_report(self, node: str, resource: str, message: Message) -> None:
        """Have a report written; it is confirmed when it is, so that the node sends it again until then."""
        first, _, rest = resource.partition("/")
        namespace, _, rest = rest.partition("/")
        name, _, action = rest.partition("/")
        try:
            if first != "device" or action not in ("twin/edge_updated", "state/update"):
                raise MalformedReportError(f"no report is known by the resource {resource!r}")
            report = read_twins(message) if action == "twin/edge_updated" else read_state(message)
        except MalformedReportError as error:
            self._complain(node, "malformed", str(error), message)
            return
        object = self._devices.get(namespace, name)
        device = Device(object) if object is not None else None
        if device is None or device.node != node:
            # Confirmed all the same: a node would repeat it for ever (quirk Q23).
            self._complain(node, "unknown device", f"device {namespace}/{name} is not one of the node", message)
            return
        reports.inc("ok")
        as_node = node if self._impersonate and action == "twin/edge_updated" else ""
        self._statuses.report(device, report, as_node, partial(self._confirm_id, node, message.id))

    def _complain(self, node: str, outcome: str, reason: str, message: Message) -> None:
        """Count a report that is not written; log the first of a node, for more will be like it."""
        reports.inc(outcome)
        level = logging.DEBUG if node in self._complained else logging.WARNING
        self._complained.add(node)
        log.log(level, "report not taken node=%s msg_id=%s reason=%s", node, message.id, reason)
        self._confirm(node, message)

    def _confirm(self, node: str, message: Message) -> None:
        self._confirm_id(node, message.id)

    def _confirm_id(self, node: str, message_id: str) -> None:
        """Tell the node that it may forget its message (spec 04 §2.2)."""
        resource = resources.for_node(node, TWIN)
        self._bus.send(HUB, new_message(MODULE, TWIN, "response", resource, OK, parent_id=message_id))
