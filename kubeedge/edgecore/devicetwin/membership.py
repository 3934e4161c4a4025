"""Which devices this node has: they come and go with the cloud's messages (spec 04 §3.5)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson

from kubeedge import topics
from kubeedge._speedups.twin import Device
from kubeedge._speedups.twinrequest import RequestError, parse
from kubeedge._speedups.twinupdate import sync
from kubeedge.edgecore.devicetwin import attributes, payloads
from kubeedge.edgecore.devicetwin.batch import Batch, Devices
from kubeedge.edgecore.devicetwin.payloads import PayloadError, member
from kubeedge.edgecore.devicetwin.rows import delete_device, insert_device
from kubeedge.edgecore.devicetwin.troubles import Troubles
from kubeedge.message import new_id

log = logging.getLogger(__name__)


class Membership:
    """Adds devices to the memory of DeviceTwin and takes them out again."""

    def __init__(
        self, node: str, devices: Devices, now_ms: Callable[[], int], removed: Callable[[str], None], troubles: Troubles
    ) -> None:
        """removed is told the id of each device that goes."""
        self._node = node
        self._devices = devices
        self._now_ms = now_ms
        self._removed = removed
        self._troubles = troubles
        self._topic = topics.node_topic(node, topics.MEMBERSHIP_UPDATED)

    def change(self, payload: bytes, batch: Batch) -> None:
        """Take a change: first what is added, then what is removed. Raises PayloadError."""
        document = payloads.read_object(payload)
        added = self._entries(document, "added_devices")
        removed = self._entries(document, "removed_devices")
        self._add_all(added, batch)
        for entry in removed:
            self._remove(entry, batch)

    def replace(self, payload: bytes, batch: Batch) -> None:
        """Take the full list: what is not in it is removed. Raises PayloadError."""
        document = payloads.read_object(payload)
        if member(document, "devices", list) is None:
            # Not a node without devices, which has an empty list.
            raise PayloadError("no devices")
        entries = self._entries(document, "devices")
        self._add_all(entries, batch)
        for device_id in self._devices.keys() - {entry["id"] for entry in entries}:
            self._remove({"id": device_id}, batch)

    def follow(self, is_deletion: bool, payload: bytes, batch: Batch) -> None:
        """Take a Device as MetaManager stored it: the news that it is a member may have been lost. Raises PayloadError.

        Upstream's cloud sends memberships once, and a node that was away never hears of them again (spec 04 Q7).
        """
        document = payloads.read_object(payload)
        metadata = member(document, "metadata", dict, {})
        namespace, name = (member(metadata, key, str, "") for key in ("namespace", "name"))
        if not namespace or not name:
            raise PayloadError("device without namespace or name")
        entry = {"id": f"{namespace}/{name}", "name": name}
        spec = member(document, "spec", dict)
        if is_deletion:
            # One that is deleted while the node is connected is told as a change too, and may be here again by now.
            if spec is None:
                self._remove({"id": entry["id"]}, batch)
        elif spec is not None and member(spec, "nodeName", str, "") == self._node:
            labels = member(metadata, "labels", dict, {})
            description = member(labels, "description", str, "")
            self._add({**entry, "description": description} if description else entry, batch)

    def _entries(self, document: dict[str, Any], name: str) -> list[dict[str, Any]]:
        entries = []
        for entry in member(document, name, list, []):
            device_id = member(entry, "id", str) if isinstance(entry, dict) else None
            if device_id:
                entries.append({**entry, "id": device_id})
            else:
                self._troubles.refuse("membership", name, "an entry has no id")
        return entries

    def _add_all(self, entries: list[dict[str, Any]], batch: Batch) -> None:
        for entry in entries:
            try:
                self._add(entry, batch)
            except PayloadError as error:
                # The others can be good.
                self._troubles.refuse("membership", entry["id"], str(error))

    def _add(self, entry: dict[str, Any], batch: Batch) -> None:
        device_id = entry["id"]
        device = self._devices.get(device_id)
        is_new = device is None
        if device is None:
            texts = {name: member(entry, name, str, "") for name in ("name", "description", "state")}
            device = self._devices[device_id] = Device(device_id, **texts)
            batch.touched.add(device_id)
            batch.statements.append(insert_device(device))
        # A known one comes again whenever cloudcore starts. Upstream then answers with an error and deletes the
        # attributes; here only what the entry has is taken (spec 04 Q4).
        twins = member(entry, "twin", dict)
        if twins:
            self._sync(device, twins, batch)
        wanted = member(entry, "attributes", dict)
        if wanted:
            changed = attributes.change(device, wanted, batch, is_whole=True)
            if changed:
                topic = topics.device_topic(device_id, topics.UPDATED)
                batch.tell(topic, payloads.attributes("", self._now_ms(), changed))
        if is_new:
            log.info("device added device=%s", device_id)
            shown = payloads.membership_entry(entry)
            batch.tell(self._topic, payloads.membership_change(new_id(), self._now_ms(), added=shown))

    def _sync(self, device: Device, twins: dict[str, Any], batch: Batch) -> None:
        try:
            request = parse(orjson.dumps({"twin": twins}), False)
        except RequestError as error:
            raise PayloadError(error.reason) from None
        outcome = sync(device, request, self._now_ms(), new_id(), batch.changes)
        if outcome.reason:
            raise PayloadError(outcome.reason)
        batch.take(device.id, outcome)

    def _remove(self, entry: dict[str, Any], batch: Batch) -> None:
        device_id = entry["id"]
        if self._devices.pop(device_id, None) is None:
            log.debug("device to be removed is unknown device=%s", device_id)
            return
        log.info("device removed device=%s", device_id)
        batch.forget(device_id)
        batch.touched.add(device_id)
        batch.statements.extend(delete_device(device_id))
        self._removed(device_id)
        shown = payloads.membership_entry(entry)
        batch.tell(self._topic, payloads.membership_change(new_id(), self._now_ms(), removed=shown))
