"""What people type: the real kubectl against the whole server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from kubeedge.apiserver.app import ApiServer
from kubeedge.kube import kinds
from tests.apiserver.controllers.cluster import Cluster, until, workload

KUBECTL = Path(sys.executable).parent / "kubectl"
COMMAND_TIMEOUT_S = 30

Kubectl = Callable[..., Awaitable[str]]


@pytest.fixture
async def cluster(apiserver: ApiServer) -> AsyncIterator[Cluster]:
    async with asyncio.TaskGroup() as tasks:
        ready: asyncio.Future[Cluster] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            async with asyncio.TaskGroup() as inner:
                ready.set_result(Cluster(apiserver.api, inner))
                await asyncio.Event().wait()

        holding = tasks.create_task(hold())
        made = await ready
        await made.add_node("n1")
        await made.add_node("n2")
        yield made
        holding.cancel()


@pytest.fixture
def kubectl(apiserver: ApiServer, tmp_path: Path) -> Kubectl:
    """Run kubectl; returns what it wrote, fails the test when it fails."""

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(KUBECTL),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"KUBECONFIG": str(apiserver.kubeconfig), "HOME": str(tmp_path)},
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    return run


async def test_deployment_is_rolled_out_scaled_undone_and_deleted(cluster: Cluster, kubectl: Kubectl) -> None:
    await cluster.create(kinds.DEPLOYMENT, workload("web", replicas=2))
    status = ("rollout", "status", "deployment/web", "--timeout=20s")
    assert 'deployment "web" successfully rolled out' in await kubectl(*status)
    await kubectl("scale", "deployment/web", "--replicas=4")
    await kubectl("set", "image", "deployment/web", "c=busybox:2")
    assert "successfully rolled out" in await kubectl(*status)
    history = await kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
    assert "rolled back" in await kubectl("rollout", "undo", "deployment/web")
    assert "successfully rolled out" in await kubectl(*status)
    images = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["busybox:1"] * 4
    described = await kubectl("describe", "deployment", "web")
    assert "Replicas:               4 desired | 4 updated | 4 total | 4 available | 0 unavailable" in described
    assert "ScalingReplicaSet" in described
    await kubectl("rollout", "restart", "deployment/web")
    assert "successfully rolled out" in await kubectl(*status)
    await kubectl("delete", "deployment", "web", "--cascade=foreground", "--wait=true", "--timeout=20s")
    assert "No resources found" in await kubectl("get", "replicasets,pods")


async def test_cascade_orphan_leaves_the_pods(cluster: Cluster, kubectl: Kubectl) -> None:
    await cluster.create(kinds.DEPLOYMENT, workload("web", replicas=1))
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    await kubectl("delete", "deployment", "web", "--cascade=orphan", "--timeout=20s")
    (replica_set,) = await cluster.list(kinds.REPLICA_SET)
    assert not replica_set["metadata"].get("ownerReferences")
    assert len(await cluster.list(kinds.POD)) == 1


async def test_drained_node_is_empty_and_takes_pods_again_afterwards(cluster: Cluster, kubectl: Kubectl) -> None:
    await cluster.create(kinds.DEPLOYMENT, workload("web", replicas=4))
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    drained = await kubectl("drain", "n1", "--timeout=20s")
    assert "node/n1 drained" in drained

    async def on_n2() -> bool:
        pods = [pod for pod in await cluster.list(kinds.POD) if "deletionTimestamp" not in pod["metadata"]]
        return [pod["spec"].get("nodeName") for pod in pods] == ["n2"] * 4

    await until(on_n2)
    await kubectl("uncordon", "n1")

    async def free() -> bool:
        node = await cluster.get(kinds.NODE, "n1")
        return node is not None and not node["spec"].get("taints")

    await until(free)


async def test_daemon_set_has_a_history(cluster: Cluster, kubectl: Kubectl) -> None:
    await cluster.create(kinds.DAEMON_SET, workload("ds"))
    status = ("rollout", "status", "daemonset/ds", "--timeout=20s")
    assert 'daemon set "ds" successfully rolled out' in await kubectl(*status)
    await kubectl("set", "image", "daemonset/ds", "c=busybox:2")
    await kubectl(*status)
    assert "busybox:1" in await kubectl("rollout", "history", "daemonset/ds", "--revision=1")
    await kubectl("rollout", "undo", "daemonset/ds")
    await kubectl(*status)
    images = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["busybox:1"] * 2


async def test_namespace_is_made_used_and_deleted(cluster: Cluster, kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "x")
    await kubectl("-n", "x", "create", "deployment", "web", "--image=busybox", "--replicas=2")
    await kubectl("-n", "x", "wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    await kubectl("delete", "namespace", "x", "--timeout=20s")
    assert await cluster.list(kinds.POD, "x") == []
    assert await cluster.list(kinds.EVENT, "x") == []


async def test_pod_that_fits_nowhere_tells_why(cluster: Cluster, kubectl: Kubectl) -> None:
    overrides = orjson.dumps({"spec": {"nodeSelector": {"a": "b"}}}).decode()
    await kubectl("run", "picky", "--image=busybox", f"--overrides={overrides}")
    await kubectl("wait", "--for=jsonpath={.status.conditions[0].reason}=Unschedulable", "pod/picky", "--timeout=20s")

    async def told() -> bool:
        return "FailedScheduling  " in await kubectl("describe", "pod", "picky")

    await until(told)
    await kubectl("label", "node", "n2", "a=b")
    await kubectl("wait", "--for=condition=Ready", "pod/picky", "--timeout=20s")
    assert await kubectl("get", "pod", "picky", "-o", "jsonpath={.spec.nodeName}") == "n2"
