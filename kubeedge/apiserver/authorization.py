"""Who may do what, as one table.

| caller | may |
|---|---|
| group system:masters | everything, also act as others (Impersonate-User, -Group, -Uid, -Extra-…) |
| node (user system:node:NAME of group system:nodes) | the rules of NODE_RULES, each within what belongs to it |
| everybody authenticated, so also service accounts | discovery, versions, health, and to ask what it may do |
| everybody | /version, /healthz, /livez, /readyz |

Roles and their bindings are stored and served, but give no rights yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kubeedge.apiserver import status
from kubeedge.apiserver.authentication import AUTHENTICATED, User
from kubeedge.apiserver.revision import Stored
from kubeedge.apiserver.storage import Storage
from kubeedge.kube.api import ApiError, Kind


class Attributes(NamedTuple):
    """What is asked: a verb on a resource, or (resource empty) on a path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""


class Decision(NamedTuple):
    """allowed, and why not where there is a reason to tell."""

    allowed: bool
    reason: str = ""


_YES = Decision(True)
_NO = Decision(False)

PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/version/")
# With and without what is below them.
DISCOVERY_PATHS = ("/api", "/apis", "/openapi")
KEY_PATHS = ("/.well-known",)
_SELF_REVIEWS = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
}

Limit = Callable[["Authorizer", str, Attributes], str]


def _anything(authorizer: Authorizer, node: str, asked: Attributes) -> str:
    del authorizer, node, asked
    return ""


def _own_name(authorizer: Authorizer, node: str, asked: Attributes) -> str:
    del authorizer
    if asked.name == node or (asked.verb == "create" and not asked.name):
        return ""
    if asked.verb in ("list", "watch") and f"metadata.name={node}" in asked.field_selector.split(","):
        return ""
    return f"node '{node}' cannot read '{asked.name or 'all'}', only its own"


def _own_lease(authorizer: Authorizer, node: str, asked: Attributes) -> str:
    del authorizer
    if asked.namespace != "kube-node-lease":
        return 'can only access leases in the "kube-node-lease" system namespace'
    if asked.name == node or asked.verb == "create":
        return ""
    return "can only access node lease with the same name as the requesting node"


def _own_pods(authorizer: Authorizer, node: str, asked: Attributes) -> str:
    if asked.verb == "create" and not asked.subresource:
        return ""
    if not asked.name:
        if f"spec.nodeName={node}" in asked.field_selector.split(","):
            return ""
        return "can only list/watch pods with spec.nodeName field selector"
    pod = authorizer.storage.get("pods", asked.namespace, asked.name)
    # An absent pod is answered with 404: the node may not know yet that it is gone.
    return (
        ""
        if pod is None or authorizer.node_of(pod) == node
        else f"no relationship found between node '{node}' and this object"
    )


def _used_by_pods(authorizer: Authorizer, node: str, asked: Attributes) -> str:
    if asked.name and authorizer.is_used_on(node, asked.resource, asked.namespace, asked.name):
        return ""
    return f"no relationship found between node '{node}' and this object"


def _own_devices(authorizer: Authorizer, node: str, asked: Attributes) -> str:
    # A status has the name of its device.
    device = authorizer.storage.get("devices.devices.kubeedge.io", asked.namespace, asked.name)
    if device is not None and (device.document().get("spec") or {}).get("nodeName") == node:
        return ""
    return f"no relationship found between node '{node}' and this object"


_READ = ("get", "list", "watch")
_WRITE = ("create", "get", "patch", "update")

# (group, resource[/subresource]) -> verbs, limit
NODE_RULES: Mapping[tuple[str, str], tuple[Sequence[str], Limit]] = {
    ("", "nodes"): ((*_WRITE, "list", "watch"), _own_name),
    ("", "nodes/status"): (("get", "patch", "update"), _own_name),
    ("", "pods"): ((*_READ, "create", "delete"), _own_pods),
    ("", "pods/status"): (("get", "patch", "update"), _own_pods),
    ("", "pods/eviction"): (("create",), _own_pods),
    ("", "configmaps"): (_READ, _used_by_pods),
    ("", "secrets"): (_READ, _used_by_pods),
    ("", "persistentvolumeclaims"): (("get",), _used_by_pods),
    ("", "persistentvolumes"): (("get",), _anything),
    ("", "serviceaccounts"): (("get",), _used_by_pods),
    ("", "serviceaccounts/token"): (("create",), _used_by_pods),
    ("", "services"): (_READ, _anything),
    ("", "endpoints"): (_READ, _anything),
    ("discovery.k8s.io", "endpointslices"): (_READ, _anything),
    ("", "events"): (("create", "patch", "update"), _anything),
    ("events.k8s.io", "events"): (("create", "patch", "update"), _anything),
    ("coordination.k8s.io", "leases"): ((*_WRITE, "delete"), _own_lease),
    ("certificates.k8s.io", "certificatesigningrequests"): (("create", *_READ), _anything),
    ("node.k8s.io", "runtimeclasses"): (_READ, _anything),
    ("storage.k8s.io", "csidrivers"): (_READ, _anything),
    ("storage.k8s.io", "csinodes"): ((*_WRITE, "delete"), _own_name),
    ("storage.k8s.io", "volumeattachments"): (("get",), _anything),
    # No rule of Kubernetes: cloudcore writes in the name of a node what it reports of its devices (spec 04 §2.5).
    ("devices.kubeedge.io", "devicestatuses"): (("get", "patch"), _own_devices),
    ("authentication.k8s.io", "tokenreviews"): (("create",), _anything),
    ("authorization.k8s.io", "subjectaccessreviews"): (("create",), _anything),
    ("authorization.k8s.io", "localsubjectaccessreviews"): (("create",), _anything),
}


