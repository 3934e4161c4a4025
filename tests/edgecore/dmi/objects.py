"""Devices and models as the cloud sends them."""

from __future__ import annotations

from typing import Any

MODEL = "default/devicemodel/thermo"
SENSOR = "default/device/sensor"


def model(name: str = "thermo", *, protocol: str = "modbus", **property_: Any) -> dict[str, Any]:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "protocol": protocol,
            "properties": [{"name": "temperature", "type": "INT", "accessMode": "ReadWrite", **property_}],
        },
    }


def device(
    name: str = "sensor",
    *,
    protocol: str = "modbus",
    model: str = "thermo",
    desired: str = "",
    config: Any = None,
    **property_: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "deviceModelRef": {"name": model},
            "nodeName": "e1",
            "protocol": {"protocolName": protocol, "configData": {"port": 502} if config is None else config},
            "properties": [{"name": "temperature", "desired": {"value": desired}, "visitors": {}, **property_}],
        },
        "status": {},
    }
