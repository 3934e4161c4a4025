"""ObjectSyncs against the embedded API, and against one that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from kubeedge.cloudcore.hub import syncs as module
from kubeedge.cloudcore.hub.outbox import Delivery, SyncRef
from kubeedge.cloudcore.hub.syncs import ObjectSyncs
from kubeedge.kube.api import ApiError, ApiUnavailableError, Kind, KubeApi
from kubeedge.kube.crds import ensure_installed
from kubeedge.kube.kinds import CLUSTER_OBJECT_SYNC, OBJECT_SYNC
from kubeedge.message import new_message

WAIT_S = 5


def delivery(uid: str = "u1", version: str = "7", operation: str = "update", namespace: str = "default") -> Delivery:
    message = new_message("edgecontroller", "resource", operation, f"default/pod/{uid}", b"{}")
    return Delivery(
        message,
        f"default/pod/{uid}",
        uid,
        SyncRef("e1", namespace, uid),
        version,
        is_final=operation == "delete",
        api_version="v1",
        kind="Pod",
        name="web",
    )


class World:
    """ObjectSyncs on an API whose calls are counted; the lookup is what was written."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.known: dict[str, str] = {}
        self.calls: list[str] = []
        self.created: list[Delivery] = []
        self.fail: Callable[[str], Exception | None] = lambda call: None
        self.syncs = ObjectSyncs(self, self.lookup, self.created.append, now=self.now)  # type: ignore[arg-type]

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def lookup(self, namespace: str, name: str) -> str | None:
        return self.known.get(f"{namespace}/{name}")

    def _call(self, call: str) -> None:
        self.calls.append(call)
        error = self.fail(call)
        if error is not None:
            raise error

    async def create(self, kind: Kind, namespace: str, body: bytes) -> bytes:
        self._call("create")
        created = await self.api.create(kind, namespace, body)
        self.known[f"{namespace}/{orjson.loads(body)['metadata']['name']}"] = ""
        return created

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: bytes, patch_type: str, *, subresource: str
    ) -> bytes:
        self._call("patch")
        patched = await self.api.patch(kind, namespace, name, body, patch_type, subresource=subresource)
        self.known[f"{namespace}/{name}"] = orjson.loads(body)["status"]["objectResourceVersion"]
        return patched

    async def delete(self, kind: Kind, namespace: str, name: str, *, body: bytes) -> bytes:
        self._call("delete")
        deleted = await self.api.delete(kind, namespace, name, body=body)
        self.known.pop(f"{namespace}/{name}", None)
        return deleted

    async def read(self, namespace: str = "default", name: str = "e1.u1") -> dict[str, Any]:
        kind = OBJECT_SYNC if namespace else CLUSTER_OBJECT_SYNC
        parsed: dict[str, Any] = orjson.loads(await self.api.get(kind, namespace, name))
        return parsed

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(WAIT_S * 100):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"did not come true; calls: {self.calls}")


