"""Nodes, namespaces, service accounts, garbage, endpoints and events against the real engine."""

from __future__ import annotations

from typing import Any

import pytest

from kubeedge.kube import kinds
from kubeedge.kube.api import ApiError, ApiUnavailableError, Kind
from tests.apiserver.controllers.cluster import Cluster, until, workload

UNREACHABLE = "node.kubernetes.io/unreachable"


async def ready(cluster: Cluster, name: str) -> str:
    node = await cluster.get(kinds.NODE, name)
    assert node is not None
    found = [entry for entry in node["status"].get("conditions", []) if entry["type"] == "Ready"]
    return str(found[0]["status"]) if found else ""


async def taints(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    node = await cluster.get(kinds.NODE, name)
    assert node is not None
    return sorted((taint["key"], taint["effect"]) for taint in node["spec"].get("taints", []))


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "b"}], **spec}}


async def phase(cluster: Cluster, name: str) -> str:
    found = await cluster.get(kinds.POD, name)
    return str(found["status"]["phase"]) if found is not None else ""


# Nodes


async def test_new_node_loses_its_first_taint_when_it_is_ready(cluster: Cluster) -> None:
    made = await cluster.create(kinds.NODE, {"metadata": {"name": "n1"}})
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    await cluster.beat("n1")

    async def free() -> bool:
        return await taints(cluster, "n1") == []

    await until(free)

    (event,) = await cluster.told("RegisteredNode")
    assert event["message"] == "Node n1 event: Registered Node n1 in Controller"
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


async def test_silent_node_is_marked_tainted_and_emptied_and_recovers(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    seconds = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]
    await cluster.create(kinds.POD, pod("leaves", tolerations=seconds))
    await cluster.create(kinds.POD, pod("stays", tolerations=[{"operator": "Exists"}]))

    async def running() -> bool:
        return [await phase(cluster, name) for name in ("leaves", "stays")] == ["Running", "Running"]

    await until(running)
    cluster.silent.add("n1")

    async def unknown() -> bool:
        return await ready(cluster, "n1") == "Unknown"

    await until(unknown)
    node = await cluster.get(kinds.NODE, "n1")
    assert node is not None
    for entry in node["status"]["conditions"]:
        assert (entry["status"], entry["reason"], entry["message"]) == (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        )

    async def tainted() -> bool:
        return await taints(cluster, "n1") == [(UNREACHABLE, "NoExecute"), (UNREACHABLE, "NoSchedule")]

    await until(tainted)

    async def not_ready() -> bool:
        found = await cluster.get(kinds.POD, "stays")
        conditions = found["status"]["conditions"] if found is not None else []
        return any(entry["type"] == "Ready" and entry["status"] == "False" for entry in conditions)

    await until(not_ready)

    async def leaving() -> dict[str, Any] | None:
        found = await cluster.get(kinds.POD, "leaves")
        return found if found is not None and "deletionTimestamp" in found["metadata"] else None

    leaves = await until(leaving)
    assert [entry["reason"] for entry in leaves["status"]["conditions"] if entry["type"] == "DisruptionTarget"] == [
        "DeletionByTaintManager"
    ]
    stays = await cluster.get(kinds.POD, "stays")
    assert stays is not None
    assert "deletionTimestamp" not in stays["metadata"]
    cluster.silent.clear()

    async def recovered() -> bool:
        return await taints(cluster, "n1") == [] and await ready(cluster, "n1") == "True"

    await until(recovered)
    assert {event["type"] for event in await cluster.told("NodeNotReady", 3)} == {"Normal", "Warning"}
    assert await cluster.told("TaintManagerEviction")


