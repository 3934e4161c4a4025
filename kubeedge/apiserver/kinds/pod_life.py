"""The life of a pod as an object: what it is at its creation, what of it may change later, which QoS class it has."""

from __future__ import annotations

import json
from difflib import unified_diff

from kubeedge.apiserver.causes import forbidden, invalid, required
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.status import Cause
from kubeedge.kube import quantity

_UPDATABLE = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the requests and limits of cpu and memory of all containers."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    any_given, all_guaranteed = False, True
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit = quantity.parse(limits.get(name, "0")).nanos
            request = quantity.parse(requests.get(name, "0")).nanos
            any_given = any_given or limit > 0 or request > 0
            all_guaranteed = all_guaranteed and limit > 0 and request == limit
    if not any_given:
        return "BestEffort"
    return "Guaranteed" if all_guaranteed else "Burstable"


def prepare_create(pod: Object) -> None:
    """A new pod is pending, whatever its status said."""
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}


def _same_but_image(new: list[Object], old: list[Object]) -> list[Object]:
    if len(new) != len(old):
        return new
    return [{**container, "image": before.get("image")} for container, before in zip(new, old, strict=True)]


def validate_update(new: Object, old: Object) -> list[Cause]:
    """What of a pod's spec must not change once it exists."""
    spec, before, found = new["spec"], old["spec"], list[Cause]()
    if spec == before:
        return found
    for group in ("containers", "initContainers"):
        now, then = spec.get(group) or [], before.get(group) or []
        if len(now) != len(then):
            return [forbidden(f"spec.{group}", "pod updates may not add or remove containers")]
        found += [required(f"spec.{group}[{i}].image") for i, container in enumerate(now) if not container.get("image")]
    deadline, earlier = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is not None and earlier is not None and deadline > earlier:
        detail = "must be less than or equal to previous value"
        found.append(invalid("spec.activeDeadlineSeconds", deadline, detail))
    elif deadline is None and earlier is not None:
        detail = "must not update from a positive integer to nil value"
        found.append(invalid("spec.activeDeadlineSeconds", deadline, detail))
    tolerations, present = spec.get("tolerations") or [], before.get("tolerations") or []
    if not all(_is_kept(toleration, tolerations) for toleration in present):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        found.append(forbidden("spec.tolerations", detail))
    gates, gates_before = spec.get("schedulingGates") or [], before.get("schedulingGates") or []
    for index, gate in enumerate(gates):
        if gate not in gates_before:
            detail = "only deletion is allowed, but found new scheduling gate '" + gate.get("name", "") + "'"
            found.append(forbidden(f"spec.schedulingGates[{index}].name", detail))
    grace_mended = (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get(
        "terminationGracePeriodSeconds"
    ) == 1
    fixed = {
        **spec,
        "containers": _same_but_image(spec.get("containers") or [], before.get("containers") or []),
        "initContainers": _same_but_image(spec.get("initContainers") or [], before.get("initContainers") or []),
    }
    compared = {
        **before,
        "containers": before.get("containers") or [],
        "initContainers": before.get("initContainers") or [],
    }
    ignored = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    ignored += ["terminationGracePeriodSeconds"] if grace_mended else []
    for key in ignored:
        fixed.pop(key, None)
        compared.pop(key, None)
    if fixed != compared:
        fields = ",".join(_UPDATABLE)
        difference = _difference(compared, fixed)
        found.append(forbidden("spec", f"pod updates may not change fields other than {fields}\n{difference}\n"))
    return found


def _difference(before: Object, after: Object) -> str:
    """What changed, line by line. A real server compares its internal structs, we what the client knows."""
    old, new = (json.dumps(spec, indent=1, sort_keys=True).split("\n") for spec in (before, after))
    _, _, *changes = unified_diff(old, new, lineterm="")
    return "\n".join(changes)


def _is_kept(toleration: Object, tolerations: list[Object]) -> bool:
    fixed = {**toleration, "tolerationSeconds": None}
    return any({**other, "tolerationSeconds": None} == fixed for other in tolerations)
