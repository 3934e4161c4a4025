"""Deployments, replica sets, daemon sets, stateful sets, jobs: what they must look like and what may not change."""

from __future__ import annotations

from typing import Any

from kubeedge.apiserver import selectors
from kubeedge.apiserver.causes import IMMUTABLE, forbidden, invalid, not_supported, required
from kubeedge.apiserver.kinds.pods import nonnegative
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.status import Cause

_JOB_MUTABLE = (
    "activeDeadlineSeconds",
    "backoffLimit",
    "managedBy",
    "parallelism",
    "suspend",
    "template",
    "ttlSecondsAfterFinished",
)
_STATEFUL_SET_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
)
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _template(spec: Object, path: str, found: list[Cause], noun: str) -> None:
    """The template of pods that live on: its labels are selected, it restarts always, it has no deadline."""
    selector = spec.get("selector")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(invalid(f"{path}.selector", selector, f"empty selector is invalid for {noun}"))
    if not _selects(selector, labels):
        found.append(invalid(f"{path}.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    pod = template.get("spec") or {}
    policy = pod.get("restartPolicy", "Always")
    if policy in ("OnFailure", "Never"):
        found.append(not_supported(f"{path}.template.spec.restartPolicy", policy, ["Always"]))
    if "activeDeadlineSeconds" in pod:
        owner = {"daemonset": "DaemonSet", "statefulset": "StatefulSet"}.get(noun, "ReplicaSet")
        found.append(
            forbidden(
                f"{path}.template.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {owner} is not Supported"
            )
        )


def _selects(selector: Object | None, labels: dict[str, str] | None) -> bool:
    """Whether a selector fits the template; one that can't be read fits, it is refused for that elsewhere."""
    try:
        parsed = selectors.from_object(selector)
    except KeyError:
        return True
    if parsed is not None and not parsed.requirements:
        return True
    return parsed is not None and parsed.matches(labels)


def _deployment_spec(spec: Object, path: str, found: list[Cause]) -> None:
    nonnegative(spec, path, found, "replicas")
    _template(spec, path, found, "deployment")
    nonnegative(spec, path, found, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        found.append(invalid(f"{path}.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))


def _replica_set_spec(spec: Object, path: str, found: list[Cause]) -> None:
    nonnegative(spec, path, found, "replicas", "minReadySeconds")
    _template(spec, path, found, "deployment")


def _daemon_set_spec(spec: Object, path: str, found: list[Cause]) -> None:
    _template(spec, path, found, "daemonset")
    nonnegative(spec, path, found, "minReadySeconds", "revisionHistoryLimit")


def _stateful_set_spec(spec: Object, path: str, found: list[Cause]) -> None:
    nonnegative(spec, path, found, "replicas", "minReadySeconds")
    _template(spec, path, found, "statefulset")


def _strategy(strategy: Object, path: str, found: list[Cause]) -> None:
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        found.append(forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"))


def _rolling_update(rolling: Object, path: str, found: list[Cause]) -> None:
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field)
        if isinstance(value, str):
            if not (value.endswith("%") and value[:-1].isdigit()):
                detail = (
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                    "regex used for validation is '[0-9]+%')"
                )
                found.append(invalid(f"{path}.{field}", value, detail))
            elif field == "maxUnavailable" and int(value[:-1]) > 100:
                found.append(invalid(f"{path}.{field}", value, "must not be greater than 100%"))
        elif value is not None and value < 0:
            found.append(invalid(f"{path}.{field}", value, "must be greater than or equal to 0"))
    if all(str(rolling.get(field)) in ("0", "0%") for field in ("maxUnavailable", "maxSurge")):
        value = rolling.get("maxUnavailable")
        found.append(invalid(f"{path}.maxUnavailable", value, "may not be 0 when `maxSurge` is 0"))


def _job_spec(spec: Object, path: str, found: list[Cause]) -> None:
    nonnegative(spec, path, found, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit")
    nonnegative(spec, path, found, "ttlSecondsAfterFinished")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        where = f"{path}.template.spec.restartPolicy"
        if path == "spec":
            found.append(required(where, 'valid values: "OnFailure", "Never"'))
        else:
            found.append(not_supported(where, policy, ["OnFailure", "Never"]))


def _cron_job_spec(spec: Object, path: str, found: list[Cause]) -> None:
    schedule = spec.get("schedule", "")
    fields = schedule.split()
    if schedule and not schedule.startswith("@") and len(fields) != 5:
        detail = f"expected exactly 5 fields, found {len(fields)}: {fields}"
        found.append(invalid(f"{path}.schedule", schedule, detail))
    nonnegative(spec, path, found, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")


CHECKS = {
    "apps.v1.DaemonSetSpec": _daemon_set_spec,
    "apps.v1.DeploymentSpec": _deployment_spec,
    "apps.v1.DeploymentStrategy": _strategy,
    "apps.v1.ReplicaSetSpec": _replica_set_spec,
    "apps.v1.RollingUpdateDaemonSet": _rolling_update,
    "apps.v1.RollingUpdateDeployment": _rolling_update,
    "apps.v1.StatefulSetSpec": _stateful_set_spec,
    "batch.v1.CronJobSpec": _cron_job_spec,
    "batch.v1.JobSpec": _job_spec,
}


def selector_is_fixed(new: Object, old: Object) -> list[Cause]:
    """The selector of a workload never changes."""
    selector = new["spec"].get("selector")
    return [] if selector == old["spec"].get("selector") else [invalid("spec.selector", selector, IMMUTABLE)]


def _changed(new: Object, old: Object, but: tuple[str, ...]) -> list[str]:
    spec, before = new["spec"], old["spec"]
    return [key for key in {**spec, **before} if key not in but and spec.get(key) != before.get(key)]


def stateful_set_update(new: Object, old: Object) -> list[Cause]:
    """A stateful set changes only in a few fields."""
    if not _changed(new, old, _STATEFUL_SET_MUTABLE):
        return []
    fields = "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
    fields += "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'"
    return [forbidden("spec", f"updates to statefulset spec for fields other than {fields} are forbidden")]


def job_update(new: Object, old: Object) -> list[Cause]:
    """A job's template, selector and completion mode stay."""
    spec, before = new["spec"], old["spec"]
    fixed = [key for key in _changed(new, old, _JOB_MUTABLE) if key in ("completions", "completionMode", "selector")]
    if spec.get("template") != before.get("template") and not before.get("suspend"):
        fixed.append("template")
    return [invalid(f"spec.{key}", spec.get(key), IMMUTABLE) for key in sorted(fixed)]


def daemon_set_generation(new: Object, old: Object | None) -> None:
    """Daemon sets count the generations of their template in an annotation."""
    metadata = new["metadata"]
    count = 1
    if old is not None:
        count = int((old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "1"))
        count += new["spec"].get("template") != old["spec"].get("template")
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


def prepare_job(job: Object) -> None:
    """A job selects its pods by its own uid unless it brings a selector."""
    spec, metadata = job["spec"], job["metadata"]
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    if spec.get("manualSelector"):
        return
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    template: dict[str, Any] = spec.setdefault("template", {}).setdefault("metadata", {})
    template["labels"] = {**(template.get("labels") or {}), **labels}
    selector = spec.setdefault("selector", {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), "batch.kubernetes.io/controller-uid": uid}
    metadata.setdefault("labels", dict(template["labels"]))
