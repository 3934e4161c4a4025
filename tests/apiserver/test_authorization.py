from __future__ import annotations

from typing import Any

import orjson
import pytest

from kubeedge.apiserver.authentication import AUTHENTICATED, User
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiError, Kind
from kubeedge.kube.kinds import CONFIG_MAP, EVENT, LEASE, NODE, POD, SECRET, SERVICE_ACCOUNT


async def refused(call: object) -> str:
    with pytest.raises(ApiError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code == 403
    return caught.value.message


@pytest.fixture
async def cluster(api: LocalApi) -> LocalApi:
    """Nodes n1 and n2 with a pod each, which use a secret each."""
    for number in (1, 2):
        await api.create(NODE, "", orjson.dumps({"metadata": {"name": f"n{number}"}}))
        await api.create(SECRET, "default", orjson.dumps({"metadata": {"name": f"s{number}"}}))
        pod = {
            "metadata": {"name": f"p{number}"},
            "spec": {
                "nodeName": f"n{number}",
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", "secret": {"secretName": f"s{number}"}}],
            },
        }
        await api.create(POD, "default", orjson.dumps(pod))
    return api


async def test_node_cannot_read_or_write_another_node(cluster: LocalApi) -> None:
    await cluster.get(NODE, "", "n1", as_node="n1")
    message = await refused(cluster.get(NODE, "", "n2", as_node="n1"))
    assert message.startswith('nodes "n2" is forbidden: User "system:node:n1" cannot get resource "nodes"')
    patch = b'{"status":{"phase":"x"}}'
    await refused(cluster.patch(NODE, "", "n2", patch, MERGE_PATCH, subresource="status", as_node="n1"))


async def test_node_reads_only_secrets_that_its_pods_use(cluster: LocalApi) -> None:
    await cluster.get(SECRET, "default", "s1", as_node="n1")
    message = await refused(cluster.get(SECRET, "default", "s2", as_node="n1"))
    assert message.endswith("no relationship found between node 'n1' and this object")
    await refused(cluster.get(CONFIG_MAP, "default", "unused", as_node="n1"))


async def test_node_writes_only_status_of_its_pods(cluster: LocalApi) -> None:
    patch = b'{"status":{"phase":"Running"}}'
    await cluster.patch(POD, "default", "p1", patch, STRATEGIC_MERGE_PATCH, subresource="status", as_node="n1")
    await refused(cluster.patch(POD, "default", "p2", patch, STRATEGIC_MERGE_PATCH, subresource="status", as_node="n1"))
    await refused(cluster.patch(POD, "default", "p1", patch, STRATEGIC_MERGE_PATCH, as_node="n1"))
    await refused(cluster.delete(POD, "default", "p2", as_node="n1"))
    await cluster.delete(POD, "default", "p1", body=b'{"gracePeriodSeconds":0}', as_node="n1")


async def test_node_keeps_only_its_own_lease(cluster: LocalApi) -> None:
    lease = b'{"metadata":{"name":"n1"}}'
    await cluster.create(LEASE, "kube-node-lease", lease, as_node="n1")
    await cluster.get(LEASE, "kube-node-lease", "n1", as_node="n1")
    message = await refused(cluster.get(LEASE, "kube-node-lease", "n2", as_node="n1"))
    assert message.endswith("can only access node lease with the same name as the requesting node")
    await refused(cluster.get(LEASE, "default", "n1", as_node="n1"))


async def test_node_gets_tokens_for_its_own_pods_only(cluster: LocalApi) -> None:
    async def ask(name: str) -> None:
        body = orjson.dumps({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name}}})
        await cluster.create(SERVICE_ACCOUNT, "default", body, name="default", subresource="token", as_node="n1")

    await ask("p1")
    assert "scheduled on a different node" in await refused(ask("p2"))
    body = b'{"spec":{}}'
    message = await refused(
        cluster.create(SERVICE_ACCOUNT, "default", body, name="default", subresource="token", as_node="n1")
    )
    assert "not bound to a pod" in message


async def test_node_may_tell_events_but_not_read_them(cluster: LocalApi) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p1", "namespace": "default"}}
    await cluster.create(EVENT, "default", orjson.dumps(event), as_node="n1")
    await refused(cluster.get(EVENT, "default", "e", as_node="n1"))


async def test_service_account_may_ask_who_it_is_and_nothing_else(cluster: LocalApi) -> None:
    user = User("system:serviceaccount:default:default", ("system:serviceaccounts", AUTHENTICATED))
    api = LocalApi(cluster._engine, user)
    reviews = Kind("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False)
    answer = orjson.loads(await api.create(reviews, "", b"{}"))
    assert answer["status"]["userInfo"]["username"] == user.name
    message = await refused(api.list(SECRET, "default"))
    assert message == (
        'secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" '
        'in API group "" in the namespace "default"'
    )


async def test_node_creates_nothing_in_the_name_of_another(cluster: LocalApi) -> None:
    message = await refused(cluster.create(NODE, "", b'{"metadata":{"name":"n3"}}', as_node="n1"))
    assert message.endswith('node "n1" is not allowed to modify Node "n3"')
    await refused(cluster.create(LEASE, "kube-node-lease", b'{"metadata":{"name":"n2"}}', as_node="n1"))
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    pod: dict[str, Any] = {"metadata": {"name": "m"}, "spec": spec}
    assert "can only create mirror pods" in await refused(
        cluster.create(POD, "default", orjson.dumps(pod), as_node="n1")
    )
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash"}
    await cluster.create(POD, "default", orjson.dumps(pod), as_node="n1")
