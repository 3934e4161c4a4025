"""Device and DeviceModel of YAML files as the messages that edgecore makes of them (spec 04 §6.4).

For mappers that are tried without edgecore: its own conversion is part of edgecore.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BoolValue, DoubleValue, Int64Value, StringValue

from kubeedge.mapper.description import Key
from kubeedge.proto import dmi_pb2 as dmi

Object = Mapping[str, Any]


def read(text: str) -> tuple[list[dmi.Device], list[dmi.DeviceModel]]:
    """Return the devices and models of a YAML text; other kinds are left out."""
    documents = [one for one in yaml.safe_load_all(text) if isinstance(one, dict)]
    models = {_key(one): one for one in documents if one.get("kind") == "DeviceModel"}
    devices = [one for one in documents if one.get("kind") == "Device"]
    return [device(one, models) for one in devices], [model(one) for one in models.values()]


def _key(document: Object) -> Key:
    metadata = document.get("metadata", {})
    return Key(metadata.get("namespace", "default"), metadata.get("name", ""))


def model(document: Object) -> dmi.DeviceModel:
    """Return a DeviceModel as mappers get it: without visitors and protocol."""
    key = _key(document)
    made = dmi.DeviceModel(name=key.name, namespace=key.namespace)
    for one in document.get("spec", {}).get("properties", ()):
        names = ("name", "description", "type", "accessMode", "minimum", "maximum", "unit")
        made.spec.properties.add(**{name: str(one[name]) for name in names if name in one})
    return made


def device(document: Object, models: Mapping[Key, Object]) -> dmi.Device:
    """Return a Device merged with its model: what the device says wins, key by key."""
    key, spec = _key(document), document.get("spec", {})
    reference = (spec.get("deviceModelRef") or {}).get("name", "")
    basis = models.get(Key(key.namespace, reference), {}).get("spec", {})
    visitors = {one["name"]: one.get("visitors") or {} for one in basis.get("properties", ())}
    protocol = spec.get("protocol", {})
    made = dmi.Device(name=key.name, namespace=key.namespace)
    made.spec.deviceModelReference = reference
    made.spec.protocol.protocolName = protocol.get("protocolName", "")
    _fill(made.spec.protocol.configData, (basis.get("protocolConfigData") or {}) | (protocol.get("configData") or {}))
    for one in spec.get("properties", ()):
        made.spec.properties.append(_property(one, visitors.get(one["name"], {})))
    for one in spec.get("methods", ()):
        made.spec.methods.add(**one)
    report = spec.get("stateReport") or document.get("status") or {}
    made.status.reportToCloud = report.get("reportToCloud", False)
    made.status.reportCycle = report.get("reportCycle", 0)
    return made


def _property(one: Object, basis: Object) -> dmi.DeviceProperty:
    visitors = one.get("visitors", {})
    made = dmi.DeviceProperty(
        name=one["name"],
        collectCycle=one.get("collectCycle", 0),
        reportCycle=one.get("reportCycle", 0),
        reportToCloud=one.get("reportToCloud", False),
    )
    desired = one.get("desired", {})
    made.desired.value = str(desired.get("value", ""))
    made.desired.metadata.update(desired.get("metadata", {}))
    made.visitors.protocolName = basis.get("protocolName") or visitors.get("protocolName", "")
    _fill(made.visitors.configData, (basis.get("configData") or {}) | (visitors.get("configData") or {}))
    push = one.get("pushMethod", {})
    if "http" in push:
        made.pushMethod.http.SetInParent()
        made.pushMethod.http.MergeFrom(dmi.PushMethodHTTP(**_lower(push["http"])))
    if "mqtt" in push:
        made.pushMethod.mqtt.MergeFrom(dmi.PushMethodMQTT(**push["mqtt"]))
    return made


def _lower(fields: Object) -> dict[str, Any]:
    return {name.lower(): value for name, value in fields.items()}


def _fill(data: dmi.CustomizedValue, values: Mapping[str, Any]) -> None:
    data.SetInParent()
    for name, value in values.items():
        data.data[name].CopyFrom(packed(value))


def packed(value: Any) -> AnyMessage:
    """Return a value of `configData` as its message. Raises ValueError for what has none."""
    kinds: Iterable[tuple[type, Any]] = ((bool, BoolValue), (int, Int64Value), (float, DoubleValue), (str, StringValue))
    for kind, wrapper in kinds:
        if isinstance(value, kind):
            made = AnyMessage()
            made.Pack(wrapper(value=value))
            return made
    raise ValueError(f"{value!r} cannot stand in configData")
