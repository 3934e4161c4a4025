"""What `kubectl get` shows of each kind: the columns of its Table and how a cell comes from an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kubeedge.apiserver.kinds import cells
from kubeedge.apiserver.kinds.cells import NONE, UNKNOWN, UNSET, Cell
from kubeedge.apiserver.kinds.fields import at
from kubeedge.apiserver.kinds.pod_cells import pod_ready, pod_restarts, pod_status, readiness_gates
from kubeedge.apiserver.kinds.spec import Column, Object


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


_NAME = _Printed("Name", "metadata.name", format="name", says="Name of the object, unique in its namespace.")
_AGE = _Printed("Age", cells.age_of, says="Time since the object was created.")
_CREATED = _Printed("Created At", "metadata.creationTimestamp", type="date", says="When the object was created.")
_NAMED_ONLY = (_NAME, _AGE)


def _template(*path: str, selector: tuple[str, ...] = ()) -> tuple[_Printed, ...]:
    """The wide columns about a template of pods."""
    columns = (
        _wide("Containers", cells.containers("name", *path), says="Names of the containers in the template."),
        _wide("Images", cells.containers("image", *path), says="Images of the containers in the template."),
    )
    return (
        (*columns, _wide("Selector", cells.selector(*selector), says="Which pods belong to it."))
        if selector
        else columns
    )


_BINDING = (
    _NAME,
    _Printed("Role", cells.reference("roleRef"), says="The role that is bound."),
    _AGE,
    _wide("Users", cells.subjects("User"), says="Users in the binding."),
    _wide("Groups", cells.subjects("Group"), says="Groups in the binding."),
    _wide("ServiceAccounts", cells.subjects("ServiceAccount"), says="Service accounts in the binding."),
)
_ROLE = (_NAME, _CREATED)
_WEBHOOKS = (
    _NAME,
    _Printed("Webhooks", cells.length("webhooks"), type="integer", says="How many webhooks it has."),
    _AGE,
)
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
        _Printed("TokenRequests", cells.either(("spec", "tokenRequests"), UNSET)),
        _number("RequiresRepublish", "spec.requiresRepublish", False, of_type="boolean"),
        _Printed("Modes", lambda obj, now_s: cells.joined(at(obj, ("spec", "volumeLifecycleModes")) or ())),
        _AGE,
    ),
    "CSINode": (_NAME, _Printed("Drivers", cells.length("spec", "drivers"), type="integer"), _AGE),
    "CSIStorageCapacity": (
        _NAME,
        _Printed("StorageClassName", "storageClassName"),
        _Printed("Capacity", "capacity", UNSET),
    ),
    "CertificateSigningRequest": (
        _NAME,
        _AGE,
        _Printed("SignerName", "spec.signerName", NONE, says="Who is asked to sign."),
        _Printed("Requestor", "spec.username", says="Who asks."),
        _Printed("RequestedDuration", cells.requested_duration, says="How long the certificate shall be valid."),
        _Printed("Condition", cells.request_condition, says="What became of the request."),
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
        _Printed("Controller", cells.controller, says="The controller that owns it."),
        _Printed("Revision", "revision", 0, says="Which state of the controller it is."),
        _AGE,
    ),
    "CronJob": (
        _NAME,
        _Printed("Schedule", "spec.schedule", says="When jobs start, in cron's form."),
        _Printed("Timezone", "spec.timeZone", NONE, says="Time zone of the schedule."),
        _Printed("Suspend", cells.suspended, type="boolean", says="Whether no jobs are started."),
        _Printed("Active", cells.length("status", "active"), type="integer", says="How many jobs are running."),
        _Printed("Last Schedule", cells.last_schedule, says="Time since the last job was started."),
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
        _Printed(
            "Node Selector", cells.labels("spec", "template", "spec", "nodeSelector"), says="Labels nodes must have."
        ),
        _AGE,
        *_template("spec", "template", selector=("spec", "selector")),
    ),
    "Deployment": (
        _NAME,
        _Printed("Ready", cells.of("status.readyReplicas", "spec.replicas", 1), says="Ready pods of those wanted."),
        _Printed("Up-to-date", "status.updatedReplicas", 0, says="How many pods follow the current template."),
        _Printed("Available", "status.availableReplicas", 0, says="How many pods have been ready long enough."),
        _AGE,
        *_template("spec", "template", selector=("spec", "selector")),
    ),
    "DeviceClass": _NAMED_ONLY,
    "EndpointSlice": (
        _NAME,
        _Printed("AddressType", "addressType", says="Family of the addresses."),
        _Printed("Ports", cells.slice_ports, says="Ports of the endpoints."),
        _Printed("Endpoints", cells.slice_endpoints, says="Addresses of the endpoints."),
        _AGE,
    ),
    "Endpoints": (_NAME, _Printed("Endpoints", cells.endpoints, says="Addresses and ports behind the service."), _AGE),
    "Event": (
        _Printed("Last Seen", cells.last_seen, says="Time since it happened last."),
        _Printed("Type", "type", says="Normal or Warning."),
        _Printed("Reason", "reason", says="What happened, in one word."),
        _Printed("Object", cells.event_object, says="What the event is about."),
        _wide("Subobject", cells.event_part, says="The part of the object that is meant."),
        _wide("Source", cells.event_source, says="Who reports it."),
        _Printed("Message", cells.event_field("message", "note"), says="What happened."),
        _wide("First Seen", cells.first_seen, says="Time since it happened first."),
        _wide("Count", cells.event_count, says="How often it happened."),
        _NAME._replace(wide=True),
    ),
    "FlowSchema": (
        _NAME,
        _Printed("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        _Printed("MatchingPrecedence", "spec.matchingPrecedence", 0),
        _Printed("DistinguisherMethod", "spec.distinguisherMethod.type", NONE),
        _AGE,
        _Printed("MissingPL", lambda obj, now_s: "?"),
    ),
    "HorizontalPodAutoscaler": (
        _NAME,
        _Printed("Reference", cells.reference("spec", "scaleTargetRef"), says="What is scaled."),
        _Printed("Targets", cells.metrics, says="Measured and wanted values."),
        _Printed("MinPods", cells.either(("spec", "minReplicas"), UNSET), says="Fewest pods."),
        _Printed("MaxPods", "spec.maxReplicas", 0, says="Most pods."),
        _Printed("Replicas", "status.currentReplicas", 0, says="How many pods there are."),
        _AGE,
    ),
    "IPAddress": (_NAME, _Printed("ParentRef", lambda obj, now_s: cells.parent(at(obj, ("spec", "parentRef"))))),
    "Ingress": (
        _NAME,
        _Printed("Class", "spec.ingressClassName", NONE, says="The class that serves it."),
        _Printed("Hosts", cells.ingress_hosts, says="Hosts that it answers for."),
        _Printed("Address", cells.ingress_address, says="Where it can be reached."),
        _Printed("Ports", cells.ingress_ports, says="Ports that it listens on."),
        _AGE,
    ),
    "IngressClass": (
        _NAME,
        _Printed("Controller", "spec.controller", says="Who serves the class."),
        _Printed(
            "Parameters", lambda obj, now_s: cells.parameters(at(obj, ("spec", "parameters"))), says="Its settings."
        ),
        _AGE,
    ),
    "Job": (
        _NAME,
        _Printed("Status", cells.job_status, says="What became of it."),
        _Printed("Completions", cells.job_completions, says="Pods that succeeded of those wanted."),
        _Printed("Duration", cells.job_duration, says="How long it took."),
        _AGE,
        *_template("spec", "template", selector=("spec", "selector")),
    ),
    "Lease": (_NAME, _Printed("Holder", "spec.holderIdentity", says="Who holds it."), _AGE),
    "LimitRange": _ROLE,
    "MutatingAdmissionPolicy": (
        _NAME,
        _Printed("Mutations", cells.length("spec", "mutations"), type="integer"),
        _Printed("ParamKind", lambda obj, now_s: cells.param_kind(at(obj, ("spec", "paramKind")))),
        _AGE,
    ),
    "MutatingAdmissionPolicyBinding": (
        _NAME,
        _Printed("PolicyName", "spec.policyName"),
        _Printed("ParamRef", lambda obj, now_s: cells.param_ref(at(obj, ("spec", "paramRef")))),
        _AGE,
    ),
    "MutatingWebhookConfiguration": _WEBHOOKS,
    "Namespace": (_NAME, _Printed("Status", "status.phase", says="Active or Terminating."), _AGE),
    "NetworkPolicy": (
        _NAME,
        _Printed("Pod-Selector", cells.selector("spec", "podSelector"), says="Pods it is for."),
        _AGE,
    ),
    "Node": (
        _NAME,
        _Printed("Status", cells.node_status, says="Whether the node can take pods."),
        _Printed("Roles", cells.node_roles, says="Roles of the node, from its labels."),
        _AGE,
        _Printed("Version", "status.nodeInfo.kubeletVersion", says="Version of the node's agent."),
        _wide("Internal-IP", cells.address("InternalIP"), says="Address inside the cluster."),
        _wide("External-IP", cells.address("ExternalIP"), says="Address outside of the cluster."),
        _wide("OS-Image", "status.nodeInfo.osImage", UNKNOWN, says="Operating system."),
        _wide("Kernel-Version", cells.kernel, says="Kernel and architecture."),
        _wide("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", UNKNOWN, says="Container runtime."),
    ),
    "PersistentVolume": (
        _NAME,
        _Printed("Capacity", "spec.capacity.storage", "0", says="Size of the volume."),
        _Printed("Access Modes", cells.access_modes("spec", "accessModes"), says="How it can be mounted."),
        _Printed("Reclaim Policy", "spec.persistentVolumeReclaimPolicy", says="What happens when it is released."),
        _Printed("Status", cells.phase, says="Whether it is free, bound or released."),
        _Printed("Claim", cells.claim, says="The claim that it is bound to."),
        _Printed("StorageClass", "spec.storageClassName", says="Its storage class."),
        _Printed("VolumeAttributesClass", "spec.volumeAttributesClassName", UNSET, says="Its attributes class."),
        _Printed("Reason", "status.reason", says="Why it is in this state."),
        _AGE,
        _wide("VolumeMode", "spec.volumeMode", UNSET, says="File system or block device."),
    ),
    "PersistentVolumeClaim": (
        _NAME,
        _Printed("Status", cells.phase, says="Whether it is bound."),
        _Printed("Volume", "spec.volumeName", says="The volume that it is bound to."),
        _Printed("Capacity", cells.when_bound(cells.claim_capacity), says="Size of the volume."),
        _Printed(
            "Access Modes", cells.when_bound(cells.access_modes("status", "accessModes")), says="How it can be mounted."
        ),
        _Printed("StorageClass", "spec.storageClassName", says="The class that is asked for."),
        _Printed("VolumeAttributesClass", "spec.volumeAttributesClassName", UNSET, says="Its attributes class."),
        _AGE,
        _wide("VolumeMode", "spec.volumeMode", UNSET, says="File system or block device."),
    ),
    "Pod": (
        _NAME,
        _Printed("Ready", pod_ready, says="Ready containers of all."),
        _Printed("Status", pod_status, says="State of the pod and its containers in one word."),
        _Printed("Restarts", pod_restarts, says="How often containers were restarted, and when last."),
        _AGE,
        _wide(
            "IP",
            lambda obj, now_s: next((p["ip"] for p in at(obj, ("status", "podIPs")) or ()), NONE),
            says="Address of the pod.",
        ),
        _wide("Node", "spec.nodeName", NONE, says="The node that it is placed on."),
        _wide("Nominated Node", "status.nominatedNodeName", NONE, says="The node that is being freed for it."),
        _wide("Readiness Gates", readiness_gates, says="Fulfilled conditions of those needed to be ready."),
    ),
    "PodDisruptionBudget": (
        _NAME,
        _Printed("Min Available", cells.either(("spec", "minAvailable"), "N/A"), says="Fewest pods that must stay."),
        _Printed(
            "Max Unavailable", cells.either(("spec", "maxUnavailable"), "N/A"), says="Most pods that may be missing."
        ),
        _number("Allowed Disruptions", "status.disruptionsAllowed", says="How many pods may be evicted now."),
        _AGE,
    ),
    "PodTemplate": (
        _NAME,
        _Printed("Containers", cells.containers("name", "template"), says="Names of the containers."),
        _Printed("Images", cells.containers("image", "template"), says="Images of the containers."),
        _Printed("Pod Labels", cells.labels("template", "metadata", "labels"), says="Labels of the pods."),
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
        _Printed("NominalConcurrencyShares", "spec.limited.nominalConcurrencyShares", NONE),
        _Printed("Queues", "spec.limited.limitResponse.queuing.queues", NONE),
        _Printed("HandSize", "spec.limited.limitResponse.queuing.handSize", NONE),
        _Printed("QueueLengthLimit", "spec.limited.limitResponse.queuing.queueLengthLimit", NONE),
        _AGE,
    ),
    "ReplicaSet": (*_REPLICAS, *_template("spec", "template", selector=("spec", "selector"))),
    "ReplicationController": (
        *_REPLICAS,
        *_template("spec", "template"),
        _wide("Selector", cells.labels("spec", "selector"), says="Which pods belong to it."),
    ),
    "ResourceClaim": (_NAME, _Printed("State", lambda obj, now_s: "pending"), _AGE),
    "ResourceClaimTemplate": _NAMED_ONLY,
    "ResourceQuota": (_NAME, _AGE, _Printed("Request", cells.quota(False)), _Printed("Limit", cells.quota(True))),
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
        _Printed("Data", cells.length("data"), says="How many keys it has."),
        _AGE,
    ),
    "Service": (
        _NAME,
        _Printed("Type", "spec.type", says="How the service is exposed."),
        _Printed("Cluster-IP", cells.cluster_ip, says="Address inside the cluster."),
        _Printed("External-IP", cells.external_ip, says="Address outside of the cluster."),
        _Printed("Port(s)", cells.service_ports, says="Ports of the service."),
        _AGE,
        _wide("Selector", cells.labels("spec", "selector"), says="Labels of the pods behind it."),
    ),
    "ServiceAccount": (_NAME, _Printed("Secrets", cells.length("secrets"), says="How many secrets it may use."), _AGE),
    "ServiceCIDR": (_NAME, _Printed("CIDRs", lambda obj, now_s: cells.joined(at(obj, ("spec", "cidrs")) or ())), _AGE),
    "StatefulSet": (
        _NAME,
        _Printed("Ready", cells.of("status.readyReplicas", "spec.replicas", 1), says="Ready pods of those wanted."),
        _AGE,
        *_template("spec", "template"),
    ),
    "StorageClass": (
        _NAME._replace(cell=cells.class_name),
        _Printed("Provisioner", "provisioner", says="Who makes the volumes."),
        _Printed("ReclaimPolicy", "reclaimPolicy", "Delete", says="What happens to released volumes."),
        _Printed("VolumeBindingMode", "volumeBindingMode", "Immediate", says="When volumes are bound."),
        _Printed("AllowVolumeExpansion", "allowVolumeExpansion", False, says="Whether volumes can grow."),
        _AGE,
    ),
    "ValidatingAdmissionPolicy": (
        _NAME,
        _Printed("Validations", cells.length("spec", "validations"), type="integer"),
        _Printed("ParamKind", lambda obj, now_s: cells.param_kind(at(obj, ("spec", "paramKind")))),
        _AGE,
    ),
    "ValidatingAdmissionPolicyBinding": (
        _NAME,
        _Printed("PolicyName", "spec.policyName"),
        _Printed("ParamRef", lambda obj, now_s: cells.param_ref(at(obj, ("spec", "paramRef")))),
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
    made = tuple(_cell(column) for column in table)

    def row(obj: Object, now_s: float) -> list[Any]:
        return [cell(obj, now_s) for cell in made]

    return columns, row
