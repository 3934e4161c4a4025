"""What `kubectl get` shows of each kind: the columns of its Table and how a cell comes from an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from kubeedge.apiserver import selectors
from kubeedge.apiserver.gotime import age, human_duration, parse_time, seconds
from kubeedge.apiserver.kinds.fields import at
from kubeedge.apiserver.kinds.pod_cells import pod_ready, pod_restarts, pod_status, readiness_gates
from kubeedge.apiserver.kinds.spec import Column, Object

Cell = Callable[[Object, float], Any]
"""(object, Unix time): what stands in the cell."""

_NONE, _UNSET, _UNKNOWN = "<none>", "<unset>", "<unknown>"
_ROLE_LABEL = "node-role.kubernetes.io/"


class _Printed(NamedTuple):
    """A column and where its cells come from: a function, or a path and what stands for an absent value."""

    name: str
    cell: Cell | str
    absent: Any = ""
    type: str = "string"
    wide: bool = False
    format: str = ""
    says: str = ""


def _wide(name: str, cell: Cell | str, absent: Any = "", says: str = "") -> _Printed:
    return _Printed(name, cell, absent, wide=True, says=says)


def _number(name: str, path: str, absent: Any = 0, *, of_type: str = "integer", says: str = "") -> _Printed:
    return _Printed(name, path, absent, of_type, says=says)


def _age(obj: Object, now_s: float) -> str:
    return age(at(obj, ("metadata", "creationTimestamp")), now_s)


def _length(*path: str) -> Cell:
    return lambda obj, now_s: len(at(obj, path) or ())


def _joined(values: Iterable[str], separator: str = ",") -> str:
    return separator.join(values)


def _labels(*path: str) -> Cell:
    """A map of labels as `a=1,b=2`."""

    def cell(obj: Object, now_s: float) -> str:
        labels = at(obj, path) or {}
        return _joined(f"{key}={value}" for key, value in sorted(labels.items())) or _NONE

    return cell


def _selector(*path: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        selector = selectors.from_object(at(obj, path))
        return str(selector or "") or _NONE

    return cell


def _containers(field: str, *path: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        return _joined(container.get(field, "") for container in at(obj, (*path, "spec", "containers")) or ())

    return cell


def _of(done: str, wanted: str, absent: int = 0) -> Cell:
    """`1/2`."""

    def cell(obj: Object, now_s: float) -> str:
        return f"{at(obj, tuple(done.split('.'))) or 0}/{_or(at(obj, tuple(wanted.split('.'))), absent)}"

    return cell


def _or(value: Any, absent: Any) -> Any:
    return absent if value is None else value


def _some(values: Sequence[str], limit: int, absent: str) -> str:
    """The first values, and how many more there are."""
    shown = _joined(values[:limit])
    return f"{shown} + {len(values) - limit} more..." if len(values) > limit else shown or absent


def _address(kind: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        addresses = at(obj, ("status", "addresses")) or ()
        return next((one.get("address", "") for one in addresses if one.get("type") == kind), _NONE)

    return cell


def _node_status(node: Object, now_s: float) -> str:
    conditions = at(node, ("status", "conditions")) or ()
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), None)
    shown = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{shown},SchedulingDisabled" if at(node, ("spec", "unschedulable")) else shown


def _node_roles(node: Object, now_s: float) -> str:
    roles = set()
    for key, value in (at(node, ("metadata", "labels")) or {}).items():
        if key.startswith(_ROLE_LABEL) and key != _ROLE_LABEL:
            roles.add(key.removeprefix(_ROLE_LABEL))
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return _joined(sorted(roles)) or _NONE


def _kernel(node: Object, now_s: float) -> str:
    info = at(node, ("status", "nodeInfo")) or {}
    kernel, architecture = info.get("kernelVersion") or _UNKNOWN, info.get("architecture")
    return f"{kernel} ({architecture})" if architecture else kernel


def _external_ip(service: Object, now_s: float) -> str:
    spec = service.get("spec") or {}
    external, kind = spec.get("externalIPs") or [], spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind != "LoadBalancer":
        return _joined(external) or _NONE
    ingress = at(service, ("status", "loadBalancer", "ingress")) or ()
    given = sorted({one.get("ip") or one.get("hostname") or "" for one in ingress} - {""})
    return _joined([*given, *external]) or "<pending>"


def _service_ports(service: Object, now_s: float) -> str:
    def shown(port: Object) -> str:
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node_port}/{port.get('protocol')}"

    return _joined(map(shown, at(service, ("spec", "ports")) or ())) or _NONE


def _cluster_ip(service: Object, now_s: float) -> str:
    return next(iter(at(service, ("spec", "clusterIPs")) or ()), _NONE)


def _endpoints(endpoints: Object, now_s: float) -> str:
    subsets = endpoints.get("subsets") or ()
    if not subsets:
        return _NONE
    shown = []
    for subset in subsets:
        addresses = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        shown += [f"[{ip}]:{p['port']}" if ":" in ip else f"{ip}:{p['port']}" for p in ports for ip in addresses]
        shown += [] if ports else addresses
    return _some(shown, 3, "")


def _slice_ports(piece: Object, now_s: float) -> str:
    ports = [str(port.get("port") or port.get("name") or "*") for port in piece.get("ports") or ()]
    return _some(ports, 3, _UNSET)


def _slice_endpoints(piece: Object, now_s: float) -> str:
    addresses = [address for one in piece.get("endpoints") or () for address in one.get("addresses") or ()]
    return _some(addresses, 3, _UNSET)


# Cells of events read fields under both names that they have, in core and in events.k8s.io.


def _first_seen(event: Object, now_s: float) -> str:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp")
    return age(first or event.get("eventTime"), now_s)


def _last_seen(event: Object, now_s: float) -> str:
    if series := event.get("series"):
        return age(series.get("lastObservedTime"), now_s)
    last = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    return age(last, now_s) if last else _first_seen(event, now_s)


def _event_count(event: Object, now_s: float) -> int:
    if series := event.get("series"):
        return int(series.get("count", 0))
    return int(event.get("count") or event.get("deprecatedCount") or 1)


def _event_object(event: Object, now_s: float) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    kind, name = about.get("kind", "").lower(), about.get("name")
    return f"{kind}/{name}" if name else kind


def _event_part(event: Object, now_s: float) -> str:
    return str((event.get("involvedObject") or event.get("regarding") or {}).get("fieldPath", ""))


def _event_source(event: Object, now_s: float) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _event_field(*names: str) -> Cell:
    return lambda event, now_s: next((str(event[name]).strip() for name in names if event.get(name)), "")


def _has_condition(obj: Object, kind: str) -> bool:
    conditions = at(obj, ("status", "conditions")) or ()
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def _job_status(job: Object, now_s: float) -> str:
    for condition, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if _has_condition(job, condition):
            return shown
    if at(job, ("metadata", "deletionTimestamp")):
        return "Terminating"
    for condition in ("Suspended", "FailureTarget"):
        if _has_condition(job, condition):
            return condition
    return "Running"


def _job_completions(job: Object, now_s: float) -> str:
    spec, done = job.get("spec") or {}, at(job, ("status", "succeeded")) or 0
    if "completions" in spec:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism", 0)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(job: Object, now_s: float) -> str:
    started, ended = at(job, ("status", "startTime")), at(job, ("status", "completionTime"))
    if not started:
        return ""
    return human_duration((parse_time(ended).timestamp() if ended else now_s) - seconds(started))


def _last_schedule(job: Object, now_s: float) -> str:
    moment = at(job, ("status", "lastScheduleTime"))
    return age(moment, now_s) if moment else _NONE


def _suspended(job: Object, now_s: float) -> str:
    value = at(job, ("spec", "suspend"))
    return _UNSET if value is None else "True" if value else "False"


_MODES = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)


def _access_modes(*path: str) -> Cell:
    return lambda obj, now_s: _joined(short for mode, short in _MODES if mode in (at(obj, path) or ()))


def _phase(obj: Object, now_s: float) -> str:
    if at(obj, ("metadata", "deletionTimestamp")):
        return "Terminating"
    return str(_or(at(obj, ("status", "phase")), ""))


def _claim(volume: Object, now_s: float) -> str:
    reference = at(volume, ("spec", "claimRef"))
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else ""


def _when_bound(cell: Cell) -> Cell:
    return lambda claim, now_s: cell(claim, now_s) if at(claim, ("spec", "volumeName")) else ""


def _claim_capacity(claim: Object, now_s: float) -> str:
    return str(_or(at(claim, ("status", "capacity", "storage")), "0"))


def _request_condition(request: Object, now_s: float) -> str:
    conditions = {one.get("type") for one in at(request, ("status", "conditions")) or ()}
    shown = "Denied" if "Denied" in conditions else "Approved" if "Approved" in conditions else "Pending"
    shown += ",Failed" if "Failed" in conditions else ""
    return shown + (",Issued" if at(request, ("status", "certificate")) else "")


def _requested_duration(request: Object, now_s: float) -> str:
    duration = at(request, ("spec", "expirationSeconds"))
    return human_duration(duration) if duration is not None else _NONE


def _class_name(storage_class: Object, now_s: float) -> str:
    annotations = at(storage_class, ("metadata", "annotations")) or {}
    is_default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{storage_class['metadata']['name']}{' (default)' if is_default else ''}"


def _reference(*path: str) -> Cell:
    def cell(obj: Object, now_s: float) -> str:
        reference = at(obj, path) or {}
        return f"{reference.get('kind', '')}/{reference.get('name', '')}"

    return cell


def _subjects(kind: str) -> Cell:
    def cell(binding: Object, now_s: float) -> str:
        found = [subject for subject in binding.get("subjects") or () if subject.get("kind") == kind]
        prefix = kind == "ServiceAccount"
        return _joined(
            (f"{s.get('namespace', '')}/{s.get('name', '')}" if prefix else s.get("name", "") for s in found), ", "
        )

    return cell


def _controller(revision: Object, now_s: float) -> str:
    owners = at(revision, ("metadata", "ownerReferences")) or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return _NONE
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = f"{owner.get('kind', '')}.{group}" if group else owner.get("kind", "")
    return f"{kind.lower()}/{owner.get('name', '')}"


def _ingress_hosts(ingress: Object, now_s: float) -> str:
    hosts = [rule.get("host") for rule in at(ingress, ("spec", "rules")) or () if rule.get("host")]
    return _some(hosts, 3, "*")


def _ingress_address(ingress: Object, now_s: float) -> str:
    given = at(ingress, ("status", "loadBalancer", "ingress")) or ()
    return _joined(sorted({one.get("ip") or one.get("hostname") or "" for one in given} - {""}))


def _ingress_ports(ingress: Object, now_s: float) -> str:
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
        return f"{head}{current.get('averageValue', _UNKNOWN)}/{wanted['averageValue']}{tail}"
    if of_resource:
        used, limit = current.get("averageUtilization"), wanted.get("averageUtilization")
        return f"{head}{_UNKNOWN if used is None else f'{used}%'}/{'<auto>' if limit is None else f'{limit}%'}"
    return f"{current.get('value', _UNKNOWN)}/{wanted.get('value', '')}"


def _metrics(autoscaler: Object, now_s: float) -> str:
    specs = at(autoscaler, ("spec", "metrics")) or []
    measured = at(autoscaler, ("status", "currentMetrics")) or []
    if not specs:
        return _NONE
    listed = [_metric(spec, measured[i] if i < len(measured) else {}) for i, spec in enumerate(specs)]
    shown = ", ".join(listed[:_SHOWN_METRICS])
    return shown if len(listed) <= _SHOWN_METRICS else f"{shown} + {len(listed) - _SHOWN_METRICS} more..."


def _quota(prefix: bool) -> Cell:
    def cell(quota: Object, now_s: float) -> str:
        hard, used = at(quota, ("status", "hard")) or {}, at(quota, ("status", "used")) or {}
        names = sorted(name for name in hard if name.startswith("limits.") is prefix)
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


def _either(cell: Any, absent: str) -> Cell:
    return lambda obj, now_s: str(_or(at(obj, cell), absent))


_NAME = _Printed("Name", "metadata.name", format="name", says="Name of the object, unique in its namespace.")
_AGE = _Printed("Age", _age, says="Time since the object was created.")
_CREATED = _Printed("Created At", "metadata.creationTimestamp", type="date", says="When the object was created.")
_NAMED_ONLY = (_NAME, _AGE)


def _template(*path: str, selector: tuple[str, ...] = ()) -> tuple[_Printed, ...]:
    """The wide columns about a template of pods."""
    columns = (
        _wide("Containers", _containers("name", *path), says="Names of the containers in the template."),
        _wide("Images", _containers("image", *path), says="Images of the containers in the template."),
    )
    return (*columns, _wide("Selector", _selector(*selector), says="Which pods belong to it.")) if selector else columns


_BINDING = (
    _NAME,
    _Printed("Role", _reference("roleRef"), says="The role that is bound."),
    _AGE,
    _wide("Users", _subjects("User"), says="Users in the binding."),
    _wide("Groups", _subjects("Group"), says="Groups in the binding."),
    _wide("ServiceAccounts", _subjects("ServiceAccount"), says="Service accounts in the binding."),
)
_ROLE = (_NAME, _CREATED)
_WEBHOOKS = (_NAME, _Printed("Webhooks", _length("webhooks"), type="integer", says="How many webhooks it has."), _AGE)
_REPLICAS = (
    _NAME,
    _number("Desired", "spec.replicas", says="How many pods are wanted."),
    _number("Current", "status.replicas", says="How many pods there are."),
    _number("Ready", "status.readyReplicas", says="How many of them are ready."),
    _AGE,
)

_TABLES: dict[str, tuple[_Printed, ...]] = {
    "APIService": _ROLE,
    "CSIDriver": (
        _NAME,
        _number("AttachRequired", "spec.attachRequired", True, of_type="boolean"),
        _number("PodInfoOnMount", "spec.podInfoOnMount", False, of_type="boolean"),
        _number("StorageCapacity", "spec.storageCapacity", False, of_type="boolean"),
        _Printed("TokenRequests", _either(("spec", "tokenRequests"), _UNSET)),
        _number("RequiresRepublish", "spec.requiresRepublish", False, of_type="boolean"),
        _Printed("Modes", lambda obj, now_s: _joined(at(obj, ("spec", "volumeLifecycleModes")) or ())),
        _AGE,
    ),
    "CSINode": (_NAME, _Printed("Drivers", _length("spec", "drivers"), type="integer"), _AGE),
    "CSIStorageCapacity": (
        _NAME,
        _Printed("StorageClassName", "storageClassName"),
        _Printed("Capacity", "capacity", _UNSET),
    ),
    "CertificateSigningRequest": (
        _NAME,
        _AGE,
        _Printed("SignerName", "spec.signerName", _NONE, says="Who is asked to sign."),
        _Printed("Requestor", "spec.username", says="Who asks."),
        _Printed("RequestedDuration", _requested_duration, says="How long the certificate shall be valid."),
        _Printed("Condition", _request_condition, says="What became of the request."),
    ),
    "ClusterRole": _ROLE,
    "ClusterRoleBinding": _BINDING,
    "ComponentStatus": (_NAME, _Printed("Status", ""), _Printed("Message", ""), _Printed("Error", "")),
    "ConfigMap": (
        _NAME,
        _Printed(
            "Data",
            lambda obj, now_s: len(obj.get("data") or ()) + len(obj.get("binaryData") or ()),
            says="How many keys it has.",
        ),
        _AGE,
    ),
    "ControllerRevision": (
        _NAME,
        _Printed("Controller", _controller, says="The controller that owns it."),
        _Printed("Revision", "revision", 0, says="Which state of the controller it is."),
        _AGE,
    ),
    "CronJob": (
        _NAME,
        _Printed("Schedule", "spec.schedule", says="When jobs start, in cron's form."),
        _Printed("Timezone", "spec.timeZone", _NONE, says="Time zone of the schedule."),
        _Printed("Suspend", _suspended, type="boolean", says="Whether no jobs are started."),
        _Printed("Active", _length("status", "active"), type="integer", says="How many jobs are running."),
        _Printed("Last Schedule", _last_schedule, says="Time since the last job was started."),
        _AGE,
        *_template("spec", "jobTemplate", "spec", "template", selector=("spec", "jobTemplate", "spec", "selector")),
    ),
    "CustomResourceDefinition": _ROLE,
    "DaemonSet": (
        _NAME,
        _number("Desired", "status.desiredNumberScheduled", says="On how many nodes a pod shall run."),
        _number("Current", "status.currentNumberScheduled", says="On how many of them one is placed."),
        _number("Ready", "status.numberReady", says="On how many nodes the pod is ready."),
        _number("Up-to-date", "status.updatedNumberScheduled", says="How many pods follow the current template."),
        _number("Available", "status.numberAvailable", says="How many pods have been ready long enough."),
        _Printed("Node Selector", _labels("spec", "template", "spec", "nodeSelector"), says="Labels nodes must have."),
        _AGE,
        *_template("spec", "template", selector=("spec", "selector")),
    ),
    "Deployment": (
        _NAME,
        _Printed("Ready", _of("status.readyReplicas", "spec.replicas", 1), says="Ready pods of those wanted."),
        _Printed("Up-to-date", "status.updatedReplicas", 0, says="How many pods follow the current template."),
        _Printed("Available", "status.availableReplicas", 0, says="How many pods have been ready long enough."),
        _AGE,
        *_template("spec", "template", selector=("spec", "selector")),
    ),
    "DeviceClass": _NAMED_ONLY,
    "EndpointSlice": (
        _NAME,
        _Printed("AddressType", "addressType", says="Family of the addresses."),
        _Printed("Ports", _slice_ports, says="Ports of the endpoints."),
        _Printed("Endpoints", _slice_endpoints, says="Addresses of the endpoints."),
        _AGE,
    ),
    "Endpoints": (_NAME, _Printed("Endpoints", _endpoints, says="Addresses and ports behind the service."), _AGE),
    "Event": (
        _Printed("Last Seen", _last_seen, says="Time since it happened last."),
        _Printed("Type", "type", says="Normal or Warning."),
        _Printed("Reason", "reason", says="What happened, in one word."),
        _Printed("Object", _event_object, says="What the event is about."),
        _wide("Subobject", _event_part, says="The part of the object that is meant."),
        _wide("Source", _event_source, says="Who reports it."),
        _Printed("Message", _event_field("message", "note"), says="What happened."),
        _wide("First Seen", _first_seen, says="Time since it happened first."),
        _wide("Count", _event_count, says="How often it happened."),
        _NAME._replace(wide=True),
    ),
    "FlowSchema": (
        _NAME,
        _Printed("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        _Printed("MatchingPrecedence", "spec.matchingPrecedence", 0),
        _Printed("DistinguisherMethod", "spec.distinguisherMethod.type", _NONE),
        _AGE,
        _Printed("MissingPL", lambda obj, now_s: "?"),
    ),
    "HorizontalPodAutoscaler": (
        _NAME,
        _Printed("Reference", _reference("spec", "scaleTargetRef"), says="What is scaled."),
        _Printed("Targets", _metrics, says="Measured and wanted values."),
        _Printed("MinPods", _either(("spec", "minReplicas"), _UNSET), says="Fewest pods."),
        _Printed("MaxPods", "spec.maxReplicas", 0, says="Most pods."),
        _Printed("Replicas", "status.currentReplicas", 0, says="How many pods there are."),
        _AGE,
    ),
    "IPAddress": (_NAME, _Printed("ParentRef", lambda obj, now_s: _parent(at(obj, ("spec", "parentRef"))))),
    "Ingress": (
        _NAME,
        _Printed("Class", "spec.ingressClassName", _NONE, says="The class that serves it."),
        _Printed("Hosts", _ingress_hosts, says="Hosts that it answers for."),
        _Printed("Address", _ingress_address, says="Where it can be reached."),
        _Printed("Ports", _ingress_ports, says="Ports that it listens on."),
        _AGE,
    ),
    "IngressClass": (
        _NAME,
        _Printed("Controller", "spec.controller", says="Who serves the class."),
        _Printed("Parameters", lambda obj, now_s: _parameters(at(obj, ("spec", "parameters"))), says="Its settings."),
        _AGE,
    ),
    "Job": (
        _NAME,
        _Printed("Status", _job_status, says="What became of it."),
        _Printed("Completions", _job_completions, says="Pods that succeeded of those wanted."),
        _Printed("Duration", _job_duration, says="How long it took."),
        _AGE,
        *_template("spec", "template", selector=("spec", "selector")),
    ),
    "Lease": (_NAME, _Printed("Holder", "spec.holderIdentity", says="Who holds it."), _AGE),
    "LimitRange": _ROLE,
    "MutatingAdmissionPolicy": (
        _NAME,
        _Printed("Mutations", _length("spec", "mutations"), type="integer"),
        _Printed("ParamKind", lambda obj, now_s: _param_kind(at(obj, ("spec", "paramKind")))),
        _AGE,
    ),
    "MutatingAdmissionPolicyBinding": (
        _NAME,
        _Printed("PolicyName", "spec.policyName"),
        _Printed("ParamRef", lambda obj, now_s: _param_ref(at(obj, ("spec", "paramRef")))),
        _AGE,
    ),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "Namespace": (_NAME, _Printed("Status", "status.phase", says="Active or Terminating."), _AGE),
    "NetworkPolicy": (_NAME, _Printed("Pod-Selector", _selector("spec", "podSelector"), says="Pods it is for."), _AGE),
    "Node": (
        _NAME,
        _Printed("Status", _node_status, says="Whether the node can take pods."),
        _Printed("Roles", _node_roles, says="Roles of the node, from its labels."),
        _AGE,
        _Printed("Version", "status.nodeInfo.kubeletVersion", says="Version of the node's agent."),
        _wide("Internal-IP", _address("InternalIP"), says="Address inside the cluster."),
        _wide("External-IP", _address("ExternalIP"), says="Address outside of the cluster."),
        _wide("OS-Image", "status.nodeInfo.osImage", _UNKNOWN, says="Operating system."),
        _wide("Kernel-Version", _kernel, says="Kernel and architecture."),
        _wide("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", _UNKNOWN, says="Container runtime."),
    ),
    "PersistentVolume": (
        _NAME,
        _Printed("Capacity", "spec.capacity.storage", "0", says="Size of the volume."),
        _Printed("Access Modes", _access_modes("spec", "accessModes"), says="How it can be mounted."),
        _Printed("Reclaim Policy", "spec.persistentVolumeReclaimPolicy", says="What happens when it is released."),
        _Printed("Status", _phase, says="Whether it is free, bound or released."),
        _Printed("Claim", _claim, says="The claim that it is bound to."),
        _Printed("StorageClass", "spec.storageClassName", says="Its storage class."),
        _Printed("VolumeAttributesClass", "spec.volumeAttributesClassName", _UNSET, says="Its attributes class."),
        _Printed("Reason", "status.reason", says="Why it is in this state."),
        _AGE,
        _wide("VolumeMode", "spec.volumeMode", _UNSET, says="File system or block device."),
    ),
    "PersistentVolumeClaim": (
        _NAME,
        _Printed("Status", _phase, says="Whether it is bound."),
        _Printed("Volume", "spec.volumeName", says="The volume that it is bound to."),
        _Printed("Capacity", _when_bound(_claim_capacity), says="Size of the volume."),
        _Printed("Access Modes", _when_bound(_access_modes("status", "accessModes")), says="How it can be mounted."),
        _Printed("StorageClass", "spec.storageClassName", says="The class that is asked for."),
        _Printed("VolumeAttributesClass", "spec.volumeAttributesClassName", _UNSET, says="Its attributes class."),
        _AGE,
        _wide("VolumeMode", "spec.volumeMode", _UNSET, says="File system or block device."),
    ),
    "Pod": (
        _NAME,
        _Printed("Ready", pod_ready, says="Ready containers of all."),
        _Printed("Status", pod_status, says="State of the pod and its containers in one word."),
        _Printed("Restarts", pod_restarts, says="How often containers were restarted, and when last."),
        _AGE,
        _wide(
            "IP",
            lambda obj, now_s: next((p["ip"] for p in at(obj, ("status", "podIPs")) or ()), _NONE),
            says="Address of the pod.",
        ),
        _wide("Node", "spec.nodeName", _NONE, says="The node that it is placed on."),
        _wide("Nominated Node", "status.nominatedNodeName", _NONE, says="The node that is being freed for it."),
        _wide("Readiness Gates", readiness_gates, says="Fulfilled conditions of those needed to be ready."),
    ),
    "PodDisruptionBudget": (
        _NAME,
        _Printed("Min Available", _either(("spec", "minAvailable"), "N/A"), says="Fewest pods that must stay."),
        _Printed("Max Unavailable", _either(("spec", "maxUnavailable"), "N/A"), says="Most pods that may be missing."),
        _number("Allowed Disruptions", "status.disruptionsAllowed", says="How many pods may be evicted now."),
        _AGE,
    ),
    "PodTemplate": (
        _NAME,
        _Printed("Containers", _containers("name", "template"), says="Names of the containers."),
        _Printed("Images", _containers("image", "template"), says="Images of the containers."),
        _Printed("Pod Labels", _labels("template", "metadata", "labels"), says="Labels of the pods."),
    ),
    "PriorityClass": (
        _NAME,
        _number("Value", "value", says="The priority itself."),
        _number("Global-Default", "globalDefault", False, of_type="boolean", says="Whether it is the default."),
        _AGE,
        _wide("PreemptionPolicy", "preemptionPolicy", says="Whether it drives others out."),
    ),
    "PriorityLevelConfiguration": (
        _NAME,
        _Printed("Type", "spec.type"),
        _Printed("NominalConcurrencyShares", "spec.limited.nominalConcurrencyShares", _NONE),
        _Printed("Queues", "spec.limited.limitResponse.queuing.queues", _NONE),
        _Printed("HandSize", "spec.limited.limitResponse.queuing.handSize", _NONE),
        _Printed("QueueLengthLimit", "spec.limited.limitResponse.queuing.queueLengthLimit", _NONE),
        _AGE,
    ),
    "ReplicaSet": (*_REPLICAS, *_template("spec", "template", selector=("spec", "selector"))),
    "ReplicationController": (
        *_REPLICAS,
        *_template("spec", "template"),
        _wide("Selector", _labels("spec", "selector"), says="Which pods belong to it."),
    ),
    "ResourceClaim": (_NAME, _Printed("State", lambda obj, now_s: "pending"), _AGE),
    "ResourceClaimTemplate": _NAMED_ONLY,
    "ResourceQuota": (_NAME, _AGE, _Printed("Request", _quota(False)), _Printed("Limit", _quota(True))),
    "ResourceSlice": (
        _NAME,
        _Printed("Node", "spec.nodeName"),
        _Printed("Driver", "spec.driver"),
        _Printed("Pool", "spec.pool.name"),
        _AGE,
    ),
    "Role": _ROLE,
    "RoleBinding": _BINDING,
    "RuntimeClass": (_NAME, _Printed("Handler", "handler", says="The runtime's name for it."), _AGE),
    "Secret": (
        _NAME,
        _Printed("Type", "type", says="What kind of secret it is."),
        _Printed("Data", _length("data"), says="How many keys it has."),
        _AGE,
    ),
    "Service": (
        _NAME,
        _Printed("Type", "spec.type", says="How the service is exposed."),
        _Printed("Cluster-IP", _cluster_ip, says="Address inside the cluster."),
        _Printed("External-IP", _external_ip, says="Address outside of the cluster."),
        _Printed("Port(s)", _service_ports, says="Ports of the service."),
        _AGE,
        _wide("Selector", _labels("spec", "selector"), says="Labels of the pods behind it."),
    ),
    "ServiceAccount": (_NAME, _Printed("Secrets", _length("secrets"), says="How many secrets it may use."), _AGE),
    "ServiceCIDR": (_NAME, _Printed("CIDRs", lambda obj, now_s: _joined(at(obj, ("spec", "cidrs")) or ())), _AGE),
    "StatefulSet": (
        _NAME,
        _Printed("Ready", _of("status.readyReplicas", "spec.replicas", 1), says="Ready pods of those wanted."),
        _AGE,
        *_template("spec", "template"),
    ),
    "StorageClass": (
        _NAME._replace(cell=_class_name),
        _Printed("Provisioner", "provisioner", says="Who makes the volumes."),
        _Printed("ReclaimPolicy", "reclaimPolicy", "Delete", says="What happens to released volumes."),
        _Printed("VolumeBindingMode", "volumeBindingMode", "Immediate", says="When volumes are bound."),
        _Printed("AllowVolumeExpansion", "allowVolumeExpansion", False, says="Whether volumes can grow."),
        _AGE,
    ),
    "ValidatingAdmissionPolicy": (
        _NAME,
        _Printed("Validations", _length("spec", "validations"), type="integer"),
        _Printed("ParamKind", lambda obj, now_s: _param_kind(at(obj, ("spec", "paramKind")))),
        _AGE,
    ),
    "ValidatingAdmissionPolicyBinding": (
        _NAME,
        _Printed("PolicyName", "spec.policyName"),
        _Printed("ParamRef", lambda obj, now_s: _param_ref(at(obj, ("spec", "paramRef")))),
        _AGE,
    ),
    "ValidatingWebhookConfiguration": _WEBHOOKS,
    "VolumeAttachment": (
        _NAME,
        _Printed("Attacher", "spec.attacher", format="name", says="The driver that attaches it."),
        _Printed("PV", "spec.source.persistentVolumeName", says="The volume."),
        _Printed("Node", "spec.nodeName", says="The node that it is attached to."),
        _number("Attached", "status.attached", False, of_type="boolean", says="Whether it is attached."),
        _AGE,
    ),
    "VolumeAttributesClass": (_NAME, _Printed("DriverName", "driverName"), _AGE),
}


def _parent(reference: Object | None) -> str:
    return "/".join(str((reference or {}).get(key, "")) for key in ("resource", "namespace", "name"))


def _parameters(reference: Object | None) -> str:
    if not reference:
        return _NONE
    group = f".{reference['apiGroup']}" if reference.get("apiGroup") else ""
    return f"{reference.get('kind', '')}{group}/{reference.get('name', '')}"


def _param_kind(kind: Object | None) -> str:
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else _UNSET


def _param_ref(reference: Object | None) -> str:
    if not reference:
        return _UNSET
    namespace = reference.get("namespace") or "*"
    return f"{namespace}/{reference.get('name') or '*'}"


def _cell(column: _Printed) -> Cell:
    if not isinstance(column.cell, str):
        return column.cell
    path, absent = tuple(column.cell.split(".")), column.absent

    def cell(obj: Object, now_s: float) -> Any:
        value = at(obj, path)
        return absent if value is None or value == "" else value

    return cell


def printer(kind: str) -> tuple[tuple[Column, ...], Callable[[Object, float], list[Any]]]:
    """(columns, function that makes the cells of a row) of a built-in kind."""
    table = _TABLES.get(kind, _ROLE)
    columns = tuple(
        Column(column.name, column.type, column.says, column.format, 1 if column.wide else 0) for column in table
    )
    cells = tuple(_cell(column) for column in table)

    def row(obj: Object, now_s: float) -> list[Any]:
        return [cell(obj, now_s) for cell in cells]

    return columns, row