async def test_pod_that_is_reported_ready_before_its_node_stays_ready(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    await cluster.create(kinds.POD, pod("p", tolerations=[{"operator": "Exists"}]))

    async def is_ready(wanted: str) -> bool:
        found = await cluster.get(kinds.POD, "p")
        conditions = found["status"].get("conditions", []) if found is not None else []
        return any(entry["type"] == "Ready" and entry["status"] == wanted for entry in conditions)

    await until(lambda: is_ready("True"))
    cluster.silent.add("n1")
    await until(lambda: is_ready("False"))
    reported = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await cluster.patch(kinds.POD, "p", reported, "default", "status")
    await cluster.patch(kinds.NODE, "n1", {"metadata": {"annotations": {"cloudcore": "192.0.2.1"}}})

    async def seen() -> bool:
        return await taints(cluster, "n1") == [(UNREACHABLE, "NoExecute"), (UNREACHABLE, "NoSchedule")]

    await until(seen)
    cluster.silent.clear()

    async def free() -> bool:
        return await taints(cluster, "n1") == []

    await until(free)
    assert await is_ready("True")


async def test_pressure_and_cordon_become_taints_and_go_again(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    pressure = {"status": {"conditions": [{"type": "MemoryPressure", "status": "True"}]}}
    await cluster.patch(kinds.NODE, "n1", pressure, subresource="status")
    await cluster.patch(kinds.NODE, "n1", {"spec": {"unschedulable": True}})
    wanted = [
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]

    async def tainted() -> bool:
        return await taints(cluster, "n1") == wanted

    await until(tainted)
    pressure["status"]["conditions"][0]["status"] = "False"
    await cluster.patch(kinds.NODE, "n1", pressure, subresource="status")
    await cluster.patch(kinds.NODE, "n1", {"spec": {"unschedulable": None}})

    async def free() -> bool:
        return await taints(cluster, "n1") == []

    await until(free)


async def test_pods_of_a_deleted_node_are_removed_after_a_while(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    await cluster.create(kinds.POD, pod("p"))

    async def running() -> bool:
        return await phase(cluster, "p") == "Running"

    await until(running)
    cluster.silent.add("n1")
    await cluster.delete(kinds.NODE, "n1")

    async def gone() -> bool:
        return await cluster.get(kinds.POD, "p") is None

    await until(gone)


# Scheduling


async def test_pod_waits_until_a_node_fits_and_says_why(cluster: Cluster) -> None:
    await cluster.add_node("n1", cpu="1")

    async def free() -> bool:
        return await taints(cluster, "n1") == []

    await until(free)
    requests = {"resources": {"requests": {"cpu": "2"}}, "name": "c", "image": "b"}
    await cluster.create(kinds.POD, pod("big", containers=[requests]))
    await cluster.create(kinds.POD, pod("picky", nodeSelector={"disk": "fast"}))

    async def messages() -> list[str]:
        events = await cluster.events("FailedScheduling")
        return sorted({event["message"] for event in events}) if len(events) == 2 else []

    preemption = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    assert await until(messages) == [
        f"0/1 nodes are available: 1 Insufficient cpu. {preemption}",
        f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {preemption}",
    ]
    picky = await cluster.get(kinds.POD, "picky")
    assert picky is not None
    assert picky["status"]["conditions"][0]["reason"] == "Unschedulable"
    await cluster.add_node("n2", cpu="4", disk="fast")

    async def placed() -> bool:
        found = [await cluster.get(kinds.POD, name) for name in ("big", "picky")]
        return all(entry is not None and entry["spec"].get("nodeName") == "n2" for entry in found)

    await until(placed)
    scheduled = sorted(event["message"] for event in await cluster.told("Scheduled", 2))
    assert scheduled == [f"Successfully assigned default/{name} to n2" for name in ("big", "picky")]


async def test_last_place_of_a_node_is_taken_once_and_given_again_when_free(cluster: Cluster) -> None:
    await cluster.add_node("n1", pods="2")
    for index in range(4):
        await cluster.create(kinds.POD, pod(f"p{index}"))

    async def bound() -> list[str]:
        pods = await cluster.list(kinds.POD)
        return [found["metadata"]["name"] for found in pods if found["spec"].get("nodeName")]

    async def two() -> list[str]:
        names = await bound()
        waiting = await cluster.events("FailedScheduling")
        return names if len(names) == 2 and len(waiting) >= 2 else []

    first, _ = await until(two)
    await cluster.delete(kinds.POD, first, gracePeriodSeconds=0)

    async def refilled() -> bool:
        names = await bound()
        return len(names) == 2 and first not in names

    await until(refilled)


async def test_higher_priority_goes_first(cluster: Cluster) -> None:
    priority_class = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
    await cluster.create(priority_class, {"metadata": {"name": "high"}, "value": 1000})
    await cluster.create(kinds.POD, pod("low"))
    await cluster.create(kinds.POD, pod("high", priorityClassName="high"))
    await cluster.add_node("n1", pods="1")

    async def bound() -> list[str]:
        pods = await cluster.list(kinds.POD)
        return [found["metadata"]["name"] for found in pods if found["spec"].get("nodeName")]

    assert await until(bound) == ["high"]


# Namespaces, accounts


async def test_every_namespace_has_its_account_and_root_ca_and_gets_them_back(cluster: Cluster) -> None:
    await cluster.create(kinds.NAMESPACE, {"metadata": {"name": "new"}})

    async def both() -> bool:
        account = await cluster.get(kinds.SERVICE_ACCOUNT, "default", "new")
        root = await cluster.get(kinds.CONFIG_MAP, "kube-root-ca.crt", "new")
        return account is not None and root is not None and root["data"]["ca.crt"].startswith("-----BEGIN")

    await until(both)
    await cluster.delete(kinds.SERVICE_ACCOUNT, "default", "new")
    await cluster.patch(kinds.CONFIG_MAP, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, "new")
    await until(both)


async def test_deleted_namespace_is_emptied_first(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    await cluster.create(kinds.NAMESPACE, {"metadata": {"name": "x"}})

    async def account() -> bool:
        return await cluster.get(kinds.SERVICE_ACCOUNT, "default", "x") is not None

    await until(account)
    await cluster.create(kinds.DEPLOYMENT, workload("web", replicas=3), "x")
    kept = {"metadata": {"name": "kept", "finalizers": ["example.com/hold"]}}
    await cluster.create(kinds.CONFIG_MAP, kept, "x")

    async def running() -> bool:
        pods = await cluster.list(kinds.POD, "x")
        return len(pods) == 3 and all(found["status"].get("phase") == "Running" for found in pods)

    await until(running)
    await cluster.delete(kinds.NAMESPACE, "x")

    async def held() -> list[dict[str, Any]]:
        namespace = await cluster.get(kinds.NAMESPACE, "x")
        assert namespace is not None
        conditions = {entry["type"]: entry for entry in namespace["status"].get("conditions", [])}
        remaining = conditions.get("NamespaceContentRemaining", {}).get("message", "")
        return (
            list(conditions.values()) if remaining.endswith("remaining: configmaps. has 1 resource instances") else []
        )

    conditions = {entry["type"]: entry for entry in await until(held)}
    assert conditions["NamespaceFinalizersRemaining"]["message"] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    assert conditions["NamespaceDeletionContentFailure"]["status"] == "False"
    with pytest.raises(ApiError) as refused:
        await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "late"}}, "x")
    assert refused.value.code == 403
    await cluster.patch(kinds.CONFIG_MAP, "kept", {"metadata": {"finalizers": None}}, "x")

    async def gone() -> bool:
        return await cluster.get(kinds.NAMESPACE, "x") is None

    await until(gone)


# Garbage


async def owned_config_map(cluster: Cluster, name: str, owner: dict[str, Any], **more: Any) -> None:
    meta = owner["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": meta["name"], "uid": meta["uid"], **more}
    await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": name, "ownerReferences": [reference]}})


async def config_maps(cluster: Cluster) -> list[str]:
    found = await cluster.list(kinds.CONFIG_MAP, "default")
    return [entry["metadata"]["name"] for entry in found if entry["metadata"]["name"] != "kube-root-ca.crt"]


async def test_dependents_follow_their_owner_in_the_background(cluster: Cluster) -> None:
    owner = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "owner"}})
    await owned_config_map(cluster, "child", owner)
    await cluster.delete(kinds.CONFIG_MAP, "owner")

    async def gone() -> bool:
        return await config_maps(cluster) == []

    await until(gone)


