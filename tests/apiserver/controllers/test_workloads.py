"""Deployments, ReplicaSets and DaemonSets against the real engine, with nodes whose pods run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kubeedge.apiserver.controllers import Controllers
from kubeedge.apiserver.controllers.revisions import HASH_LABEL
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube import kinds
from tests.apiserver.controllers.cluster import Cluster, pod_template, until, workload


@pytest.fixture
async def nodes(cluster: Cluster) -> Cluster:
    await cluster.add_node("n1")
    await cluster.add_node("n2")
    return cluster


async def condition(cluster: Cluster, name: str, type_: str) -> dict[str, Any]:
    deployment = await cluster.get(kinds.DEPLOYMENT, name)
    assert deployment is not None
    found: list[dict[str, Any]] = deployment["status"].get("conditions", [])
    return next((entry for entry in found if entry["type"] == type_), {})


async def rolled_out(cluster: Cluster, name: str, replicas: int) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        deployment = await cluster.get(kinds.DEPLOYMENT, name)
        assert deployment is not None
        status = deployment["status"]
        done = (
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == replicas
            and status.get("replicas", 0) == replicas
            and status.get("availableReplicas", 0) == replicas
        )
        return deployment if done else None

    found: dict[str, Any] = await until(look)
    return found


async def test_deployment_rolls_out_and_says_so_in_the_words_of_kubernetes(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=3))
    deployment = await rolled_out(nodes, "web", 3)
    (replica_set,) = await nodes.list(kinds.REPLICA_SET)
    name = replica_set["metadata"]["name"]
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert replica_set["metadata"]["annotations"] == {
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
        "deployment.kubernetes.io/revision": "1",
    }
    assert replica_set["spec"]["selector"]["matchLabels"].keys() == {"app", HASH_LABEL}
    assert replica_set["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web",
            "uid": deployment["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]

    async def complete() -> bool:
        return (await condition(nodes, "web", "Progressing")).get("reason") == "NewReplicaSetAvailable"

    await until(complete)
    progressing = await condition(nodes, "web", "Progressing")
    assert progressing["message"] == f'ReplicaSet "{name}" has successfully progressed.'
    available = await condition(nodes, "web", "Available")
    assert (available["reason"], available["message"]) == (
        "MinimumReplicasAvailable",
        "Deployment has minimum availability.",
    )
    messages = [event["message"] for event in await nodes.told("ScalingReplicaSet")]
    assert messages == [f"Scaled up replica set {name} from 0 to 3"]
    created = sorted(event["message"] for event in await nodes.told("SuccessfulCreate", 3))
    assert created == sorted(f"Created pod: {pod['metadata']['name']}" for pod in await nodes.list(kinds.POD))


async def test_deployment_without_nodes_waits_with_the_status_of_a_real_cluster(cluster: Cluster) -> None:
    await cluster.create(kinds.DEPLOYMENT, workload("d", replicas=2))

    async def pods_wait() -> bool:
        return (await condition(cluster, "d", "Progressing")).get("reason") == "ReplicaSetUpdated"

    await until(pods_wait)
    deployment = await cluster.get(kinds.DEPLOYMENT, "d")
    assert deployment is not None
    (replica_set,) = await cluster.list(kinds.REPLICA_SET)
    assert {key: value for key, value in deployment["status"].items() if key != "conditions"} == {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "unavailableReplicas": 2,
        "terminatingReplicas": 0,
    }
    assert replica_set["status"] == {
        "replicas": 2,
        "fullyLabeledReplicas": 2,
        "terminatingReplicas": 0,
        "observedGeneration": 1,
    }
    for pod in await cluster.list(kinds.POD):
        (scheduled,) = pod["status"]["conditions"]
        assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
        assert scheduled["message"] == "no nodes available to schedule pods"


async def test_pods_of_a_deployment_are_spread_over_nodes(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=6))
    await rolled_out(nodes, "web", 6)
    where = [pod["spec"]["nodeName"] for pod in await nodes.list(kinds.POD)]
    assert sorted(where) == ["n1"] * 3 + ["n2"] * 3


async def test_new_image_replaces_all_pods_and_undo_brings_the_old_set_back(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=4))
    await rolled_out(nodes, "web", 4)
    (first,) = await nodes.list(kinds.REPLICA_SET)
    await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": pod_template("web", "busybox:2")}})
    await rolled_out(nodes, "web", 4)
    images = {pod["spec"]["containers"][0]["image"] for pod in await nodes.list(kinds.POD)}
    assert images == {"busybox:2"}
    await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": pod_template("web", "busybox:1")}})
    deployment = await rolled_out(nodes, "web", 4)
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    again = await nodes.get(kinds.REPLICA_SET, first["metadata"]["name"])
    assert again is not None
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert len(await nodes.list(kinds.REPLICA_SET)) == 2


async def test_old_sets_beyond_the_history_limit_are_deleted(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=1, revisionHistoryLimit=1))
    for number in range(2, 5):
        await rolled_out(nodes, "web", 1)
        image = f"busybox:{number}"
        await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": pod_template("web", image)}})

    async def few_left() -> bool:
        sets = await nodes.list(kinds.REPLICA_SET)
        revisions = sorted(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for found in sets)
        return revisions == ["3", "4"]

    await until(few_left)


async def test_recreate_waits_for_the_old_pods_to_be_gone(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=2, strategy={"type": "Recreate"}))
    await rolled_out(nodes, "web", 2)
    nodes.silent |= {"n1", "n2"}
    await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": pod_template("web", "busybox:2")}})

    async def all_terminating() -> bool:
        return all("deletionTimestamp" in pod["metadata"] for pod in await nodes.list(kinds.POD))

    await until(all_terminating)
    assert len(await nodes.list(kinds.POD)) == 2
    for pod in await nodes.list(kinds.POD):
        await nodes.delete(kinds.POD, pod["metadata"]["name"], gracePeriodSeconds=0)
    nodes.silent.clear()
    await rolled_out(nodes, "web", 2)
    images = {pod["spec"]["containers"][0]["image"] for pod in await nodes.list(kinds.POD)}
    assert images == {"busybox:2"}


async def test_paused_deployment_scales_but_does_not_roll_out(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=2))
    await rolled_out(nodes, "web", 2)
    await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"paused": True}})

    async def paused() -> bool:
        return (await condition(nodes, "web", "Progressing")).get("reason") == "DeploymentPaused"

    await until(paused)
    template = pod_template("web", "busybox:2")
    await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": template, "replicas": 3}})

    async def scaled() -> bool:
        pods = await nodes.list(kinds.POD)
        return len(pods) == 3 and {pod["spec"]["containers"][0]["image"] for pod in pods} == {"busybox:1"}

    await until(scaled)
    await nodes.patch(kinds.DEPLOYMENT, "web", {"spec": {"paused": False}})
    await rolled_out(nodes, "web", 3)
    images = {pod["spec"]["containers"][0]["image"] for pod in await nodes.list(kinds.POD)}
    assert images == {"busybox:2"}


async def test_rollout_that_stands_still_exceeds_its_deadline(nodes: Cluster) -> None:
    nodes.unready |= {"n1", "n2"}
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=1, progressDeadlineSeconds=1))

    async def timed_out() -> bool:
        return (await condition(nodes, "web", "Progressing")).get("reason") == "ProgressDeadlineExceeded"

    await until(timed_out)
    progressing = await condition(nodes, "web", "Progressing")
    assert progressing["status"] == "False"
    assert progressing["message"].endswith("has timed out progressing.")


async def test_deployment_goes_on_after_min_ready_seconds(nodes: Cluster) -> None:
    await nodes.create(kinds.DEPLOYMENT, workload("web", replicas=1, minReadySeconds=1))

    async def ready() -> bool:
        deployment = await nodes.get(kinds.DEPLOYMENT, "web")
        return deployment is not None and deployment["status"].get("readyReplicas") == 1

    await until(ready)
    deployment = await nodes.get(kinds.DEPLOYMENT, "web")
    assert deployment is not None
    assert "availableReplicas" not in deployment["status"]
    await rolled_out(nodes, "web", 1)


async def test_deleted_pod_is_replaced_by_one_other(nodes: Cluster) -> None:
    await nodes.create(kinds.REPLICA_SET, workload("rs", replicas=3))

    async def three() -> list[dict[str, Any]]:
        pods = await nodes.list(kinds.POD)
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        return running if len(running) == len(pods) == 3 else []

    before = {pod["metadata"]["name"] for pod in await until(three)}
    victim = min(before)
    await nodes.delete(kinds.POD, victim)

    async def replaced() -> bool:
        pods = {pod["metadata"]["name"] for pod in await three()}
        return bool(pods) and victim not in pods

    await until(replaced)
    assert len(before & {pod["metadata"]["name"] for pod in await nodes.list(kinds.POD)}) == 2


async def test_replica_set_makes_exactly_as_many_pods_as_asked(cluster: Cluster) -> None:
    await cluster.create(kinds.REPLICA_SET, workload("rs", replicas=60))

    async def reported() -> bool:
        replica_set = await cluster.get(kinds.REPLICA_SET, "rs")
        return replica_set is not None and replica_set["status"].get("replicas") == 60

    await until(reported)
    assert len(await cluster.list(kinds.POD)) == 60
    await cluster.patch(kinds.REPLICA_SET, "rs", {"spec": {"replicas": 5}})

    async def shrunk() -> bool:
        return len(await cluster.list(kinds.POD)) == 5

    await until(shrunk)


async def test_replica_set_adopts_orphans_and_releases_what_it_no_longer_selects(cluster: Cluster) -> None:
    await cluster.create(
        kinds.POD,
        {"metadata": {"name": "orphan", **pod_template("rs")["metadata"]}, "spec": pod_template("rs")["spec"]},
    )
    await cluster.create(kinds.REPLICA_SET, workload("rs", replicas=2))

    async def two() -> bool:
        replica_set = await cluster.get(kinds.REPLICA_SET, "rs")
        return replica_set is not None and replica_set["status"].get("replicas") == 2

    await until(two)
    assert len(await cluster.list(kinds.POD)) == 2
    orphan = await cluster.get(kinds.POD, "orphan")
    assert orphan is not None
    assert orphan["metadata"]["ownerReferences"][0]["name"] == "rs"
    await cluster.patch(kinds.POD, "orphan", {"metadata": {"labels": {"app": "other"}}})

    async def released() -> bool:
        pod = await cluster.get(kinds.POD, "orphan")
        return pod is not None and not pod["metadata"].get("ownerReferences")

    await until(released)

    async def replaced() -> bool:
        return len(await cluster.list(kinds.POD, selector="app=rs")) == 2

    await until(replaced)


async def test_refused_pods_show_in_status_and_events(cluster: Cluster) -> None:
    body = workload("rs", replicas=2)
    body["spec"]["template"]["spec"]["serviceAccountName"] = "absent"
    await cluster.create(kinds.DEPLOYMENT, body)

    async def failed() -> bool:
        return (await condition(cluster, "rs", "ReplicaFailure")).get("reason") == "FailedCreate"

    await until(failed)
    failure = await condition(cluster, "rs", "ReplicaFailure")
    assert "error looking up service account default/absent" in failure["message"]
    (event,) = await cluster.told("FailedCreate")
    assert event["type"] == "Warning"
    assert event["message"].startswith("Error creating: pods ")


async def test_daemon_set_runs_on_every_node_also_on_new_ones_and_cordoned_ones(nodes: Cluster) -> None:
    await nodes.create(kinds.DAEMON_SET, workload("ds"))

    async def on(*names: str) -> bool:
        daemon_set = await nodes.get(kinds.DAEMON_SET, "ds")
        where = sorted(pod["spec"].get("nodeName", "") for pod in await nodes.list(kinds.POD))
        return (
            daemon_set is not None
            and where == list(names)
            and daemon_set["status"].get("numberAvailable", 0) == len(names)
        )

    await until(lambda: on("n1", "n2"))
    await nodes.add_node("n3")
    await nodes.patch(kinds.NODE, "n3", {"spec": {"unschedulable": True}})
    await until(lambda: on("n1", "n2", "n3"))
    daemon_set = await nodes.get(kinds.DAEMON_SET, "ds")
    assert daemon_set is not None
    assert daemon_set["status"] == {
        "currentNumberScheduled": 3,
        "desiredNumberScheduled": 3,
        "numberAvailable": 3,
        "numberMisscheduled": 0,
        "numberReady": 3,
        "observedGeneration": 1,
        "updatedNumberScheduled": 3,
    }
    await nodes.patch(kinds.NODE, "n3", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
    await until(lambda: on("n1", "n2"))


async def test_daemon_set_follows_its_node_selector_and_a_new_template(nodes: Cluster) -> None:
    body = workload("ds")
    body["spec"]["template"]["spec"]["nodeSelector"] = {"zone": "a"}
    await nodes.create(kinds.DAEMON_SET, body)
    await nodes.patch(kinds.NODE, "n2", {"metadata": {"labels": {"zone": "a"}}})

    async def runs(image: str) -> bool:
        pods = await nodes.list(kinds.POD)
        return [(p["spec"].get("nodeName"), p["spec"]["containers"][0]["image"]) for p in pods] == [("n2", image)]

    await until(lambda: runs("busybox:1"))
    await nodes.patch(
        kinds.DAEMON_SET, "ds", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "busybox:2"}]}}}}
    )
    await until(lambda: runs("busybox:2"))
    revisions = await nodes.list(kinds.CONTROLLER_REVISION)
    assert sorted(found["revision"] for found in revisions) == [1, 2]


async def test_daemon_set_replaces_failed_pods(nodes: Cluster) -> None:
    await nodes.create(kinds.DAEMON_SET, workload("ds"))

    async def running() -> list[dict[str, Any]]:
        pods = await nodes.list(kinds.POD)
        return pods if [pod["status"].get("phase") for pod in pods] == ["Running", "Running"] else []

    failed = (await until(running))[0]["metadata"]["name"]
    await nodes.patch(kinds.POD, failed, {"status": {"phase": "Failed"}}, "default", "status")

    async def replaced() -> bool:
        names = [pod["metadata"]["name"] for pod in await running()]
        return bool(names) and failed not in names

    await until(replaced)
    (event,) = await nodes.told("FailedDaemonPod")
    assert event["message"].startswith(f"Found failed daemon pod default/{failed} on node n")


async def test_name_that_is_taken_by_another_set_leads_to_another_hash(nodes: Cluster) -> None:
    body = workload("web", replicas=1)
    await nodes.create(kinds.DEPLOYMENT, body)
    await rolled_out(nodes, "web", 1)
    (first,) = await nodes.list(kinds.REPLICA_SET)
    name = first["metadata"]["name"]
    await nodes.delete(kinds.DEPLOYMENT, "web", propagationPolicy="Background")

    async def gone() -> bool:
        return not await nodes.list(kinds.REPLICA_SET)

    await until(gone)
    await nodes.create(kinds.REPLICA_SET, {**workload("other", replicas=0), "metadata": {"name": name}})
    await nodes.create(kinds.DEPLOYMENT, body)
    deployment = await rolled_out(nodes, "web", 1)
    assert deployment["status"]["collisionCount"] == 1
    names = {found["metadata"]["name"] for found in await nodes.list(kinds.REPLICA_SET)}
    assert len(names) == 2
    assert name in names


async def test_restarted_controllers_go_on_where_the_others_stopped(api: LocalApi) -> None:
    async def run(until_: Callable[[Cluster], Awaitable[bool]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(Controllers(api, ca_pem=b"x").run())
            cluster = Cluster(api, tasks)
            await until(lambda: until_(cluster))
            running.cancel()

    async def has_account(cluster: Cluster) -> bool:
        return await cluster.get(kinds.SERVICE_ACCOUNT, "default") is not None

    async def count(cluster: Cluster, wanted: int) -> bool:
        replica_set = await cluster.get(kinds.REPLICA_SET, "rs")
        assert replica_set is not None
        return replica_set["status"].get("replicas") == wanted == len(await cluster.list(kinds.POD))

    await run(has_account)
    async with asyncio.TaskGroup() as tasks:
        cluster = Cluster(api, tasks)
        await cluster.create(kinds.REPLICA_SET, workload("rs", replicas=7))
    await run(lambda cluster: count(cluster, 7))
    await cluster.patch(kinds.REPLICA_SET, "rs", {"spec": {"replicas": 3}})
    await run(lambda cluster: count(cluster, 3))
