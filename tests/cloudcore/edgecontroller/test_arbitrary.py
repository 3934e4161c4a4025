"""Whatever a node sends, it is answered with a Status and nothing breaks."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller import upstream
from tests.cloudcore.conftest import Hub
from tests.cloudcore.edgecontroller.conftest import running
from tests.embedded import embedded_apiserver

TYPES = [
    "node",
    "nodepatch",
    "nodestatus",
    "pod",
    "podpatch",
    "podstatus",
    "configmap",
    "secret",
    "persistentvolume",
    "persistentvolumeclaim",
    "volumeattachment",
    "serviceaccounttoken",
    "lease",
    "certificatesigningrequest",
    "event",
    "rulestatus",
    "podlist",
    "x",
]
OPERATIONS = ["insert", "update", "patch", "query", "delete", ""]
KEYS = [
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "uid",
    "labels",
    "annotations",
    "Status",
    "UID",
    "Name",
    "ExtendResources",
    "event",
    "patchData",
    "boundObjectRef",
    "kind",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
    "type",
    "lastHeartbeatTime",
    "startTime",
    "phase",
    "containers",
    "nodeName",
    "gracePeriodSeconds",
    "preconditions",
    "resourceVersion",
    "nvidia.com/gpu",
]

scalars = st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars | st.sampled_from(["e1", "web", "Pod", "2026-11-24T08:31:15.5Z"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
# Near enough to what is expected to get behind the first check.
status = st.dictionaries(
    st.sampled_from(
        ["conditions", "containerStatuses", "initContainerStatuses", "phase", "startTime", "daemonEndpoints"]
    ),
    st.lists(values | st.fixed_dictionaries({"type": values, "name": values, "lastHeartbeatTime": values}), max_size=2)
    | values,
)
shaped = (
    st.fixed_dictionaries({"UID": values, "Name": values, "Status": status, "ExtendResources": values})
    | st.lists(st.fixed_dictionaries({"UID": values, "Name": st.just("web"), "Status": status}), max_size=2)
    | st.fixed_dictionaries({"event": st.fixed_dictionaries({"metadata": values}), "patchData": values})
    | st.fixed_dictionaries({"spec": st.fixed_dictionaries({"boundObjectRef": values})})
    | st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"name": values, "labels": values}), "spec": values})
)
values |= shaped
contents = values.map(orjson.dumps) | values.map(lambda value: orjson.dumps(orjson.dumps(value).decode()))
names = st.sampled_from(["e1", "web", "e2", "", "..", "a/b", "%2e", "x" * 300]) | st.text(max_size=6)
anywhere = st.tuples(
    st.sampled_from(OPERATIONS),
    st.sampled_from(["null", "default", "none", "..", "ä"]),
    st.sampled_from(TYPES),
    names,
    contents,
)
own = st.sampled_from(
    [
        ("insert", "null", "node", "e1"),
        ("update", "null", "node", "e1"),
        ("patch", "null", "nodepatch", "e1"),
        ("insert", "default", "nodestatus", "e1"),
        ("update", "default", "nodestatus", "e1"),
        ("insert", "default", "pod", "mirror"),
        ("delete", "default", "pod", "web"),
        ("patch", "default", "podpatch", "web"),
        ("update", "default", "podstatus", "web"),
        ("query", "default", "serviceaccounttoken", "default"),
        ("insert", "default", "lease", "e1"),
        ("patch", "default", "event", "x"),
    ]
)
requests = anywhere | st.tuples(own, contents).map(lambda pair: (*pair[0], pair[1]))


@pytest.mark.timeout(300)
@settings(max_examples=12, deadline=None)
@given(st.lists(requests, min_size=20, max_size=60))
def test_every_request_is_answered_once_and_none_fails_inside(sent: list[tuple[str, str, str, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubeedge.cloudcore.edgecontroller.queries.PATIENCE_S", 0.001)
        asyncio.run(play(Path(folder), sent))


async def play(folder: Path, sent: list[tuple[str, str, str, str, bytes]]) -> None:
    """Send all of it to a controller, and then something to be sure that it lives."""
    bus = Bus()
    hub = Hub(bus)
    async with embedded_apiserver(folder, "default") as server, running(server.api, bus, hub) as cloud:
        await cloud.node("e1")
        await cloud.pod("web", "e1")
        waiting = []
        for operation, namespace, type_, name, content in sent:
            request = cloud.send("e1", operation, f"{namespace}/{type_}/{name}", content)
            if type_ != "event" and not (type_ == "podstatus" and operation == "update"):
                waiting.append(request)
        for request in waiting:
            assert_status(orjson.loads((await hub.answer(request)).content), str(request))
        lease = await cloud.ask("e1", "query", "kube-node-lease/lease/e1")
        assert lease.content
    broken = [labels for labels, _ in upstream._requests.samples() if labels[2] in ("failed", "unanswered")]
    assert broken == []


def assert_status(content: Any, request: str) -> None:
    """Check that an answer is a success or has a Status that a Go edge can read."""
    error = content.get("Err", content) if isinstance(content, dict) else None
    status = error.get("ErrStatus") if isinstance(error, dict) else None
    if status is not None:
        assert status["status"] == "Failure"
        assert status["code"] >= 400
        assert "Error:" not in status["message"].partition(" ")[0], f"{request}: {status['message']}"
        assert status["reason"] != "InternalError", f"{request}: {status['message']}"