@asynccontextmanager
async def world(api: KubeApi) -> AsyncIterator[World]:
    await ensure_installed(api)
    made = World(api)
    running = asyncio.ensure_future(made.syncs.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_the_sync_exists_before_the_message_may_leave(api: KubeApi) -> None:
    async with world(api) as w:
        first = delivery()
        assert w.syncs.version(first.sync) is None  # type: ignore[arg-type]
        w.syncs.create(first)
        await w.until(lambda: w.created == [first])
        assert w.calls == ["create"]
        sync = await w.read()
        assert sync["spec"] == {"objectAPIVersion": "v1", "objectKind": "Pod", "objectName": "web"}
        assert w.syncs.version(first.sync) == "0"  # type: ignore[arg-type]


async def test_an_acknowledgement_in_time_saves_the_write_of_nothing(api: KubeApi) -> None:
    async with world(api) as w:
        first = delivery(version="12")
        w.syncs.create(first)
        await w.until(lambda: bool(w.created))
        w.syncs.acknowledged(first)
        await w.until(lambda: len(w.syncs) == 0)
        assert w.calls == ["create", "patch"]
        assert (await w.read())["status"] == {"objectResourceVersion": "12"}


async def test_without_an_acknowledgement_nothing_is_noted_as_zero(api: KubeApi) -> None:
    async with world(api) as w:
        w.syncs.create(delivery())
        await w.until(lambda: w.calls == ["create", "patch"] and len(w.syncs) == 0)
        assert (await w.read())["status"] == {"objectResourceVersion": "0"}


async def test_many_acknowledgements_within_a_second_are_two_writes(api: KubeApi) -> None:
    async with world(api) as w:
        w.syncs.create(delivery())
        await w.until(lambda: bool(w.created))
        for version in range(10, 60):
            w.syncs.acknowledged(delivery(version=str(version)))
            await asyncio.sleep(0.002)
        w.syncs.acknowledged(delivery(version="11"))
        assert w.syncs.version(SyncRef("e1", "default", "u1")) == "59"
        await w.until(lambda: len(w.syncs) == 0)
        assert w.calls == ["create", "patch", "patch"]
        assert (await w.read())["status"] == {"objectResourceVersion": "59"}


async def test_a_delete_removes_the_sync_and_its_absence_is_fine(api: KubeApi) -> None:
    async with world(api) as w:
        w.syncs.create(delivery())
        await w.until(lambda: bool(w.created))
        w.syncs.acknowledged(delivery(operation="delete", version=""))
        w.syncs.acknowledged(delivery("never-seen", operation="delete", version=""))
        await w.until(lambda: len(w.syncs) == 0)
        with pytest.raises(ApiError) as caught:
            await w.read()
        assert caught.value.code == 404


async def test_what_comes_back_to_a_node_is_noted_after_its_delete(api: KubeApi) -> None:
    """A model that is needed again, in the same version, before its removal is written down."""
    async with world(api) as w:
        ref = delivery().sync
        assert ref is not None
        w.syncs.create(delivery())
        await w.until(lambda: bool(w.created))
        w.known["default/e1.u1"] = "7"
        w.syncs.acknowledged(delivery(operation="delete"))
        assert w.syncs.version(ref) is None
        w.syncs.create(delivery(operation="insert"))
        await w.until(lambda: len(w.created) == 2)
        w.syncs.acknowledged(delivery(operation="insert"))
        assert w.syncs.version(ref) == "7"
        await w.until(lambda: len(w.syncs) == 0)
        assert (await w.read())["status"]["objectResourceVersion"] == "7"


async def test_syncs_of_devices_are_made_in_their_order(api: KubeApi) -> None:
    async with world(api) as w:
        for number in range(20):
            one = delivery(f"u{number}")
            one.message.source = "devicecontroller"
            w.syncs.create(one)
        await w.until(lambda: len(w.created) == 20)
        assert [one.key for one in w.created] == [f"u{number}" for number in range(20)]


async def test_a_query_answer_makes_its_sync_when_it_is_acknowledged(api: KubeApi) -> None:
    async with world(api) as w:
        w.syncs.acknowledged(delivery(operation="response", namespace="", version="31"))
        await w.until(lambda: len(w.syncs) == 0)
        assert (await w.read(""))["status"] == {"objectResourceVersion": "31"}


async def test_a_sync_that_another_replica_made_is_taken_over(api: KubeApi) -> None:
    async with world(api) as w:
        w.syncs.create(delivery())
        await w.until(lambda: len(w.created) == 1)
        w.known.clear()
        w.syncs.create(delivery(version="8"))
        await w.until(lambda: len(w.created) == 2)
        assert w.calls[:2] == ["create", "create"]


async def test_only_the_latest_waits_for_a_sync_that_is_being_made(api: KubeApi) -> None:
    async with world(api) as w:
        for version in ("1", "3", "2"):
            w.syncs.create(delivery(version=version))
        await w.until(lambda: bool(w.created))
        assert [one.version for one in w.created] == ["3"]
        assert w.calls.count("create") == 1


async def test_writes_wait_for_an_api_that_is_away(
    api: KubeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.1)
    monkeypatch.setattr(module, "FLUSH_S", 0.1)
    async with world(api) as w:
        failed: dict[str, int] = {}

        def fail(call: str) -> Exception | None:
            failed[call] = failed.get(call, 0) + 1
            return ApiUnavailableError("connection refused") if failed[call] <= 2 else None

        w.fail = fail
        w.syncs.create(delivery())
        await w.until(lambda: bool(w.created))
        w.syncs.acknowledged(delivery(version="9"))
        await w.until(lambda: len(w.syncs) == 0)
        assert (await w.read())["status"] == {"objectResourceVersion": "9"}
        assert "objectsync not written operation=create node=e1 name=e1.u1 reason=connection refused" in caplog.text


async def test_a_refusal_is_an_error_and_nothing_is_sent(api: KubeApi, caplog: pytest.LogCaptureFixture) -> None:
    async with world(api) as w:
        w.fail = lambda call: ApiError(403, "Forbidden", "objectsyncs is forbidden", b"{}")
        before = module.failures.value()
        w.syncs.create(delivery())
        await w.until(lambda: module.failures.value() == before + 1)
        assert w.created == []
        assert not w.syncs.is_creating(SyncRef("e1", "default", "u1"))
        assert any(record.levelname == "ERROR" and "403 Forbidden" in record.message for record in caplog.records)
        w.syncs.acknowledged(delivery(version="9"))
        await w.until(lambda: len(w.syncs) == 0)


async def test_a_version_noted_elsewhere_is_not_overwritten_with_nothing(api: KubeApi) -> None:
    async with world(api) as w:
        w.syncs.create(delivery())
        await w.until(lambda: bool(w.created))
        w.known["default/e1.u1"] = "77"
        await w.until(lambda: len(w.syncs) == 0)
        assert w.calls == ["create"]
