"""What is read of Nodes and Pods."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from kubeedge.cloudcore.edgecontroller.node import (
    by_node,
    has_spec_of,
    is_terminating,
    node_name_of,
    service_account_of,
)
from kubeedge.kube.object import Object


def pod(spec: Any = None, status: Any = None, **metadata: Any) -> Object:
    """Return a pod."""
    body = {"kind": "Pod", "metadata": {"name": "web", "namespace": "default", **metadata}, "status": status}
    return Object.parse(orjson.dumps({**body, "spec": spec} if spec is not None else body))


def test_a_pod_says_where_and_as_whom_it_runs() -> None:
    bound = pod({"nodeName": "e1", "serviceAccountName": "worker"})
    assert (node_name_of(bound), service_account_of(bound), is_terminating(bound)) == ("e1", "worker", False)
    assert by_node(bound) == ("e1",)
    assert is_terminating(pod({}, deletionTimestamp="2026-11-25T13:24:59Z"))


def test_a_pod_that_says_nothing_is_bound_nowhere() -> None:
    for unbound in (pod(), pod({})):
        assert (node_name_of(unbound), service_account_of(unbound), by_node(unbound)) == ("", "default", ())


def test_a_change_of_the_status_leaves_the_spec_as_it_was() -> None:
    before = pod({"nodeName": "e1", "containers": []}, {"phase": "Pending"}, resourceVersion="1")
    after = pod({"nodeName": "e1", "containers": []}, {"phase": "Running"}, resourceVersion="2")
    assert has_spec_of(after, before)
    assert not has_spec_of(pod({"nodeName": "e1", "containers": [{"name": "c"}]}), before)
    assert not has_spec_of(pod({"containers": []}), before)


@pytest.mark.parametrize("spec", [5, "x", [], {"nodeName": 7}])
def test_what_is_no_pod_is_refused_each_time(spec: Any) -> None:
    bad = pod(spec)
    for _ in range(2):
        with pytest.raises(msgspec.DecodeError):
            node_name_of(bad)
