"""What stands in the cells of tables: functions from an object and the time to a text or number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kubeedge.apiserver import selectors
from kubeedge.apiserver.gotime import age, human_duration, parse_time, seconds
from kubeedge.apiserver.kinds.fields import at
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.config.host import endpoint

Cell = Callable[[Object, float], Any]
"""(object, Unix time): what stands in the cell."""

NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"
_ROLE_LABEL = "node-role.kubernetes.io/"


def age_of(obj: Object, now_s: float) -> str:
    return age(at(obj, ("metadata", "creationTimestamp")), now_s)


def length(*path: str) -> Cell:
    return lambda obj, now_s: len(at(obj, path) or ())


def joined(values: Iterable[str], separator: str = ",") -> str:
    return separator.join(values)


def labels(*path: str) -> Cell:
    """A map of labels as `a=1,b=2`."""

    def cell(obj: Object, now_s: float) -> str:
        labels = at(obj, path) or {}
        return joined(f"{key}={value}" for key, value in sorted(labels.items())) or NONE

    return cell


def selector(*path: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        selector = selectors.from_object(at(obj, path))
        return str(selector or "") or NONE

    return cell


def containers(field: str, *path: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        return joined(container.get(field, "") for container in at(obj, (*path, "spec", "containers")) or ())

    return cell


def of(done: str, wanted: str, absent: int = 0) -> Cell:
    """`1/2`."""

    def cell(obj: Object, now_s: float) -> str:
        return f"{at(obj, tuple(done.split('.'))) or 0}/{_or(at(obj, tuple(wanted.split('.'))), absent)}"

    return cell


def _or(value: Any, absent: Any) -> Any:
    return absent if value is None else value


def _some(values: Sequence[str], limit: int, absent: str) -> str:
    """The first values, and how many more there are."""
    shown = joined(values[:limit])
    return f"{shown} + {len(values) - limit} more..." if len(values) > limit else shown or absent


def address(kind: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        addresses = at(obj, ("status", "addresses")) or ()
        return next((one.get("address", "") for one in addresses if one.get("type") == kind), NONE)

    return cell


def node_status(node: Object, now_s: float) -> str:
    conditions = at(node, ("status", "conditions")) or ()
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), None)
    shown = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{shown},SchedulingDisabled" if at(node, ("spec", "unschedulable")) else shown


def node_roles(node: Object, now_s: float) -> str:
    roles = set()
    for key, value in (at(node, ("metadata", "labels")) or {}).items():
        if key.startswith(_ROLE_LABEL) and key != _ROLE_LABEL:
            roles.add(key.removeprefix(_ROLE_LABEL))
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return joined(sorted(roles)) or NONE


def kernel(node: Object, now_s: float) -> str:
    info = at(node, ("status", "nodeInfo")) or {}
    kernel, architecture = info.get("kernelVersion") or UNKNOWN, info.get("architecture")
    return f"{kernel} ({architecture})" if architecture else kernel


def external_ip(service: Object, now_s: float) -> str:
    spec = service.get("spec") or {}
    external, kind = spec.get("externalIPs") or [], spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind != "LoadBalancer":
        return joined(external) or NONE
    ingress = at(service, ("status", "loadBalancer", "ingress")) or ()
    given = sorted({one.get("ip") or one.get("hostname") or "" for one in ingress} - {""})
    return joined([*given, *external]) or "<pending>"


def service_ports(service: Object, now_s: float) -> str:
    def shown(port: Object) -> str:
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node_port}/{port.get('protocol')}"

    return joined(map(shown, at(service, ("spec", "ports")) or ())) or NONE


def cluster_ip(service: Object, now_s: float) -> str:
    return next(iter(at(service, ("spec", "clusterIPs")) or ()), NONE)


def endpoints(endpoints: Object, now_s: float) -> str:
    subsets = endpoints.get("subsets") or ()
    if not subsets:
        return NONE
    shown = []
    for subset in subsets:
        addresses = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        shown += [endpoint(ip, p["port"]) for p in ports for ip in addresses]
        shown += [] if ports else addresses
    return _some(shown, 3, "")


def slice_ports(piece: Object, now_s: float) -> str:
    ports = [str(port.get("port") or port.get("name") or "*") for port in piece.get("ports") or ()]
    return _some(ports, 3, UNSET)


def slice_endpoints(piece: Object, now_s: float) -> str:
    addresses = [address for one in piece.get("endpoints") or () for address in one.get("addresses") or ()]
    return _some(addresses, 3, UNSET)


# Cells of events read fields under both names that they have, in core and in events.k8s.io.


def first_seen(event: Object, now_s: float) -> str:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp")
    return age(first or event.get("eventTime"), now_s)


def last_seen(event: Object, now_s: float) -> str:
    if series := event.get("series"):
        return age(series.get("lastObservedTime"), now_s)
    last = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    return age(last, now_s) if last else first_seen(event, now_s)


def event_count(event: Object, now_s: float) -> int:
    if series := event.get("series"):
        return int(series.get("count", 0))
    return int(event.get("count") or event.get("deprecatedCount") or 1)


def event_object(event: Object, now_s: float) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    kind, name = about.get("kind", "").lower(), about.get("name")
    return f"{kind}/{name}" if name else kind


def event_part(event: Object, now_s: float) -> str:
    return str((event.get("involvedObject") or event.get("regarding") or {}).get("fieldPath", ""))


def event_source(event: Object, now_s: float) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def event_field(*names: str) -> Cell:
    return lambda event, now_s: next((str(event[name]).strip() for name in names if event.get(name)), "")


def _has_condition(obj: Object, kind: str) -> bool:
    conditions = at(obj, ("status", "conditions")) or ()
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def job_status(job: Object, now_s: float) -> str:
    for condition, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if _has_condition(job, condition):
            return shown
    if at(job, ("metadata", "deletionTimestamp")):
        return "Terminating"
    for condition in ("Suspended", "FailureTarget"):
        if _has_condition(job, condition):
            return condition
    return "Running"


def job_completions(job: Object, now_s: float) -> str:
    spec, done = job.get("spec") or {}, at(job, ("status", "succeeded")) or 0
    if "completions" in spec:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism", 0)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def job_duration(job: Object, now_s: float) -> str:
    started, ended = at(job, ("status", "startTime")), at(job, ("status", "completionTime"))
    if not started:
        return ""
    return human_duration((parse_time(ended).timestamp() if ended else now_s) - seconds(started))


def last_schedule(job: Object, now_s: float) -> str:
    moment = at(job, ("status", "lastScheduleTime"))
    return age(moment, now_s) if moment else NONE


def suspended(job: Object, now_s: float) -> str:
    value = at(job, ("spec", "suspend"))
    return UNSET if value is None else "True" if value else "False"


_MODES = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)


def access_modes(*path: str) -> Cell:
    return lambda obj, now_s: joined(short for mode, short in _MODES if mode in (at(obj, path) or ()))


def phase(obj: Object, now_s: float) -> str:
    if at(obj, ("metadata", "deletionTimestamp")):
        return "Terminating"
    return str(_or(at(obj, ("status", "phase")), ""))


def claim(volume: Object, now_s: float) -> str:
    reference = at(volume, ("spec", "claimRef"))
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else ""


def when_bound(cell: Cell) -> Cell:
    return lambda claim, now_s: cell(claim, now_s) if at(claim, ("spec", "volumeName")) else ""


def claim_capacity(claim: Object, now_s: float) -> str:
    return str(_or(at(claim, ("status", "capacity", "storage")), "0"))


def request_condition(request: Object, now_s: float) -> str:
    conditions = {one.get("type") for one in at(request, ("status", "conditions")) or ()}
    shown = "Denied" if "Denied" in conditions else "Approved" if "Approved" in conditions else "Pending"
    shown += ",Failed" if "Failed" in conditions else ""
    return shown + (",Issued" if at(request, ("status", "certificate")) else "")


def requested_duration(request: Object, now_s: float) -> str:
    duration = at(request, ("spec", "expirationSeconds"))
    return human_duration(duration) if duration is not None else NONE


def class_name(storage_class: Object, now_s: float) -> str:
    annotations = at(storage_class, ("metadata", "annotations")) or {}
    is_default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{storage_class['metadata']['name']}{' (default)' if is_default else ''}"


def reference(*path: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        reference = at(obj, path) or {}
        return f"{reference.get('kind', '')}/{reference.get('name', '')}"

    return cell


def subjects(kind: str) -> Cell:
    def cell(binding: Object, now_s: float) -> str:
        found = [subject for subject in binding.get("subjects") or () if subject.get("kind") == kind]
        prefix = kind == "ServiceAccount"
        return joined(
            (f"{s.get('namespace', '')}/{s.get('name', '')}" if prefix else s.get("name", "") for s in found), ", "
        )

    return cell


def controller(revision: Object, now_s: float) -> str:
    owners = at(revision, ("metadata", "ownerReferences")) or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return NONE
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = f"{owner.get('kind', '')}.{group}" if group else owner.get("kind", "")
    return f"{kind.lower()}/{owner.get('name', '')}"


def ingress_hosts(ingress: Object, now_s: float) -> str:
    hosts = [rule.get("host") for rule in at(ingress, ("spec", "rules")) or () if rule.get("host")]
    return _some(hosts, 3, "*")


def ingress_address(ingress: Object, now_s: float) -> str:
    given = at(ingress, ("status", "loadBalancer", "ingress")) or ()
    return joined(sorted({one.get("ip") or one.get("hostname") or "" for one in given} - {""}))


def ingress_ports(ingress: Object, now_s: float) -> str:
    return "80, 443" if at(ingress, ("spec", "tls")) else "80"


_METRIC_PARTS = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_SHOWN_METRICS = 2


def _metric(spec: Object, measured: Object) -> str:
    """`cpu: 30%/50%`: what is measured of a metric and what is wanted."""
    part = _METRIC_PARTS.get(spec.get("type", ""))
    if part is None:
        return "<unknown type>"
    wanted = (spec.get(part) or {}).get("target") or {}
    current = (measured.get(part) or {}).get("current") or {}
    of_resource = part in ("containerResource", "resource")
    head = f"{(spec.get(part) or {}).get('name', '')}: " if of_resource else ""
    if "averageValue" in wanted:
        tail = " (avg)" if part in ("external", "object") else ""
        return f"{head}{current.get('averageValue', UNKNOWN)}/{wanted['averageValue']}{tail}"
    if of_resource:
        used, limit = current.get("averageUtilization"), wanted.get("averageUtilization")
        return f"{head}{UNKNOWN if used is None else f'{used}%'}/{'<auto>' if limit is None else f'{limit}%'}"
    return f"{current.get('value', UNKNOWN)}/{wanted.get('value', '')}"


def metrics(autoscaler: Object, now_s: float) -> str:
    specs = at(autoscaler, ("spec", "metrics")) or []
    measured = at(autoscaler, ("status", "currentMetrics")) or []
    if not specs:
        return NONE
    listed = [_metric(spec, measured[i] if i < len(measured) else {}) for i, spec in enumerate(specs)]
    shown = ", ".join(listed[:_SHOWN_METRICS])
    return shown if len(listed) <= _SHOWN_METRICS else f"{shown} + {len(listed) - _SHOWN_METRICS} more..."


def quota(prefix: bool) -> Cell:
    def cell(quota: Object, now_s: float) -> str:
        hard, used = at(quota, ("status", "hard")) or {}, at(quota, ("status", "used")) or {}
        names = sorted(name for name in hard if name.startswith("limits.") is prefix)
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


def either(cell: Any, absent: str) -> Cell:
    return lambda obj, now_s: str(_or(at(obj, cell), absent))


def parent(reference: Object | None) -> str:
    return "/".join(str((reference or {}).get(key, "")) for key in ("resource", "namespace", "name"))


def parameters(reference: Object | None) -> str:
    if not reference:
        return NONE
    group = f".{reference['apiGroup']}" if reference.get("apiGroup") else ""
    return f"{reference.get('kind', '')}{group}/{reference.get('name', '')}"


def param_kind(kind: Object | None) -> str:
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def param_ref(reference: Object | None) -> str:
    if not reference:
        return UNSET
    namespace = reference.get("namespace") or "*"
    return f"{namespace}/{reference.get('name') or '*'}"
