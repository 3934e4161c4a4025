"""The built-in kinds, one line each, in the order in which a real server lists them."""

from __future__ import annotations

from kubeedge.apiserver.kinds import autoscaling, events, fields, printers, strategies
from kubeedge.apiserver.kinds.defaults import defaulter
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import VERBS, Decoder, KindSpec, Object, Subresource
from kubeedge.apiserver.schema.reader import reader, unknown_fields
from kubeedge.kube.api import Kind
from kubeedge.kube.kinds import EVENT

__all__ = ["Registry", "builtin"]

_READ_WRITE = ("get", "patch", "update")
_CREATE = ("create",)
_CONNECT = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")

# Subresources whose body is another kind, or that take other verbs than get, patch and update of the object itself.
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "approval": ("", "", "", _READ_WRITE),
    "attach": ("", "", "PodAttachOptions", _CONNECT),
    "binding": ("", "", "Binding", _CREATE),
    "ephemeralcontainers": ("", "", "", _READ_WRITE),
    "eviction": ("policy", "v1", "Eviction", _CREATE),
    "exec": ("", "", "PodExecOptions", _CONNECT),
    "finalize": ("", "", "", ("update",)),
    "log": ("", "", "", ("get",)),
    "portforward": ("", "", "PodPortForwardOptions", _CONNECT),
    "resize": ("", "", "", _READ_WRITE),
    "scale": ("autoscaling", "v1", "Scale", _READ_WRITE),
    "status": ("", "", "", _READ_WRITE),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", _CREATE),
}

# group/version: (plural, kind, N for namespaced or C for cluster, short names, categories, subresources)
_KINDS: dict[str, tuple[tuple[str, str, str, str, str, str], ...]] = {
    "v1": (
        ("bindings", "Binding", "N", "", "", ""),
        ("componentstatuses", "ComponentStatus", "C", "cs", "", ""),
        ("configmaps", "ConfigMap", "N", "cm", "", ""),
        ("endpoints", "Endpoints", "N", "ep", "", ""),
        ("events", "Event", "N", "ev", "", ""),
        ("limitranges", "LimitRange", "N", "limits", "", ""),
        ("namespaces", "Namespace", "C", "ns", "", "finalize status"),
        ("nodes", "Node", "C", "no", "", "proxy status"),
        ("persistentvolumeclaims", "PersistentVolumeClaim", "N", "pvc", "", "status"),
        ("persistentvolumes", "PersistentVolume", "C", "pv", "", "status"),
        (
            "pods",
            "Pod",
            "N",
            "po",
            "all",
            "attach binding ephemeralcontainers eviction exec log portforward proxy resize status",
        ),
        ("podtemplates", "PodTemplate", "N", "", "", ""),
        ("replicationcontrollers", "ReplicationController", "N", "rc", "all", "scale status"),
        ("resourcequotas", "ResourceQuota", "N", "quota", "", "status"),
        ("secrets", "Secret", "N", "", "", ""),
        ("serviceaccounts", "ServiceAccount", "N", "sa", "", "token"),
        ("services", "Service", "N", "svc", "all", "proxy status"),
    ),
    "apiregistration.k8s.io/v1": (("apiservices", "APIService", "C", "", "api-extensions", "status"),),
    "apps/v1": (
        ("controllerrevisions", "ControllerRevision", "N", "", "", ""),
        ("daemonsets", "DaemonSet", "N", "ds", "all", "status"),
        ("deployments", "Deployment", "N", "deploy", "all", "scale status"),
        ("replicasets", "ReplicaSet", "N", "rs", "all", "scale status"),
        ("statefulsets", "StatefulSet", "N", "sts", "all", "scale status"),
    ),
    "events.k8s.io/v1": (("events", "Event", "N", "ev", "", ""),),
    "authentication.k8s.io/v1": (
        ("selfsubjectreviews", "SelfSubjectReview", "C", "", "", ""),
        ("tokenreviews", "TokenReview", "C", "", "", ""),
    ),
    "authorization.k8s.io/v1": (
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", "N", "", "", ""),
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", "C", "", "", ""),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", "C", "", "", ""),
        ("subjectaccessreviews", "SubjectAccessReview", "C", "", "", ""),
    ),
    "autoscaling/v2": (("horizontalpodautoscalers", "HorizontalPodAutoscaler", "N", "hpa", "all", "status"),),
    "autoscaling/v1": (("horizontalpodautoscalers", "HorizontalPodAutoscaler", "N", "hpa", "all", "status"),),
    "batch/v1": (
        ("cronjobs", "CronJob", "N", "cj", "all", "status"),
        ("jobs", "Job", "N", "", "all", "status"),
    ),
    "certificates.k8s.io/v1": (
        ("certificatesigningrequests", "CertificateSigningRequest", "C", "csr", "", "approval status"),
    ),
    "networking.k8s.io/v1": (
        ("ingressclasses", "IngressClass", "C", "", "", ""),
        ("ingresses", "Ingress", "N", "ing", "", "status"),
        ("ipaddresses", "IPAddress", "C", "ip", "", ""),
        ("networkpolicies", "NetworkPolicy", "N", "netpol", "", ""),
        ("servicecidrs", "ServiceCIDR", "C", "", "", "status"),
    ),
    "policy/v1": (("poddisruptionbudgets", "PodDisruptionBudget", "N", "pdb", "", "status"),),
    "rbac.authorization.k8s.io/v1": (
        ("clusterrolebindings", "ClusterRoleBinding", "C", "", "", ""),
        ("clusterroles", "ClusterRole", "C", "", "", ""),
        ("rolebindings", "RoleBinding", "N", "", "", ""),
        ("roles", "Role", "N", "", "", ""),
    ),
    "storage.k8s.io/v1": (
        ("csidrivers", "CSIDriver", "C", "", "", ""),
        ("csinodes", "CSINode", "C", "", "", ""),
        ("csistoragecapacities", "CSIStorageCapacity", "N", "", "", ""),
        ("storageclasses", "StorageClass", "C", "sc", "", ""),
        ("volumeattachments", "VolumeAttachment", "C", "", "", "status"),
        ("volumeattributesclasses", "VolumeAttributesClass", "C", "vac", "", ""),
    ),
    "admissionregistration.k8s.io/v1": (
        ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", "C", "", "api-extensions", ""),
        ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", "C", "", "api-extensions", ""),
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "C", "", "api-extensions", ""),
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", "C", "", "api-extensions", "status"),
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", "C", "", "api-extensions", ""),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "C", "", "api-extensions", ""),
    ),
    "apiextensions.k8s.io/v1": (
        ("customresourcedefinitions", "CustomResourceDefinition", "C", "crd crds", "api-extensions", "status"),
    ),
    "scheduling.k8s.io/v1": (("priorityclasses", "PriorityClass", "C", "pc", "", ""),),
    "coordination.k8s.io/v1": (("leases", "Lease", "N", "", "", ""),),
    "node.k8s.io/v1": (("runtimeclasses", "RuntimeClass", "C", "", "", ""),),
    "discovery.k8s.io/v1": (("endpointslices", "EndpointSlice", "N", "", "", ""),),
    "resource.k8s.io/v1": (
        ("deviceclasses", "DeviceClass", "C", "", "", ""),
        ("resourceclaims", "ResourceClaim", "N", "", "", "status"),
        ("resourceclaimtemplates", "ResourceClaimTemplate", "N", "", "", ""),
        ("resourceslices", "ResourceSlice", "C", "", "", ""),
    ),
    "flowcontrol.apiserver.k8s.io/v1": (
        ("flowschemas", "FlowSchema", "C", "", "", "status"),
        ("prioritylevelconfigurations", "PriorityLevelConfiguration", "C", "", "", "status"),
    ),
}

