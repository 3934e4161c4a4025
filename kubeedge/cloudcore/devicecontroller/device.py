"""A Device and a DeviceModel, read: only what decides where they go and whether they can work (spec 04 §1.2, §1.3)."""

from __future__ import annotations

import msgspec

from kubeedge.kube.object import Object
from kubeedge.metrics import Counter

# The label that becomes the description of a device in messages (spec 04 §2.2).
DESCRIPTION = "description"

malformed = Counter("kubeedge_devicecontroller_malformed_total", "Devices and models of the API that cannot be read")


class Desired(msgspec.Struct):
    """What a property shall be; empty means that nobody wants anything."""

    value: str = ""


class Property(msgspec.Struct):
    """A property of a device."""

    name: str = ""
    desired: Desired | None = None


class ModelProperty(msgspec.Struct, rename="camel"):
    """A property of a model; the limits are texts in the API."""

    name: str = ""
    type: str = ""
    access_mode: str = ""
    minimum: str = ""
    maximum: str = ""


class _Reference(msgspec.Struct):
    name: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    device_model_ref: _Reference | None = None
    properties: list[Property] | None = None


class _ModelSpec(msgspec.Struct):
    properties: list[ModelProperty] | None = None


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Document(msgspec.Struct):
    metadata: _Metadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")


_document = msgspec.json.Decoder(_Document)
_spec = msgspec.json.Decoder(_Spec)
_model_spec = msgspec.json.Decoder(_ModelSpec)


class Device:
    """One Device. id is `<namespace>/<name>`; node and model are empty where the device names none (quirk Q22)."""

    __slots__ = ("description", "id", "model", "name", "namespace", "node", "object", "properties", "spec")

    def __init__(self, object: Object) -> None:
        """Read it. One that cannot be read, which no schema lets through, belongs to no node."""
        self.object = object
        self.namespace, self.name = object.namespace, object.name
        self.id = f"{object.namespace}/{object.name}"
        self.description = ""
        try:
            document = _document.decode(object.raw)
            spec = _spec.decode(document.spec)
            self.description = (document.metadata.labels or {}).get(DESCRIPTION, "")
            self.spec = bytes(document.spec)
        except msgspec.DecodeError:
            malformed.inc()
            spec, self.spec = _Spec(), b""
        self.node = spec.node_name
        self.model = spec.device_model_ref.name if spec.device_model_ref is not None else ""
        self.properties = spec.properties or []

    @property
    def use(self) -> str:
        """Name the use of its model on its node; devices that share it need the model there once."""
        return f"{self.node}/{self.namespace}/{self.model}"

    def membership(self) -> dict[str, str]:
        """Return the entry of the device in a membership message (spec 04 §2.2)."""
        entry = {"id": self.id, "name": self.name, "description": self.description}
        return {key: value for key, value in entry.items() if value}


def model_properties(object: Object) -> list[ModelProperty]:
    """Return the properties of a DeviceModel; none of one that cannot be read."""
    try:
        return _model_spec.decode(_document.decode(object.raw).spec).properties or []
    except msgspec.DecodeError:
        malformed.inc()
        return []


def spec_of(object: Object) -> bytes:
    """Return the JSON text of the spec of a Device or DeviceModel, empty of one that cannot be read."""
    try:
        return bytes(_document.decode(object.raw).spec)
    except msgspec.DecodeError:
        return b""


def by_node(object: Object) -> tuple[str, ...]:
    """Index function: the node of a Device."""
    node = Device(object).node
    return (node,) if node else ()


def by_use(object: Object) -> tuple[str, ...]:
    """Index function: which model a Device needs on which node, as Device.use."""
    device = Device(object)
    return (device.use,) if device.node and device.model else ()


def by_model(object: Object) -> tuple[str, ...]:
    """Index function: the model of a Device, as `<namespace>/<name>`."""
    device = Device(object)
    return (f"{device.namespace}/{device.model}",) if device.model else ()