async def test_foreground_deletion_waits_for_what_blocks_it(cluster: Cluster) -> None:
    owner = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "owner"}})
    await owned_config_map(cluster, "child", owner, blockOwnerDeletion=True)
    await cluster.patch(kinds.CONFIG_MAP, "child", {"metadata": {"finalizers": ["example.com/hold"]}})
    await cluster.delete(kinds.CONFIG_MAP, "owner", propagationPolicy="Foreground")

    async def child_ends() -> bool:
        child = await cluster.get(kinds.CONFIG_MAP, "child")
        return child is not None and "deletionTimestamp" in child["metadata"]

    await until(child_ends)
    assert sorted(await config_maps(cluster)) == ["child", "owner"]
    await cluster.patch(kinds.CONFIG_MAP, "child", {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        return await config_maps(cluster) == []

    await until(gone)


async def test_orphans_stay_without_their_reference(cluster: Cluster) -> None:
    owner = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "owner"}})
    await owned_config_map(cluster, "child", owner)
    await cluster.delete(kinds.CONFIG_MAP, "owner", propagationPolicy="Orphan")

    async def alone() -> bool:
        return await config_maps(cluster) == ["child"]

    await until(alone)
    child = await cluster.get(kinds.CONFIG_MAP, "child")
    assert child is not None
    assert not child["metadata"].get("ownerReferences")


async def test_object_made_for_an_owner_that_never_was_goes(cluster: Cluster) -> None:
    await owned_config_map(cluster, "child", {"metadata": {"name": "never", "uid": "no-such-uid"}})

    async def gone() -> bool:
        return await config_maps(cluster) == []

    await until(gone)


async def test_one_living_owner_keeps_an_object_and_the_dead_one_is_cut(cluster: Cluster) -> None:
    owner = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "owner"}})
    meta = owner["metadata"]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": meta["name"], "uid": meta["uid"]},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "no-such-uid"},
    ]
    await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "child", "ownerReferences": references}})

    async def cut() -> bool:
        child = await cluster.get(kinds.CONFIG_MAP, "child")
        assert child is not None
        return child["metadata"]["ownerReferences"] == references[:1]

    await until(cut)