class Authorizer:
    """Decides by the table; what belongs to a node is seen in the storage."""

    def __init__(self, storage: Storage, pod_fields: Callable[[dict[str, Any]], Mapping[str, str]]) -> None:
        """pod_fields gives what field selectors of pods look at, so that a pod is decoded once for both."""
        self.storage = storage
        self._pod_fields = pod_fields

    def node_of(self, pod: Stored) -> str:
        """Return the node that a pod is assigned to, or nothing."""
        return pod.fields(self._pod_fields).get("spec.nodeName", "")

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Tell whether user may do what is asked."""
        if user.is_master:
            return _YES
        if not asked.resource:
            return self._decide_path(user, asked)
        if AUTHENTICATED in user.groups and asked.verb == "create" and (asked.group, asked.resource) in _SELF_REVIEWS:
            return _YES
        if user.node:
            return self._decide_node(user.node, asked)
        return _NO

    @staticmethod
    def _decide_path(user: User, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "head"):
            return _NO
        if asked.path in PUBLIC_PATHS:
            return _YES
        if AUTHENTICATED not in user.groups:
            return _NO
        paths = (*DISCOVERY_PATHS, *KEY_PATHS, "/openid")
        return Decision(any(asked.path == path or asked.path.startswith(f"{path}/") for path in paths))

    def _decide_node(self, node: str, asked: Attributes) -> Decision:
        resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        rule = NODE_RULES.get((asked.group, resource))
        if rule is None or asked.verb not in rule[0]:
            return _NO
        reason = rule[1](self, node, asked)
        return Decision(not reason, reason)

    def is_used_on(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Tell whether a pod of the node needs an object of its namespace."""
        for pod in self.storage.snapshot("pods").range(namespace):
            if self.node_of(pod) == node and (resource, name) in _references(pod.document()):
                return True
        return False

    def require(self, user: User, asked: Attributes) -> None:
        """Raise the 403 of a real server unless user may do what is asked."""
        decision = self.decide(user, asked)
        if not decision.allowed:
            raise denial(user, asked, decision.reason)


def denial(user: User, asked: Attributes, reason: str) -> ApiError:
    """Return the 403 for something asked."""
    if not asked.resource:
        return status.status(
            403, "Forbidden", f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"', {}
        )
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {asked.verb} resource "{resource}" in API group "{asked.group}" {scope}'
    kind = Kind(asked.group, "", asked.resource, "", bool(asked.namespace))
    return status.forbidden(kind, asked.name, f"{why}: {reason}" if reason else why)


def _references(pod: dict[str, Any]) -> set[tuple[str, str]]:
    """Name the objects of its namespace that a pod cannot run without."""
    spec = pod.get("spec") or {}
    found = {("serviceaccounts", spec.get("serviceAccountName", ""))}
    found.update(("secrets", secret.get("name", "")) for secret in spec.get("imagePullSecrets") or ())
    for volume in spec.get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if config_map := source.get("configMap"):
                found.add(("configmaps", config_map.get("name", "")))
            if secret := source.get("secret"):
                found.add(("secrets", secret.get("secretName") or secret.get("name", "")))
            if claim := source.get("persistentVolumeClaim"):
                found.add(("persistentvolumeclaims", claim.get("claimName", "")))
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        sources = [*(container.get("envFrom") or ())]
        sources += [variable.get("valueFrom") or {} for variable in container.get("env") or ()]
        for source in sources:
            for key, resource in (
                ("configMapRef", "configmaps"),
                ("configMapKeyRef", "configmaps"),
                ("secretRef", "secrets"),
                ("secretKeyRef", "secrets"),
            ):
                if reference := source.get(key):
                    found.add((resource, reference.get("name", "")))
    return found
