"""With node authorization enforced, the API decides whose reports are written (spec 02 §1.8, spec 04 §2.5)."""

from __future__ import annotations

import pytest

from kubeedge.kube.api import MERGE_PATCH, ApiError
from kubeedge.kube.kinds import DEVICE_STATUS
from tests.cloudcore.devicecontroller.conftest import Cloud
from tests.sites import until


async def test_a_report_is_written_in_the_name_of_its_node(cloud: Cloud) -> None:
    cloud.controller._impersonate = True
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[2].get("default", "sensor"))
    await cloud.hub.answer(cloud.report(temperature="25.3"))
    assert (await cloud.twins())["temperature"]["reported"]["value"] == "25.3"
    with pytest.raises(ApiError) as caught:
        await cloud.api.patch(DEVICE_STATUS, "default", "sensor", b"{}", MERGE_PATCH, as_node="e2")
    assert caught.value.reason == "Forbidden"


async def test_a_report_that_the_api_refuses_is_confirmed_and_complained_of_once(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[2].get("default", "sensor"))
    device = cloud.informers[0].get("default", "sensor")
    assert device is not None
    # An API that has no rule for nodes, as that of a plain cluster.
    statuses = cloud.controller._statuses
    write = statuses._api.patch

    async def refuse(*arguments: object, **options: object) -> bytes:
        if options.get("as_node"):
            raise ApiError(403, "Forbidden", "no", b"{}")
        return await write(*arguments, **options)  # type: ignore[arg-type]

    cloud.controller._impersonate = True
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(statuses._api, "patch", refuse)
        for value in ("1", "2"):
            await cloud.hub.answer(cloud.report(temperature=value))
    warnings = [record for record in caplog.records if "device status not written" in record.message]
    assert [record.levelname for record in warnings if record.levelname == "WARNING"] == ["WARNING"]
