"""Fields of a pod that its containers may read: `fieldRef` and `resourceFieldRef` (spec 05 §5.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from kubeedge.edgecore.edged import requests
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.kube import quantity

_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


class FieldError(ValueError):
    """A field that a pod cannot be asked for."""


class Place(msgspec.Struct):
    """Where the pod runs: addresses of the node and the pod, and the node's allocatable resources as quantities."""

    host_ips: list[str]
    pod_ips: list[str]
    allocatable: Mapping[str, str]


def field(pod: Pod, path: str, place: Place) -> str:
    """Return the value of a `fieldRef`. Raises FieldError."""
    match = _SUBSCRIPT.match(path)
    if match:
        source = pod.labels if match.group(1) == "labels" else pod.annotations
        return source.get(match.group(2), "")
    match path:
        case "metadata.name":
            return pod.name
        case "metadata.namespace":
            return pod.namespace
        case "metadata.uid":
            return pod.uid
        case "metadata.labels":
            return lines(pod.labels)
        case "metadata.annotations":
            return lines(pod.annotations)
        case "spec.nodeName":
            return str(pod.spec.get("nodeName") or "")
        case "spec.serviceAccountName":
            return str(pod.spec.get("serviceAccountName") or "")
        case "status.hostIP":
            return place.host_ips[0] if place.host_ips else ""
        case "status.hostIPs":
            return ",".join(place.host_ips)
        case "status.podIP":
            return place.pod_ips[0] if place.pod_ips else ""
        case "status.podIPs":
            return ",".join(place.pod_ips)
    raise FieldError(f"unsupported fieldPath: {path}")


def lines(values: Mapping[str, str]) -> str:
    """Write labels or annotations as sorted lines `key="escaped value"`."""
    return "\n".join(f"{key}={_quote(values[key])}" for key in sorted(values))


def _quote(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b"}
    escapes.update({"\f": "\\f", "\v": "\\v"})
    return '"' + "".join(escapes.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


def _code(character: str) -> str:
    point = ord(character)
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def resource(pod: Pod, reference: Object, place: Place, own: Object | None = None) -> str:
    """Return the value of a `resourceFieldRef`; own is the container that it stands in. Raises FieldError."""
    name = reference.get("containerName")
    container = pod.container(name) if name else own
    if container is None:
        raise FieldError(f"container {name} not found")
    which, _, kind = str(reference.get("resource") or "").partition(".")
    if which not in ("limits", "requests") or not kind:
        raise FieldError(f"unsupported container resource : {reference.get('resource')}")
    value = requests.of_container(container, which, kind)
    if value is None:
        # A container without a limit may take what the node has.
        value = place.allocatable.get(kind, "0") if which == "limits" else "0"
    try:
        divisor = quantity.parse(reference.get("divisor") or "1").nanos or quantity.parse("1").nanos
        return str(-(-quantity.parse(value).nanos // divisor))
    except quantity.QuantityError as error:
        raise FieldError(str(error)) from None