_CREATE_ONLY = (
    "bindings",
    "selfsubjectreviews",
    "tokenreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
)
_VERBS = {
    **dict.fromkeys(_CREATE_ONLY, _CREATE),
    "componentstatuses": ("get", "list"),
    "namespaces": tuple(verb for verb in VERBS if verb != "deletecollection"),
}


# Versions whose objects are stored as another kind: (that kind, conversion to it, conversion from it).
_STORED_AS = {
    "autoscaling/v1": (
        Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True),
        autoscaling.to_v2,
        autoscaling.from_v2,
    ),
    "events.k8s.io/v1": (EVENT, events.to_core, events.from_core),
}


_DEPRECATED = {
    "/componentstatuses": "v1 ComponentStatus is deprecated in v1.19+",
    "/endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}


def _subresource(name: str, kind: str) -> Subresource:
    if name == "proxy":
        return Subresource(name, f"{kind}ProxyOptions", _PROXY)
    group, version, body, allowed = _SUBRESOURCES[name]
    return Subresource(name, body or kind, allowed, group, version)


def _decoder(schema: str) -> Decoder:
    expression = f"*{schema}"

    def decode(obj: Object) -> tuple[Object, list[str]]:
        return reader(expression)(obj), unknown_fields(expression, obj)

    return decode


def _spec(group: str, version: str, row: tuple[str, str, str, str, str, str]) -> KindSpec:
    plural, name, scope, short_names, categories, subresources = row
    kind = Kind(group, version, plural, name, scope == "N")
    schema = f"{group.partition('.')[0] or 'core'}.{version}.{name}"
    rule = strategies.rule(name)
    live = strategies.functions(kind, schema, "status" in subresources.split())
    read_fields, labels = fields.selectable(name, kind.namespaced)
    storage, to_storage, from_storage = _STORED_AS.get(f"{group}/{version}", (None, None, None))
    columns, cells = printers.printer(name)
    return KindSpec(
        kind=kind,
        singular=name.lower(),
        schema=schema,
        short_names=tuple(short_names.split()),
        categories=tuple(categories.split()),
        deprecated=_DEPRECATED.get(f"{group}/{plural}", ""),
        verbs=_VERBS.get(plural, VERBS),
        subresources={sub: _subresource(sub, name) for sub in subresources.split()},
        storage=storage,
        to_storage=to_storage,
        from_storage=from_storage,
        unconditional_update=rule.unconditional,
        create_on_update=rule.create_on_update,
        decode=_decoder(schema),
        default=defaulter(schema),
        prepare_create=live.prepare_create,
        prepare_update=live.prepare_update,
        prepare_status=live.prepare_status,
        validate=live.validate,
        validate_status=live.validate_status,
        selectable_fields=read_fields,
        selectable=labels,
        columns=columns,
        row=cells,
    )


def builtin() -> Registry:
    """A registry of every built-in kind."""
    specs = []
    for group_version, rows in _KINDS.items():
        group, _, version = group_version.rpartition("/")
        specs += [_spec(group, version, row) for row in rows]
    return Registry(tuple(specs))