async def test_objects_that_own_each_other_can_be_deleted_in_the_foreground(cluster: Cluster) -> None:
    one = await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "one"}})
    await owned_config_map(cluster, "two", one, blockOwnerDeletion=True)
    two = await cluster.get(kinds.CONFIG_MAP, "two")
    assert two is not None
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "two", "uid": two["metadata"]["uid"]}
    reference["blockOwnerDeletion"] = True
    await cluster.patch(kinds.CONFIG_MAP, "one", {"metadata": {"ownerReferences": [reference]}})
    await cluster.delete(kinds.CONFIG_MAP, "one", propagationPolicy="Foreground")

    async def gone() -> bool:
        return await config_maps(cluster) == []

    await until(gone)


async def test_deployment_goes_in_the_foreground_after_its_sets_and_pods(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    await cluster.create(kinds.DEPLOYMENT, workload("web", replicas=2))

    async def running() -> bool:
        pods = await cluster.list(kinds.POD)
        return len(pods) == 2 and all(found["status"].get("phase") == "Running" for found in pods)

    await until(running)
    await cluster.delete(kinds.DEPLOYMENT, "web", propagationPolicy="Foreground")

    async def gone() -> bool:
        return await cluster.get(kinds.DEPLOYMENT, "web") is None

    await until(gone)
    assert await cluster.list(kinds.REPLICA_SET) == []
    assert await cluster.list(kinds.POD) == []


async def test_deleted_claim_stays_while_a_pod_uses_it(cluster: Cluster) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await cluster.create(kinds.PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "c"}, "spec": spec})
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    await cluster.create(kinds.POD, pod("p", volumes=volumes))
    await cluster.delete(kinds.PERSISTENT_VOLUME_CLAIM, "c")
    assert await cluster.get(kinds.PERSISTENT_VOLUME_CLAIM, "c") is not None
    await cluster.delete(kinds.POD, "p")

    async def gone() -> bool:
        return await cluster.get(kinds.PERSISTENT_VOLUME_CLAIM, "c") is None

    await until(gone)


# Endpoints


async def test_service_finds_its_pods_by_selector_and_named_port(cluster: Cluster) -> None:
    await cluster.add_node("n1")
    body = workload("web", replicas=2)
    body["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
    await cluster.create(kinds.DEPLOYMENT, body)
    service = {"selector": {"app": "web"}, "ports": [{"name": "main", "port": 80, "targetPort": "http"}]}
    await cluster.create(kinds.SERVICE, {"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": service})

    async def both() -> list[dict[str, Any]]:
        endpoints = await cluster.get(kinds.ENDPOINTS, "web")
        subsets: list[dict[str, Any]] = (endpoints or {}).get("subsets") or []
        return subsets if subsets and len(subsets[0].get("addresses", [])) == 2 else []

    (subset,) = await until(both)
    assert subset["ports"] == [{"name": "main", "port": 8080, "protocol": "TCP"}]
    assert {address["targetRef"]["kind"] for address in subset["addresses"]} == {"Pod"}

    async def in_slice() -> bool:
        (found,) = await cluster.list(kinds.ENDPOINT_SLICE)
        return len(found["endpoints"] or []) == 2 and all(e["conditions"]["ready"] for e in found["endpoints"])

    await until(in_slice)
    await cluster.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 0}})

    async def empty() -> bool:
        endpoints = await cluster.get(kinds.ENDPOINTS, "web")
        (found,) = await cluster.list(kinds.ENDPOINT_SLICE)
        return endpoints is not None and not endpoints.get("subsets") and not found["endpoints"]

    await until(empty)
    await cluster.delete(kinds.SERVICE, "web")

    async def gone() -> bool:
        return await cluster.get(kinds.ENDPOINTS, "web") is None and not await cluster.list(kinds.ENDPOINT_SLICE)

    await until(gone)


async def test_custom_objects_are_owners_and_are_emptied_with_their_namespace(cluster: Cluster) -> None:
    group = "example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    widget = Kind(group, "v1", "widgets", "Widget", True)
    await cluster.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition)

    async def made() -> dict[str, Any] | None:
        try:
            return await cluster.create(
                widget, {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}}
            )
        except (ApiError, ApiUnavailableError):
            # Not served yet.
            return None

    owner = await until(made)
    reference = {"apiVersion": f"{group}/v1", "kind": "Widget", "name": "w", "uid": owner["metadata"]["uid"]}
    await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "child", "ownerReferences": [reference]}})
    await cluster.delete(kinds.CUSTOM_RESOURCE_DEFINITION, f"widgets.{group}")

    async def gone() -> bool:
        return await config_maps(cluster) == []

    await until(gone)
