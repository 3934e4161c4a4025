"""Autoscalers of autoscaling/v1, which know one metric only, as the objects of autoscaling/v2 that store them."""

from __future__ import annotations

from typing import Any

from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.schema.reader import reader


def _cpu(metrics: list[Any] | None) -> Object:
    """The cpu metric among those of v2."""
    for metric in metrics or ():
        resource = metric.get("resource") or {}
        if metric.get("type") == "Resource" and resource.get("name") == "cpu":
            return dict(resource)
    return {}


def to_v2(autoscaler: Object) -> Object:
    """The autoscaling/v2 object that stores one of autoscaling/v1."""
    spec, status = dict(autoscaler.get("spec") or {}), dict(autoscaler.get("status") or {})
    wanted = spec.pop("targetCPUUtilizationPercentage", None)
    measured = status.pop("currentCPUUtilizationPercentage", None)
    if wanted is not None:
        target = {"type": "Utilization", "averageUtilization": wanted}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if measured is not None:
        current = {"averageUtilization": measured}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    stored = {**autoscaler, "apiVersion": "autoscaling/v2", "spec": spec, "status": status}
    read: Object = reader("*autoscaling.v2.HorizontalPodAutoscaler")(stored)
    return read


def from_v2(autoscaler: Object) -> Object:
    """An autoscaling/v2 object as autoscaling/v1 shows it; metrics other than cpu are not to be seen there."""
    spec, status = dict(autoscaler.get("spec") or {}), dict(autoscaler.get("status") or {})
    wanted = (_cpu(spec.pop("metrics", None)).get("target") or {}).get("averageUtilization")
    measured = (_cpu(status.pop("currentMetrics", None)).get("current") or {}).get("averageUtilization")
    if wanted is not None:
        spec["targetCPUUtilizationPercentage"] = wanted
    if measured is not None:
        status["currentCPUUtilizationPercentage"] = measured
    shown = {**autoscaler, "apiVersion": "autoscaling/v1", "spec": spec, "status": status}
    read: Object = reader("*autoscaling.v1.HorizontalPodAutoscaler")(shown)
    return read
