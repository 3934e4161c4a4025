"""How objects of each kind live: which parts a write may touch, when their generation counts up, what never changes.

One row a kind in `RULES`; `functions` makes of it what a KindSpec needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kubeedge.apiserver import names
from kubeedge.apiserver.causes import IMMUTABLE, invalid
from kubeedge.apiserver.kinds import definitions, metadata, pod_life, resources, services, walk, workloads
from kubeedge.apiserver.kinds.fields import at
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.names import Check
from kubeedge.apiserver.schema.reader import reader
from kubeedge.apiserver.status import Cause
from kubeedge.kube.api import Kind

UpdateCheck = Callable[[Object, Object], list[Cause]]


class Rule(NamedTuple):
    """What is special about a kind."""

    name: Check = names.dns_subdomain
    counts: bool = False
    """metadata.generation starts at 1 and counts changes of everything but metadata and status."""
    status: str = "reset"
    """What a creation does with a given status: `reset` to its defaults, or `keep`."""
    create: Sequence[Callable[[Object], None]] = ()
    update: Sequence[Callable[[Object, Object], None]] = ()
    checks: Sequence[UpdateCheck] = ()
    fixed: Sequence[str] = ()
    """Paths that never change."""
    status_keeps: Sequence[str] = ()
    """Fields of metadata that a status update leaves as they are."""
    unconditional: bool = True
    create_on_update: bool = False


def _namespace_finalizer(namespace: Object) -> None:
    finalizers = namespace.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def _claim_phase(claim: Object) -> None:
    claim["status"] = {"phase": "Pending"}


def _namespace_phase(namespace: Object) -> None:
    namespace["status"] = {"phase": "Active"}


def _keep_finalizers(new: Object, old: Object) -> None:
    new["spec"] = {**(new.get("spec") or {}), **(old.get("spec") or {})}


def _template_generation(daemon_set: Object) -> None:
    workloads.daemon_set_generation(daemon_set, None)


def _csr_update(new: Object, old: Object) -> None:
    new["spec"] = old["spec"]


_COUNTS = Rule(counts=True)
_WORKLOAD = Rule(counts=True, checks=(workloads.selector_is_fixed,))
_ANY_NAME = Rule(name=names.path_segment)

RULES: dict[str, Rule] = {
    "APIService": Rule(name=names.path_segment),
    "CSIDriver": _COUNTS,
    "CertificateSigningRequest": Rule(name=names.path_segment, update=(_csr_update,)),
    "ClusterRole": _ANY_NAME,
    "ClusterRoleBinding": Rule(name=names.path_segment, checks=(resources.role_binding_update,)),
    "ConfigMap": Rule(checks=(resources.data_update,)),
    "ControllerRevision": Rule(fixed=("data",)),
    "CronJob": Rule(counts=True),
    "CustomResourceDefinition": Rule(
        counts=True,
        create=(definitions.prepare_create,),
        update=(definitions.prepare_update,),
        checks=(definitions.validate_update,),
    ),
    "DaemonSet": Rule(
        counts=True,
        create=(_template_generation,),
        update=(workloads.daemon_set_generation,),
        checks=(workloads.selector_is_fixed,),
    ),
    "Deployment": Rule(counts=True, checks=(workloads.selector_is_fixed,), status_keeps=("labels",)),
    "EndpointSlice": Rule(counts=True, checks=(services.endpoint_slice_update,)),
    "Endpoints": Rule(create_on_update=True),
    "Event": Rule(name=names.path_segment, create_on_update=True),
    "FlowSchema": _COUNTS,
    "Ingress": _COUNTS,
    "IngressClass": Rule(counts=True, fixed=("spec.controller",)),
    "Job": Rule(counts=True, create=(workloads.prepare_job,), checks=(workloads.job_update,)),
    "Lease": Rule(create_on_update=True, unconditional=False),
    "LimitRange": Rule(create_on_update=True),
    "MutatingAdmissionPolicy": _COUNTS,
    "MutatingAdmissionPolicyBinding": _COUNTS,
    "MutatingWebhookConfiguration": _COUNTS,
    "Namespace": Rule(
        name=names.dns_label, create=(_namespace_finalizer, _namespace_phase), update=(_keep_finalizers,)
    ),
    "NetworkPolicy": _COUNTS,
    "Node": Rule(status="keep", checks=(resources.node_update,)),
    "PersistentVolume": Rule(create=(_claim_phase,)),
    "PersistentVolumeClaim": Rule(create=(_claim_phase,), checks=(resources.claim_update,)),
    "Pod": Rule(
        counts=True,
        create=(pod_life.prepare_create,),
        checks=(pod_life.validate_update,),
        status_keeps=("ownerReferences", "deletionTimestamp"),
    ),
    "PodDisruptionBudget": Rule(counts=True, unconditional=False),
    "PodTemplate": Rule(counts=True, create_on_update=True),
    "PriorityClass": Rule(counts=True, fixed=("value", "preemptionPolicy")),
    "PriorityLevelConfiguration": _COUNTS,
    "ReplicaSet": _WORKLOAD,
    "ReplicationController": Rule(counts=True),
    "ResourceClaim": Rule(fixed=("spec",)),
    "ResourceSlice": _COUNTS,
    "Role": _ANY_NAME,
    "RoleBinding": Rule(name=names.path_segment, checks=(resources.role_binding_update,)),
    "RuntimeClass": Rule(fixed=("handler",)),
    "Secret": Rule(
        create=(resources.prepare_secret,),
        update=(resources.prepare_secret_update,),
        checks=(resources.secret_update,),
    ),
    "Service": Rule(name=names.dns_1035_label, update=(services.prepare_update,), checks=(services.validate_update,)),
    "StatefulSet": Rule(counts=True, checks=(workloads.stateful_set_update,)),
    "StorageClass": Rule(fixed=("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")),
    "ValidatingAdmissionPolicy": _COUNTS,
    "ValidatingAdmissionPolicyBinding": _COUNTS,
    "ValidatingWebhookConfiguration": _COUNTS,
    "VolumeAttachment": Rule(fixed=("spec",)),
}
_PLAIN = Rule()


def rule(kind: str) -> Rule:
    """The row of a kind; one without its own lives by the ordinary rules."""
    return RULES.get(kind, _PLAIN)


class Functions(NamedTuple):
    """The pure functions of a KindSpec that follow from its rule."""

    prepare_create: Callable[[Object], None]
    prepare_update: Callable[[Object, Object], None]
    prepare_status: Callable[[Object, Object], None]
    validate: Callable[[Object, Object | None], list[Cause]]
    validate_status: Callable[[Object, Object | None], list[Cause]]


def _content(obj: Object) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "kind", "apiVersion")}


def _fixed(new: Object, old: Object, paths: Sequence[str]) -> list[Cause]:
    found = []
    for path in paths:
        keys = tuple(path.split("."))
        value = at(new, keys)
        if value != at(old, keys):
            found.append(invalid(path, value, IMMUTABLE))
    return found


def functions(kind: Kind, schema: str, has_status: bool) -> Functions:
    """What a rule means for one kind. schema is the name of its type; has_status tells of a status subresource."""
    row = rule(kind.kind)

    def reset_status(obj: Object) -> None:
        if has_status and row.status == "reset":
            fresh = reader(f"*{schema}")({}).get("status")
            if fresh is None:
                obj.pop("status", None)
            else:
                obj["status"] = fresh

    def prepare_create(obj: Object) -> None:
        metadata.prepare_create(obj)
        if row.counts:
            obj["metadata"]["generation"] = 1
        reset_status(obj)
        for function in row.create:
            function(obj)

    def prepare_update(new: Object, old: Object) -> None:
        metadata.prepare_update(new, old)
        if has_status:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        for function in row.update:
            function(new, old)
        if row.counts and _content(new) != _content(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def prepare_status(new: Object, old: Object) -> None:
        metadata.prepare_update(new, old)
        metadata.keep(new, old, *row.status_keeps)
        for key in {**new, **old}:
            if key in ("metadata", "status", "kind", "apiVersion"):
                continue
            if key in old:
                new[key] = old[key]
            else:
                del new[key]

    def validate(new: Object, old: Object | None) -> list[Cause]:
        found = metadata.validate(new, kind.namespaced, row.name)
        if old is not None:
            found += metadata.validate_update(new, old)
        walk.check(schema, new, "", found)
        if old is not None:
            found += _fixed(new, old, row.fixed)
            for check in row.checks:
                found += check(new, old)
        return found

    def validate_status(new: Object, old: Object | None) -> list[Cause]:
        found = metadata.validate(new, kind.namespaced, row.name)
        return found if old is None else found + metadata.validate_update(new, old)

    return Functions(prepare_create, prepare_update, prepare_status, validate, validate_status)
