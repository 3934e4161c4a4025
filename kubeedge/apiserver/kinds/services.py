"""Services, endpoints and network objects: what they must look like and what may not change."""

from __future__ import annotations

import ipaddress

from kubeedge.apiserver import names
from kubeedge.apiserver.causes import IMMUTABLE, duplicate, forbidden, invalid, required
from kubeedge.apiserver.kinds.pods import port_number, port_or_name
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.status import Cause

_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_MAX_ENDPOINTS = 1000


def _service_spec(spec: Object, path: str, found: list[Cause]) -> None:
    kind, headless = spec.get("type"), spec.get("clusterIP") == "None"
    ports = spec.get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        found.append(required(f"{path}.ports"))
    if headless and kind in ("NodePort", "LoadBalancer"):
        detail = f"may not be set to 'None' for {kind} services"
        found.append(invalid(f"{path}.clusterIPs[0]", "None", detail))
    if kind == "ExternalName":
        if name := spec.get("externalName", "").removesuffix("."):
            found += [invalid(f"{path}.externalName", name, problem) for problem in names.dns_subdomain(name)]
        else:
            found.append(required(f"{path}.externalName"))
    _service_ports(ports, f"{path}.ports", found, kind == "ClusterIP")
    for key, value in (spec.get("selector") or {}).items():
        found += [invalid(f"{path}.selector", key, problem) for problem in names.qualified_name(key)]
        found += [invalid(f"{path}.selector", value, problem) for problem in names.label_value(value)]
    for index, address in enumerate(spec.get("clusterIPs") or ()):
        if address not in ("None", "") and not _is_address(address):
            found.append(invalid(f"{path}.clusterIPs[{index}]", address, _NO_ADDRESS))
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if not _is_address(address):
            found.append(invalid(f"{path}.externalIPs[{index}]", address, _NO_ADDRESS))


def _service_ports(ports: list[Object], path: str, found: list[Cause], is_cluster_ip: bool) -> None:
    taken: set[str] = set()
    pairs: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        name = port.get("name")
        if name:
            found += [invalid(f"{where}.name", name, problem) for problem in names.dns_label(name)]
            if name in taken:
                found.append(duplicate(f"{where}.name", name))
            taken.add(name)
        elif len(ports) > 1:
            found.append(required(f"{where}.name"))
        port_number(port.get("port", 0), f"{where}.port", found)
        port_or_name(port.get("targetPort", 0), f"{where}.targetPort", found)
        if is_cluster_ip and port.get("nodePort"):
            found.append(forbidden(f"{where}.nodePort", "may not be used when `type` is 'ClusterIP'"))
        pair = (port.get("protocol", "TCP"), port.get("port", 0))
        if pair in pairs:
            found.append(duplicate(where, {"protocol": pair[0], "port": pair[1]}))
        pairs.add(pair)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _endpoint_address(address: Object, path: str, found: list[Cause]) -> None:
    if not _is_address(address.get("ip", "")):
        found.append(invalid(f"{path}.ip", address.get("ip", ""), _NO_ADDRESS))


def _endpoint_subset(subset: Object, path: str, found: list[Cause]) -> None:
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        found.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    ports = subset.get("ports") or []
    for index, port in enumerate(ports):
        if len(ports) > 1 and not port.get("name"):
            found.append(required(f"{path}.ports[{index}].name"))
        port_number(port.get("port", 0), f"{path}.ports[{index}].port", found)


def _endpoint_slice(piece: Object, path: str, found: list[Cause]) -> None:
    endpoints = piece.get("endpoints") or []
    if len(endpoints) > _MAX_ENDPOINTS:
        detail = f"Too many: {len(endpoints)}: must have at most {_MAX_ENDPOINTS} items"
        found.append(Cause("FieldValueTooMany", detail, f"{path}endpoints"))
    for index, endpoint in enumerate(endpoints):
        if not endpoint.get("addresses"):
            found.append(required(f"{path}endpoints[{index}].addresses", "must contain at least 1 address"))


CHECKS = {
    "core.v1.EndpointAddress": _endpoint_address,
    "core.v1.EndpointSubset": _endpoint_subset,
    "core.v1.ServiceSpec": _service_spec,
    "discovery.v1.EndpointSlice": _endpoint_slice,
}


def prepare_update(new: Object, old: Object) -> None:
    """An update that doesn't name the addresses keeps them, as long as the service still wants one."""
    spec, before = new["spec"], old["spec"]
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not spec.get(key) and before.get(key):
            spec[key] = before[key]
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        given = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = given.get((port.get("protocol"), port.get("port")))
            if number and not port.get("nodePort"):
                port["nodePort"] = number


def validate_update(new: Object, old: Object) -> list[Cause]:
    """The address of a service stays until it becomes an ExternalName."""
    spec, before = new["spec"], old["spec"]
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return []
    present = before.get("clusterIP")
    if present and spec.get("clusterIP") != present:
        detail = "may not change once set"
        return [invalid("spec.clusterIPs[0]", spec.get("clusterIP", ""), detail)]
    return []


def endpoint_slice_update(new: Object, old: Object) -> list[Cause]:
    """The family of a slice's addresses stays."""
    kind = new.get("addressType")
    return [] if kind == old.get("addressType") else [invalid("addressType", kind, IMMUTABLE)]
