"""Pods and pod templates: what their parts must look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kubeedge.apiserver import names
from kubeedge.apiserver.causes import duplicate, forbidden, invalid, not_found, not_supported, required
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.status import Cause
from kubeedge.kube import quantity

PORT_RANGE = "must be between 1 and 65535, inclusive"
NONNEGATIVE = "must be greater than or equal to 0"

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MORE_HANDLERS = "may not specify more than 1 handler type"
_INIT_ONLY = "may not be set for init containers without restartPolicy=Always"
_OVERCOMMITTED = frozenset({"cpu", "memory", "ephemeral-storage"})
_ENV_FIELDS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def nonnegative(obj: Object, path: str, found: list[Cause], *fields: str) -> None:
    """Refuse negative numbers in fields of obj."""
    for field in fields:
        if (obj.get(field) or 0) < 0:
            found.append(invalid(f"{path}.{field}", obj[field], NONNEGATIVE))


def port_number(value: Any, path: str, found: list[Cause]) -> None:
    """Refuse what is no port number."""
    if not isinstance(value, int) or not 1 <= value <= 65535:
        found.append(invalid(path, value, PORT_RANGE))


def port_or_name(value: Any, path: str, found: list[Cause]) -> None:
    """Refuse what is neither a port number nor the name of a port."""
    if isinstance(value, str):
        found += [invalid(path, value, problem) for problem in names.port_name(value)]
    else:
        port_number(value, path, found)


def _each(found: list[Cause], path: str, value: str, problems: Iterable[str]) -> None:
    found += [invalid(path, value, problem) for problem in problems]


def _container(container: Object, path: str, found: list[Cause]) -> None:
    if name := container.get("name"):
        _each(found, f"{path}.name", name, names.dns_label(name))
    port_names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        name = port.get("name")
        if name and name in port_names:
            found.append(duplicate(f"{path}.ports[{index}].name", name))
        port_names.add(name)
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        mount_path = mount.get("mountPath")
        if mount_path and mount_path in paths:
            found.append(invalid(f"{path}.volumeMounts[{index}].mountPath", mount_path, "must be unique"))
        paths.add(mount_path)


def _container_port(port: Object, path: str, found: list[Cause]) -> None:
    if name := port.get("name"):
        _each(found, f"{path}.name", name, names.port_name(name))
    if not port.get("containerPort"):
        found.append(required(f"{path}.containerPort"))
    else:
        port_number(port["containerPort"], f"{path}.containerPort", found)
    if port.get("hostPort"):
        port_number(port["hostPort"], f"{path}.hostPort", found)


def _env_var(variable: Object, path: str, found: list[Cause]) -> None:
    if name := variable.get("name"):
        _each(found, f"{path}.name", name, names.env_name(name))
    source = variable.get("valueFrom")
    if source is None:
        return
    count = sum(isinstance(value, dict) for value in source.values())
    if count == 0:
        found.append(
            invalid(
                f"{path}.valueFrom",
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )
        )
    elif variable.get("value"):
        found.append(invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty"))
    elif count > 1:
        found.append(invalid(f"{path}.valueFrom", "", "may not have more than one field specified at a time"))
    field = (source.get("fieldRef") or {}).get("fieldPath")
    if field and field not in _ENV_FIELDS and not field.startswith(("metadata.annotations[", "metadata.labels[")):
        found.append(not_supported(f"{path}.valueFrom.fieldRef.fieldPath", field, sorted(_ENV_FIELDS)))


def _env_from(source: Object, path: str, found: list[Cause]) -> None:
    if prefix := source.get("prefix"):
        _each(found, f"{path}.prefix", prefix, names.env_name(prefix))
    listed = path.rpartition("[")[0]
    count = ("configMapRef" in source) + ("secretRef" in source)
    if count == 0:
        found.append(invalid(listed, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif count > 1:
        found.append(invalid(listed, "", "may not have more than one field specified at a time"))


def _key_selector(selector: Object, path: str, found: list[Cause]) -> None:
    if not selector.get("name"):
        found.append(required(f"{path}.name"))
    if key := selector.get("key"):
        _each(found, f"{path}.key", key, names.config_key(key))


def _probe(probe: Object, path: str, found: list[Cause]) -> None:
    _handler(probe, path, found, ("exec", "httpGet", "tcpSocket", "grpc"))
    nonnegative(
        probe,
        path,
        found,
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    )
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        found.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))


def _handler(handler: Object, path: str, found: list[Cause], kinds: tuple[str, ...]) -> None:
    given = [kind for kind in kinds if kind in handler]
    found += [forbidden(f"{path}.{kind}", _MORE_HANDLERS) for kind in given[1:]]
    if not given:
        found.append(required(path, "must specify a handler type"))


def _lifecycle_handler(handler: Object, path: str, found: list[Cause]) -> None:
    _handler(handler, path, found, ("exec", "httpGet", "tcpSocket", "sleep"))


def _exec(action: Object, path: str, found: list[Cause]) -> None:
    if not action.get("command"):
        found.append(required(f"{path}.command"))


def _http_get(action: Object, path: str, found: list[Cause]) -> None:
    port_or_name(action.get("port", 0), f"{path}.port", found)
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        _each(found, f"{path}.httpHeaders", name, names.http_header_name(name))


def _tcp_socket(action: Object, path: str, found: list[Cause]) -> None:
    port_or_name(action.get("port", 0), f"{path}.port", found)


def _resource_requirements(requirements: Object, path: str, found: list[Cause]) -> None:
    limits = {name: quantity.parse(value) for name, value in (requirements.get("limits") or {}).items()}
    requests = {name: quantity.parse(value) for name, value in (requirements.get("requests") or {}).items()}
    for where, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            _each(found, f"{path}.{where}", name, names.qualified_name(name))
            if amount.nanos < 0:
                found.append(invalid(f"{path}.{where}[{name}]", str(amount), NONNEGATIVE))
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None:
            continue
        if name not in _OVERCOMMITTED and amount.nanos != limit.nanos and "hugepages-" in name:
            detail = f"must be equal to {name} limit of {limit}"
            found.append(invalid(f"{path}.requests", str(amount), detail))
        elif amount.nanos > limit.nanos:
            detail = f"must be less than or equal to {name} limit of {limit}"
            found.append(invalid(f"{path}.requests", str(amount), detail))


def _volume(volume: Object, path: str, found: list[Cause]) -> None:
    if name := volume.get("name"):
        _each(found, f"{path}.name", name, names.dns_label(name))
    sources = [key for key, value in volume.items() if isinstance(value, dict)]
    found += [forbidden(f"{path}.{source}", "may not specify more than 1 volume type") for source in sources[1:]]


def _host_path(source: Object, path: str, found: list[Cause]) -> None:
    if ".." in source.get("path", "").split("/"):
        found.append(invalid(f"{path}.path", source["path"], "must not contain '..'"))


def _relative_path(obj: Object, field: str, path: str, found: list[Cause]) -> None:
    value = obj.get(field)
    if not value:
        return
    if value.startswith("/"):
        found.append(invalid(f"{path}.{field}", value, "must be a relative path"))
    if ".." in value.split("/"):
        found.append(invalid(f"{path}.{field}", value, "must not contain '..'"))


def _key_to_path(item: Object, path: str, found: list[Cause]) -> None:
    _relative_path(item, "path", path, found)


def _volume_mount(mount: Object, path: str, found: list[Cause]) -> None:
    _relative_path(mount, "subPath", path, found)
    _relative_path(mount, "subPathExpr", path, found)
    if mount.get("subPath") and mount.get("subPathExpr"):
        found.append(
            invalid(f"{path}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        )


def _toleration(toleration: Object, path: str, found: list[Cause]) -> None:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    if key:
        _each(found, f"{path}.key", key, names.qualified_name(key))
    elif operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        found.append(invalid(f"{path}.operator", operator, detail))
    if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        found.append(invalid(f"{path}.effect", toleration.get("effect", ""), detail))
    value = toleration.get("value", "")
    if operator == "Exists" and value:
        found.append(invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'"))
    elif operator in ("", "Equal"):
        _each(found, f"{path}.operator", value, names.label_value(value))


def _node_selector_requirement(requirement: Object, path: str, found: list[Cause]) -> None:
    operator, values = requirement.get("operator"), requirement.get("values") or []
    if operator in ("In", "NotIn") and not values:
        found.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist") and values:
        found.append(forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif operator in ("Gt", "Lt") and len(values) != 1:
        found.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    if key := requirement.get("key"):
        _each(found, f"{path}.key", key, names.qualified_name(key))


def _label_selector_requirement(requirement: Object, path: str, found: list[Cause]) -> None:
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            found.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden(f"{path}.values", detail))
    else:
        found.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    if key := requirement.get("key"):
        _each(found, f"{path}.key", key, names.qualified_name(key))


def _host_alias(alias: Object, path: str, found: list[Cause]) -> None:
    for index, name in enumerate(alias.get("hostnames") or ()):
        _each(found, f"{path}.hostnames[{index}]", name, names.dns_subdomain(name))


def _pod_spec(spec: Object, path: str, found: list[Cause]) -> None:
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume.get("name", "")
        if name in volumes:
            found.append(duplicate(f"{path}.volumes[{index}].name", name))
        volumes.add(name)
    containers, init_containers = spec.get("containers") or [], spec.get("initContainers") or []
    taken: set[str] = set()
    for group, members in (("containers", containers), ("initContainers", init_containers)):
        for index, container in enumerate(members):
            _member(container, f"{path}.{group}[{index}]", found, taken, volumes, is_init=group == "initContainers")
    _host_ports(containers, f"{path}.containers", found)
    _pod_names(spec, path, found)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        found.append(invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    for key, value in (spec.get("nodeSelector") or {}).items():
        _each(found, f"{path}.nodeSelector", key, names.qualified_name(key))
        _each(found, f"{path}.nodeSelector", value, names.label_value(value))
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(required(f"{path}.dnsConfig.nameservers", detail))


def _member(
    container: Object, path: str, found: list[Cause], taken: set[str], volumes: set[str], *, is_init: bool
) -> None:
    """What only the pod around a container can say about it."""
    name = container.get("name", "")
    if not container.get("image"):
        found.append(required(f"{path}.image"))
    if name and name in taken:
        found.append(duplicate(f"{path}.name", name))
    taken.add(name)
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name", "") not in volumes:
            if not mount.get("name"):
                found.append(required(f"{path}.volumeMounts[{index}].name"))
            found.append(not_found(f"{path}.volumeMounts[{index}].name", mount.get("name", "")))
    if not is_init:
        if "restartPolicy" in container:
            found.append(forbidden(f"{path}.restartPolicy", "may not be set for non-init containers"))
    elif container.get("restartPolicy") is None:
        for field in ("lifecycle", *_PROBES):
            if field in container:
                found.append(forbidden(f"{path}.{field}", _INIT_ONLY))
    for probe in ("livenessProbe", "startupProbe"):
        threshold = (container.get(probe) or {}).get("successThreshold", 1)
        if threshold != 1:
            found.append(invalid(f"{path}.{probe}.successThreshold", threshold, "must be 1"))


def _host_ports(containers: list[Object], path: str, found: list[Cause]) -> None:
    taken: set[tuple[Any, ...]] = set()
    for index, container in enumerate(containers):
        for place, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort")
            if not number:
                continue
            address = f"{port.get('protocol')}/{port.get('hostIP', '')}/{number}"
            if (address,) in taken:
                found.append(duplicate(f"{path}[{index}].ports[{place}].hostPort", address))
            taken.add((address,))


def _pod_names(spec: Object, path: str, found: list[Cause]) -> None:
    checks: tuple[tuple[str, Callable[[str], list[str]]], ...] = (
        ("serviceAccountName", names.dns_subdomain),
        ("nodeName", names.dns_subdomain),
        ("hostname", names.dns_label),
        ("subdomain", names.dns_label),
        ("priorityClassName", names.dns_subdomain),
        ("runtimeClassName", names.dns_subdomain),
    )
    for field, check in checks:
        if value := spec.get(field):
            _each(found, f"{path}.{field}", value, check(value))


CHECKS = {
    "core.v1.ConfigMapKeySelector": _key_selector,
    "core.v1.Container": _container,
    "core.v1.ContainerPort": _container_port,
    "core.v1.EnvFromSource": _env_from,
    "core.v1.EnvVar": _env_var,
    "core.v1.ExecAction": _exec,
    "core.v1.HTTPGetAction": _http_get,
    "core.v1.HostAlias": _host_alias,
    "core.v1.HostPathVolumeSource": _host_path,
    "core.v1.KeyToPath": _key_to_path,
    "core.v1.LifecycleHandler": _lifecycle_handler,
    "core.v1.NodeSelectorRequirement": _node_selector_requirement,
    "core.v1.PodSpec": _pod_spec,
    "core.v1.Probe": _probe,
    "core.v1.ResourceRequirements": _resource_requirements,
    "core.v1.SecretKeySelector": _key_selector,
    "core.v1.TCPSocketAction": _tcp_socket,
    "core.v1.Toleration": _toleration,
    "core.v1.Volume": _volume,
    "core.v1.VolumeMount": _volume_mount,
    "meta.v1.LabelSelectorRequirement": _label_selector_requirement,
}
