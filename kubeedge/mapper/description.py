"""Devices as a mapper sees them: instance and model of the DMI (spec 04 §6.3) put together, in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kubeedge.mapper.values import Scalar, from_any
from kubeedge.proto import dmi_pb2 as dmi

DEFAULT_CYCLE_S = 1.0
# Nothing is read more often, whatever its cycle says.
MIN_CYCLE_S = 0.01

READ_ONLY = "ReadOnly"
# Pictures and films of a camera: they are no values, so they have no twin (spec 04 §7.2).
STREAM = "stream"


class Key(NamedTuple):
    """What names an object at the edge."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class MqttPush:
    """Publish each value at a broker. address is like `tcp://127.0.0.1:1883`."""

    address: str
    topic: str
    qos: int = 0
    retained: bool = False


@dataclass(frozen=True, slots=True)
class HttpPush:
    """Post each value to a server. timeout_s 0 takes the SDK's."""

    url: str
    timeout_s: float = 0


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a device.

    type is the model's in lower case: int, float, double, string, boolean, bytes, stream; empty when the model does not
    know the property. config is the visitor's `configData`. Cycles are in seconds. desired is empty when nobody has
    asked for a value; desired_id changes with each new wish for it, even of the same value.
    """

    name: str
    type: str = ""
    is_writable: bool = False
    minimum: str = ""
    maximum: str = ""
    unit: str = ""
    description: str = ""
    config: Mapping[str, Scalar] = field(default_factory=dict)
    collect_cycle_s: float = DEFAULT_CYCLE_S
    report_cycle_s: float = 0
    report_to_cloud: bool = False
    desired: str = ""
    desired_id: str = ""
    push: MqttPush | HttpPush | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a device: a name under which some of its properties can be written from this machine."""

    name: str
    description: str = ""
    properties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """One device. config is the protocol's `configData`. state_cycle_s is 0 when its state is not reported."""

    namespace: str
    name: str
    model: str = ""
    protocol: str = ""
    config: Mapping[str, Scalar] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    methods: Mapping[str, Method] = field(default_factory=dict)
    state_cycle_s: float = 0

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.namespace, self.name)


def device_key(device: dmi.Device) -> Key:
    """Return the key of a device of the DMI."""
    return Key(device.namespace, device.name)


def model_key(device: dmi.Device) -> Key:
    """Return the key of the model that a device refers to, which lies in its own namespace."""
    return Key(device.namespace, device.spec.deviceModelReference)


def describe(device: dmi.Device, model: dmi.DeviceModel | None) -> tuple[Device, list[str]]:
    """Put an instance and its model together. Returns the device and what is wrong with it, in words.

    Nothing that is wrong stops the rest: a value of configData that cannot be used is left out, a property that the
    model does not have is read as text and never written, the second one of two with the same name is left out.
    """
    problems: list[str] = []
    known = {one.name: one for one in model.spec.properties} if model is not None else {}
    properties: dict[str, Property] = {}
    for one in device.spec.properties:
        if one.name in properties:
            problems.append(f"property {one.name} is there twice")
            continue
        if one.name not in known and model is not None:
            problems.append(f"property {one.name} is not in the model {device.spec.deviceModelReference}")
        properties[one.name] = _property(one, known.get(one.name), problems)
    if model is None:
        problems.append(f"the model {device.spec.deviceModelReference!r} is not known yet")
    status = device.status
    return (
        Device(
            device.namespace,
            device.name,
            device.spec.deviceModelReference,
            device.spec.protocol.protocolName,
            _config(device.spec.protocol.configData, f"protocol of {device.name}", problems),
            properties,
            {one.name: Method(one.name, one.description, tuple(one.propertyNames)) for one in device.spec.methods},
            _cycle(status.reportCycle) if status.reportToCloud else 0,
        ),
        problems,
    )


def _property(one: dmi.DeviceProperty, model: dmi.ModelProperty | None, problems: list[str]) -> Property:
    push, foreign = _push(one.pushMethod)
    if foreign:
        problems.append(f"property {one.name} cannot be pushed by {foreign}")
    return Property(
        one.name,
        type=model.type.lower() if model is not None else "",
        is_writable=model is not None and model.accessMode != READ_ONLY,
        minimum=model.minimum if model is not None else "",
        maximum=model.maximum if model is not None else "",
        unit=model.unit if model is not None else "",
        description=model.description if model is not None else "",
        config=_config(one.visitors.configData, f"property {one.name}", problems),
        collect_cycle_s=_cycle(one.collectCycle),
        report_cycle_s=one.reportCycle / 1000 if one.reportCycle > 0 else 0,
        report_to_cloud=one.reportToCloud,
        desired=one.desired.value,
        desired_id=one.desired.metadata.get("timestamp", ""),
        push=push,
    )


def _cycle(milliseconds: int) -> float:
    return max(milliseconds / 1000, MIN_CYCLE_S) if milliseconds > 0 else DEFAULT_CYCLE_S


def _config(data: dmi.CustomizedValue, where: str, problems: list[str]) -> dict[str, Scalar]:
    config = {}
    for key, value in data.data.items():
        try:
            config[key] = from_any(value)
        except ValueError as error:
            problems.append(f"{key} of {where}: {error}")
    return config


def _push(method: dmi.PushMethod) -> tuple[MqttPush | HttpPush | None, str]:
    """Return what is to be done, and the name of what we cannot do (spec 04 §7.4)."""
    if method.HasField("http"):
        http = method.http
        port = f":{http.port}" if http.port else ""
        return HttpPush(f"{http.hostname}{port}{http.requestpath}", http.timeout / 1000), ""
    if method.HasField("mqtt"):
        mqtt = method.mqtt
        return MqttPush(mqtt.address, mqtt.topic, mqtt.qos if mqtt.qos in (0, 1, 2) else 0, mqtt.retained), ""
    return None, ", ".join(name for name in ("otel", "anomalyDetection", "dbMethod") if method.HasField(name))
