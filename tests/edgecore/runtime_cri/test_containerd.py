"""The runtime against a real containerd: what edged asks for is what containers get."""

from __future__ import annotations

import pytest

from kubeedge.edgecore.edged.runtime.interface import ContainerState, SandboxState
from tests.edgecore.runtime_cri.conftest import UID, Node

pytestmark = pytest.mark.root


async def test_container_runs_and_its_end_is_seen(node: Node) -> None:
    container_id = await node.run("sh", "-c", "echo hello; exit 3")
    status = await node.ended(container_id)
    assert (status.exit_code, status.reason, status.name, status.attempt) == (3, "Error", "main", 0)
    assert status.created_at <= status.started_at <= status.finished_at
    assert status.labels["io.kubernetes.pod.uid"] == UID
    assert node.output() == ["hello"]
    sandboxes, containers = await node.runtime.list_sandboxes(), await node.runtime.list_containers()
    assert [(s.id, s.uid, s.state) for s in sandboxes] == [(node.sandbox_id, UID, SandboxState.READY)]
    assert [(c.id, c.sandbox_id, c.state) for c in containers] == [
        (container_id, node.sandbox_id, ContainerState.EXITED)
    ]
