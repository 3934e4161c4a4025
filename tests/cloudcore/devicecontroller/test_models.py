"""What happens to models that devices use already (spec 04 §11 Q33)."""

from __future__ import annotations

import orjson

from kubeedge.kube.api import MERGE_PATCH
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL
from tests.cloudcore.devicecontroller.conftest import LIMIT, Cloud
from tests.cloudcore.devicecontroller.test_downstream import sent
from tests.sites import until


async def test_q33_a_changed_model_goes_once_to_each_node_that_uses_it(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.model("other")
    for name, node in (("a", "e1"), ("b", "e1"), ("c", "e2")):
        await cloud.device(name, node)
    await cloud.device("d", "e3", deviceModelRef={"name": "other"})
    await until(lambda: len(cloud.hub.pushes()) >= 11)
    cloud.hub.sent.clear()
    await cloud.api.patch(
        DEVICE_MODEL, "default", "thermo", orjson.dumps({"spec": {"properties": [LIMIT]}}), MERGE_PATCH
    )
    assert sorted(await sent(cloud, 2)) == [
        ("update", "node/e1/default/devicemodel/thermo"),
        ("update", "node/e2/default/devicemodel/thermo"),
    ]
    # What is written beside the spec is no news for mappers.
    await cloud.api.patch(DEVICE_MODEL, "default", "thermo", b'{"metadata":{"labels":{"a":"b"}}}', MERGE_PATCH)
    await cloud.api.delete(DEVICE_MODEL, "default", "thermo")
    assert sorted(await sent(cloud, 2)) == [
        ("delete", "node/e1/default/devicemodel/thermo"),
        ("delete", "node/e2/default/devicemodel/thermo"),
    ]


async def test_q22_a_device_without_model_or_properties_is_a_device(cloud: Cloud) -> None:
    for name, spec in (("none", None), ("null", {"nodeName": "e1", "properties": None, "deviceModelRef": None})):
        await cloud.api.create(DEVICE, "default", orjson.dumps({"metadata": {"name": name}, "spec": spec}))
    assert await sent(cloud, 2) == [("update", "node/e1/membership"), ("insert", "node/e1/default/device/null")]
