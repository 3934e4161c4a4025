"""Config maps, secrets, nodes, storage, leases, roles and others: what they must look like, what may not change."""

from __future__ import annotations

from base64 import b64decode, b64encode

from kubeedge.apiserver import names
from kubeedge.apiserver.causes import IMMUTABLE, duplicate, forbidden, invalid, not_supported, required, too_long
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.status import Cause
from kubeedge.kube import quantity

_DATA_LIMIT_BYTES = 1024 * 1024
_WHEN_IMMUTABLE = "field is immutable when `immutable` is set"
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TLS_KEYS = ("tls.crt", "tls.key")
_NEEDED_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": _TLS_KEYS,
}
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def _keys(obj: Object, field: str, found: list[Cause]) -> int:
    """Check the keys of a data field and return the size of its values."""
    size = 0
    for key, value in (obj.get(field) or {}).items():
        found += [invalid(f"{field}[{key}]", key, problem) for problem in names.config_key(key)]
        size += len(value) if field == "data" and obj.get("kind") == "ConfigMap" else len(value) * 3 // 4
    return size


def _config_map(obj: Object, path: str, found: list[Cause]) -> None:
    size = _keys(obj, "data", found) + _keys(obj, "binaryData", found)
    for key in (obj.get("data") or {}).keys() & (obj.get("binaryData") or {}).keys():
        found.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    if size > _DATA_LIMIT_BYTES:
        found.append(too_long(path, _DATA_LIMIT_BYTES))


def _secret(obj: Object, path: str, found: list[Cause]) -> None:
    del path
    if _keys(obj, "data", found) > _DATA_LIMIT_BYTES:
        found.append(too_long("data", _DATA_LIMIT_BYTES))
    data, kind = obj.get("data") or {}, obj.get("type", "")
    found += [required(f"data[{key}]") for key in _NEEDED_SECRET_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        found += [required("data[username]"), required("data[password]")]
    account = (obj["metadata"].get("annotations") or {}).get(_ACCOUNT_NAME)
    if kind == "kubernetes.io/service-account-token" and not account:
        found.append(required(f"metadata.annotations[{_ACCOUNT_NAME}]"))


def data_update(new: Object, old: Object) -> list[Cause]:
    """Data marked immutable stays as it is, and stays marked."""
    if not old.get("immutable"):
        return []
    found = [] if new.get("immutable") else [forbidden("immutable", _WHEN_IMMUTABLE)]
    fields = ("data", "binaryData") if new["kind"] == "ConfigMap" else ("data",)
    return found + [
        forbidden(field, _WHEN_IMMUTABLE) for field in fields if (new.get(field) or {}) != (old.get(field) or {})
    ]


def secret_update(new: Object, old: Object) -> list[Cause]:
    """A secret keeps its type."""
    found = [] if new.get("type") == old.get("type") else [invalid("type", new.get("type", ""), IMMUTABLE)]
    return found + data_update(new, old)


def prepare_secret(secret: Object) -> None:
    """stringData is only a way to write data."""
    strings = secret.pop("stringData", None) or {}
    if strings:
        encoded = {key: b64encode(value.encode()).decode() for key, value in strings.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def prepare_secret_update(new: Object, old: Object) -> None:
    """An update without a type keeps it."""
    prepare_secret(new)
    if new.get("type", "Opaque") == "Opaque" and old.get("type"):
        new["type"] = old["type"] if not new.get("type") else new["type"]


def _node(node: Object, path: str, found: list[Cause]) -> None:
    del path
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((node.get("spec") or {}).get("taints") or ()):
        where = f"metadata.taints[{index}]"
        key, effect, value = taint.get("key", ""), taint.get("effect", ""), taint.get("value", "")
        found += [invalid(f"{where}.key", key, problem) for problem in names.qualified_name(key)]
        found += [invalid(f"{where}.value", value, problem) for problem in names.label_value(value)]
        if effect not in _TAINT_EFFECTS:
            found.append(
                not_supported(f"{where}.effect", effect, _TAINT_EFFECTS) if effect else required(f"{where}.effect")
            )
        if (key, effect) in seen:
            cause = duplicate(where, taint)
            found.append(cause._replace(message=f"{cause.message}: taints must be unique by key and effect pair"))
        seen.add((key, effect))


def node_update(new: Object, old: Object) -> list[Cause]:
    """Pod networks and the provider's id are set once."""
    spec, before, found = new.get("spec") or {}, old.get("spec") or {}, list[Cause]()
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        detail = 'node updates may not change podCIDR except from "" to valid'
        found.append(forbidden("spec.podCIDRs", detail))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        detail = 'node updates may not change providerID except from "" to valid'
        found.append(forbidden("spec.providerID", detail))
    return found


def _access_modes(spec: Object, path: str, found: list[Cause]) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    found += [not_supported(f"{path}.accessModes", mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]


def _claim_spec(spec: Object, path: str, found: list[Cause]) -> None:
    _access_modes(spec, path, found)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        found.append(required(f"{path}.resources[storage]"))
    elif quantity.parse(storage).nanos <= 0:
        found.append(invalid(f"{path}.resources[storage]", storage, "must be greater than zero"))


def _volume_spec(spec: Object, path: str, found: list[Cause]) -> None:
    _access_modes(spec, path, found)
    if not spec.get("capacity"):
        found.append(required(f"{path}.capacity"))


def claim_update(new: Object, old: Object) -> list[Cause]:
    """After creation only the requested size of a bound claim grows."""
    spec, before = dict(new["spec"]), dict(old["spec"])
    size, size_before = (_storage(one) for one in (spec, before))
    for one in (spec, before):
        for field in ("resources", "volumeAttributesClassName"):
            one.pop(field, None)
    for field in ("volumeName", "storageClassName"):
        if not old["spec"].get(field):
            spec.pop(field, None)
            before.pop(field, None)
    if spec != before:
        detail = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        return [forbidden("spec", f"{detail}\n")]
    if size < size_before:
        return [forbidden("spec.resources.requests.storage", "field can not be less than previous value")]
    return []


def _storage(spec: Object) -> int:
    return quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")).nanos


def _lease_spec(spec: Object, path: str, found: list[Cause]) -> None:
    for field, detail in (
        ("leaseDurationSeconds", "must be greater than 0"),
        ("leaseTransitions", "must be greater than or equal to 0"),
    ):
        value = spec.get(field)
        if value is not None and (value < 0 or (value == 0 and field == "leaseDurationSeconds")):
            found.append(invalid(f"{path}.{field}", value, detail))
    if spec.get("holderIdentity") == "":
        found.append(invalid(f"{path}.holderIdentity", "", "must not be empty"))


def _policy_rule(rule: Object, path: str, found: list[Cause]) -> None:
    if not rule.get("verbs"):
        found.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.get("nonResourceURLs"):
        if rule.get("apiGroups") or rule.get("resources"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            found.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail))
        return
    if not rule.get("apiGroups"):
        found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))


