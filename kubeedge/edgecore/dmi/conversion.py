"""Devices and models as messages of the DMI (spec 04 §6.4): field by field by name, the model's defaults merged in."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, DoubleValue, FloatValue, Int64Value, StringValue

from kubeedge.edgecore.dmi.catalog import Object, ObjectError, names_of, section, text
from kubeedge.proto import dmi_pb2 as dmi

# Either of the two kinds that the library has, by the words of its stubs.
Field = Any

_INT64 = range(-(2**63), 2**63)
_URL_PREFIX = "type.googleapis.com/"


class Converter:
    """Makes the messages for one mapper.

    Numbers of `configData` become FloatValue as upstream's edge sends them, 32 bits wide; with exact_numbers they
    become Int64Value when they are whole and DoubleValue when not, so that none loses a digit (spec 04 Q32).
    """

    def __init__(self, *, exact_numbers: bool) -> None:
        self._exact_numbers = exact_numbers

    def model(self, key: str, found: Object) -> dmi.DeviceModel:
        """Return a model. Raises ObjectError."""
        namespace, name = names_of(key)
        message = dmi.DeviceModel(name=name, namespace=namespace)
        message.spec.SetInParent()
        self._fill(message.spec, section(found, "spec"), "spec")
        return message

    def device(self, key: str, found: Object, model: Object) -> dmi.Device:
        """Return a device with the defaults of its model merged in. Raises ObjectError."""
        namespace, name = names_of(key)
        spec = section(found, "spec")
        message = dmi.Device(name=name, namespace=namespace)
        # Mappers of upstream's die of what is not set (spec 04 Q14), so whatever can be empty is set empty.
        message.status.SetInParent()
        message.spec.protocol.configData.SetInParent()
        self._fill(message.spec, merged(spec, section(model, "spec")), "spec")
        message.spec.deviceModelReference = text(section(spec, "deviceModelRef"), "name")
        for one in message.spec.properties:
            one.desired.SetInParent()
            one.visitors.configData.SetInParent()
        report = spec.get("stateReport")
        self._fill(
            message.status, section(found, "status") if report is None else section(spec, "stateReport"), "status"
        )
        return message

    def _fill(self, message: Message, found: Object, path: str) -> None:
        by_name = {key.lower(): value for key, value in found.items()}
        for field in message.DESCRIPTOR.fields:
            value = by_name.get(field.name.lower())
            if value is not None:
                self._set(message, field, value, f"{path}.{field.name}")

    def _set(self, message: Message, field: Field, value: Any, path: str) -> None:
        target = getattr(message, field.name)
        if field.message_type is None:
            if field.is_repeated:
                target.extend(_scalar(field, one, path) for one in _list(value, path))
            else:
                _assign(message, field, _scalar(field, value, path), path)
        elif field.message_type.GetOptions().map_entry:
            target.update({str(key): _of_type(str, one, f"{path}.{key}") for key, one in _object(value, path).items()})
        elif field.is_repeated:
            for index, one in enumerate(_list(value, path)):
                self._fill(target.add(), _object(one, f"{path}[{index}]"), f"{path}[{index}]")
        elif isinstance(target, dmi.CustomizedValue | dmi.AnomalyDetection):
            target.SetInParent()
            for key, one in _object(value, path).items():
                self._pack(target, key, one, f"{path}.{key}")
        else:
            target.SetInParent()
            self._fill(target, _object(value, path), path)

    def _pack(self, target: dmi.CustomizedValue | dmi.AnomalyDetection, key: str, value: Any, path: str) -> None:
        held: Message
        match value:
            case str():
                held = StringValue(value=value)
            case bool():
                held = BoolValue(value=value)
            case int() | float() if not self._exact_numbers:
                held = FloatValue(value=value)
            case int() if value in _INT64:
                held = Int64Value(value=value)
            case int() | float():
                held = DoubleValue(value=value)
            case _:
                raise ObjectError(f"{path} is neither text nor number nor true or false")
        # Not Pack(): it compiles to the same, but asks the pool for the name each time.
        target.data[key].type_url = _URL_PREFIX + held.DESCRIPTOR.full_name
        target.data[key].value = held.SerializeToString()


def merged(spec: Object, model: Object) -> Object:
    """Return the specification of a device with the defaults of its model, key by key (spec 04 §6.4).

    Raises ObjectError.
    """
    visitors = {}
    for one in _list(model.get("properties") or [], "model.properties"):
        if section(one, "visitors"):
            visitors[text(one, "name")] = one["visitors"]
    properties = []
    for one in _list(spec.get("properties") or [], "spec.properties"):
        base = visitors.get(text(_object(one, "spec.properties"), "name"))
        properties.append(one if base is None else {**one, "visitors": _over(base, section(one, "visitors"))})
    protocol = _over({"configData": model.get("protocolConfigData")}, section(spec, "protocol"))
    protocol["protocolName"] = text(section(spec, "protocol"), "protocolName")
    return {**spec, "properties": properties, "protocol": protocol}


def _over(base: Object, instance: Object) -> Object:
    """Lay the `configData` of an instance over that of base; all else of base stays."""
    return {**base, "configData": {**section(base, "configData"), **section(instance, "configData")}}


def _list(value: Any, path: str) -> list[Any]:
    return list(_of_type(list, value, path))


def _object(value: Any, path: str) -> Object:
    return dict(_of_type(dict, value, path))


def _of_type(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        raise ObjectError(f"{path} is no {kind.__name__}")
    return value


def _scalar(field: Field, value: Any, path: str) -> str | bool | int:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return str(_of_type(str, value, path))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return bool(_of_type(bool, value, path))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool):
        raise ObjectError(f"{path} is no int")
    return int(_of_type(int, value, path))


def _assign(message: Message, field: Field, value: str | bool | int, path: str) -> None:
    try:
        setattr(message, field.name, value)
    except ValueError as error:
        raise ObjectError(f"{path}: {error}") from None
