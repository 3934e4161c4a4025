"""The definitions of KubeEdge's own kinds."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from kubeedge.kube import crds
from kubeedge.kube.api import KubeApi
from kubeedge.kube.crds import ensure_installed, manifests
from kubeedge.kube.kinds import CUSTOM_RESOURCE_DEFINITION, OBJECT_SYNC


def test_every_kind_of_upstream_has_its_manifest() -> None:
    names = {(each["spec"]["group"], each["spec"]["names"]["kind"], each["spec"]["scope"]) for each in manifests()}
    assert names == {
        ("devices.kubeedge.io", "Device", "Namespaced"),
        ("devices.kubeedge.io", "DeviceModel", "Namespaced"),
        ("devices.kubeedge.io", "DeviceStatus", "Namespaced"),
        ("reliablesyncs.kubeedge.io", "ObjectSync", "Namespaced"),
        ("reliablesyncs.kubeedge.io", "ClusterObjectSync", "Cluster"),
        ("rules.kubeedge.io", "Rule", "Namespaced"),
        ("rules.kubeedge.io", "RuleEndpoint", "Namespaced"),
        ("apps.kubeedge.io", "NodeGroup", "Cluster"),
        ("apps.kubeedge.io", "EdgeApplication", "Namespaced"),
        ("operations.kubeedge.io", "NodeUpgradeJob", "Cluster"),
        ("operations.kubeedge.io", "ImagePrePullJob", "Cluster"),
        ("operations.kubeedge.io", "ConfigUpdateJob", "Cluster"),
        ("policy.kubeedge.io", "ServiceAccountAccess", "Namespaced"),
    }


async def test_what_is_missing_is_made_and_served_and_what_is_there_stays(api: KubeApi) -> None:
    assert await ensure_installed(api) == len(manifests())
    assert (await api.list(OBJECT_SYNC)).items == []
    name = "objectsyncs.reliablesyncs.kubeedge.io"
    before = orjson.loads(await api.get(CUSTOM_RESOURCE_DEFINITION, "", name))
    await api.delete(CUSTOM_RESOURCE_DEFINITION, "", "rules.rules.kubeedge.io")
    assert await ensure_installed(api) == 1
    after = orjson.loads(await api.get(CUSTOM_RESOURCE_DEFINITION, "", name))
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_definition_that_is_never_served_is_not_waited_for_for_ever(
    api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(crds, "ESTABLISHED_TIMEOUT_S", 0.05)
    monkeypatch.setattr(crds, "_established", never)
    with pytest.raises(TimeoutError):
        await ensure_installed(api)