def _role_ref(reference: Object, path: str, found: list[Cause]) -> None:
    if reference.get("kind") not in ("Role", "ClusterRole"):
        found.append(not_supported(f"{path}.kind", reference.get("kind", ""), ("ClusterRole", "Role")))


def _subject(subject: Object, path: str, found: list[Cause]) -> None:
    if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
        kinds = ("ServiceAccount", "User", "Group")
        found.append(not_supported(f"{path}.kind", subject.get("kind", ""), kinds))
    if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
        found.append(required(f"{path}.namespace"))


def role_binding_update(new: Object, old: Object) -> list[Cause]:
    """Whom a binding binds may change, what to may not."""
    reference = new.get("roleRef")
    return [] if reference == old.get("roleRef") else [invalid("roleRef", reference, "cannot change roleRef")]


def _token_request_spec(spec: Object, path: str, found: list[Cause]) -> None:
    seconds = spec.get("expirationSeconds", 0)
    if seconds < 600:
        found.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > 1 << 32:
        found.append(
            invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )


def _scale_spec(spec: Object, path: str, found: list[Cause]) -> None:
    if spec.get("replicas", 0) < 0:
        found.append(invalid(f"{path}.replicas", spec["replicas"], "must be greater than or equal to 0"))


def _event(event: Object, path: str, found: list[Cause]) -> None:
    del path
    involved, namespace = event.get("involvedObject") or {}, event["metadata"].get("namespace", "")
    about = involved.get("namespace", "")
    if (about or "default") != namespace and (about or namespace != "kube-system"):
        found.append(invalid("involvedObject.namespace", about, "does not match event.namespace"))


def _certificate_request(request: Object, path: str, found: list[Cause]) -> None:
    usages = request.get("usages") or []
    if not usages:
        found.append(required(f"{path}.usages"))
    content = b64decode(request.get("request") or "")
    if b"CERTIFICATE REQUEST" not in content:
        detail = "PEM block type must be CERTIFICATE REQUEST"
        found.append(invalid(f"{path}.request", request.get("request", ""), detail))
    signer = request.get("signerName", "")
    if signer and "/" not in signer:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.append(invalid(f"{path}.signerName", signer, detail))


CHECKS = {
    "authentication.v1.TokenRequestSpec": _token_request_spec,
    "autoscaling.v1.ScaleSpec": _scale_spec,
    "certificates.v1.CertificateSigningRequestSpec": _certificate_request,
    "coordination.v1.LeaseSpec": _lease_spec,
    "core.v1.ConfigMap": _config_map,
    "core.v1.Event": _event,
    "core.v1.Node": _node,
    "core.v1.PersistentVolumeClaimSpec": _claim_spec,
    "core.v1.PersistentVolumeSpec": _volume_spec,
    "core.v1.Secret": _secret,
    "rbac.v1.PolicyRule": _policy_rule,
    "rbac.v1.RoleRef": _role_ref,
    "rbac.v1.Subject": _subject,
}
