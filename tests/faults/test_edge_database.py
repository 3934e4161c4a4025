"""What happens to a node whose database is damaged, taken, or on a disk that is full or read-only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kubeedge.kube.api import Kind
from kubeedge.kube.kinds import CONFIG_MAP, NODE, OBJECT_SYNC, POD
from tests.faults.disks import disk
from tests.sites import SLEEPER, EdgeNode, Site, ended, is_running, pod, shell, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE_BYTES = 4096
# Long enough for the cloud to send an object that is not acknowledged a second time.
SECOND_TRY_S = 6.0
# In which another program gets SQLite's lock.
LOCK_TIMEOUT_MS = 20_000


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: b"garbage" * 1000, "file is not a database"),
        (lambda content: content[:16] + bytes(84) + content[100:], ""),
        (lambda content: content[:PAGE_BYTES] + b"\xff" * (len(content) - PAGE_BYTES), "damaged"),
        (lambda content: content[: len(content) // 2], "damaged"),
    ],
    ids=["garbage", "head", "pages", "cut"],
)
async def test_a_damaged_database_is_told_and_left_as_it_is(site: Site, damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    async with site.node("damaged", has_pods=False) as node:
        log = await node.start()
        await log.says("cloud connected")
        await node.program.stop()
        content = damage(node.database.read_bytes())
        node.database.write_bytes(content)
        log = await node.start()
        assert await ended(node.program) == 1
        (line,) = log.lines("ERROR", "cannot start")
        assert str(node.database) in line
        assert reason in line
        assert "Traceback" not in log.text
        # Whoever wants to save what is in it still can.
        assert node.database.read_bytes() == content
        for path in node.folder.glob("edgecore.db*"):
            path.unlink()
        log = await node.start()
        await log.says("cloud connected")


async def test_a_second_edgecore_on_the_same_database_ends_and_harms_nothing(site: Site) -> None:
    async with site.node("second", "", database=site._edge / "edgecore.db") as node:
        first = site.edge_log()
        log = await node.start()
        assert await ended(node.program) == 1
        (line,) = log.lines("cannot start", "database is in use")
        assert str(site.edgecore.pid) in line
        assert not first.lines("ERROR")
        assert site.edgecore.is_running()


async def test_a_database_that_another_program_locks_costs_no_acknowledged_object(site: Site) -> None:
    """Somebody looks into the file with a tool that takes SQLite's own lock."""
    import apsw

    async with site.node("locked") as node:
        log = await node.start()
        await until(lambda: site.is_ready(node.name), otherwise=lambda: log.text)
        other = apsw.Connection(str(node.database))
        # edgecore may be writing just now.
        other.set_busy_timeout(LOCK_TIMEOUT_MS)
        other.execute("BEGIN IMMEDIATE")
        made = await site.create(POD, pod("waits-for-lock", shell(SLEEPER), nodeName=node.name))
        await asyncio.sleep(1)
        assert await synced_version(site, node, made) in ("", "0")
        other.execute("ROLLBACK")
        other.close()
        await site.pod_is("waits-for-lock", is_running)
        await stored(site, node, POD, "waits-for-lock")
        await remove_pod(site, "waits-for-lock")


@pytest.mark.root
async def test_a_read_only_folder_is_told(site: Site) -> None:
    with disk(site.folder / "read-only-disk") as room:
        async with site.node("read-only", database=room.folder / "edgecore.db", has_pods=False) as node:
            room.set_read_only(True)
            log = await node.start()
            assert await ended(node.program) == 1
            (line,) = log.lines("ERROR", "cannot start")
            assert str(node.database) in line
            assert "Read-only file system" in line
            assert "Traceback" not in log.text
            room.set_read_only(False)
            log = await node.start()
            await log.says("cloud connected")


@pytest.mark.root
async def test_a_full_disk_costs_no_acknowledged_object_and_no_running_pod(site: Site) -> None:
    """All of the node's files are on it. What cannot be stored is not acknowledged and comes when there is room."""
    await site.create(CONFIG_MAP, {"metadata": {"name": "on-full-disk"}, "data": {"text": "before"}})
    with disk(site.folder / "full", size_mib=16) as room:
        async with site.node("full", folder=room.folder) as node:
            log = await node.start()
            await until(lambda: site.is_ready(node.name), otherwise=lambda: log.text)
            volume = {"name": "text", "configMap": {"name": "on-full-disk"}}
            reader = shell(SLEEPER, volumeMounts=[{"name": "text", "mountPath": "/tmp/text"}])
            await site.create(POD, pod("first", reader, nodeName=node.name, volumes=[volume]))
            before = await site.pod_is("first", is_running)
            await stored(site, node, POD, "first")
            await stored(site, node, CONFIG_MAP, "on-full-disk")

            room.fill()
            second = await site.create(POD, pod("second", shell(SLEEPER), nodeName=node.name))
            changed = await site.patch(CONFIG_MAP, "on-full-disk", {"data": {"text": "after" * 1000}})
            await log.says("message refused", "default/pod/second", "full")
            await asyncio.sleep(SECOND_TRY_S)
            assert await synced_version(site, node, second) in ("", "0")
            assert await synced_version(site, node, changed) != changed["metadata"]["resourceVersion"]
            assert (await node.metrics()).of("kubeedge_store_failures_total") >= 1
            assert (await node.metrics()).of("kubeedge_metamanager_refused_total") >= 2
            assert "Traceback" not in log.text
            assert (await site.pod("second"))["status"].get("phase") == "Pending"

            await node.program.kill()
            log = await node.start()
            await log.says("cloud connected")
            await until(lambda: site.is_ready(node.name))

            room.free()
            after = await site.pod_is("first", is_running)
            assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
            await site.pod_is("second", is_running, timeout_s=60)
            await stored(site, node, POD, "second")
            await stored(site, node, CONFIG_MAP, "on-full-disk")
            await until(lambda: text_of(node, "first").startswith("after"))
            assert "Traceback" not in log.text
            for name in ("first", "second"):
                await remove_pod(site, name)
        await site.delete(CONFIG_MAP, "on-full-disk")
        await site.delete(NODE, "full", "")


def text_of(node: EdgeNode, pod_name: str) -> str:
    """Return what a pod of a node reads in its ConfigMap."""
    (path,) = (node.folder / "kubelet" / "pods").glob("*/volumes/kubernetes.io~configmap/text/text")
    return path.read_text(encoding="utf-8")


async def remove_pod(site: Site, name: str) -> None:
    await site.delete(POD, name)
    await site.gone(POD, name)


async def synced_version(site: Site, node: EdgeNode, obj: dict[str, object]) -> str:
    """Return which version of an object the cloud takes for acknowledged by a node; nothing where there is none."""
    name = f"{node.name}.{obj['metadata']['uid']}"  # type: ignore[index]
    for sync in await site.objects(OBJECT_SYNC, "default"):
        if sync["metadata"]["name"] == name:
            return str(sync.get("status", {}).get("objectResourceVersion", ""))
    return ""


async def stored(site: Site, node: EdgeNode, kind: Kind, name: str) -> None:
    """Wait until an object is acknowledged as it is, and see that it is in the node's database then."""
    seen: list[str] = []

    async def is_acknowledged() -> bool:
        current = await site.get(kind, "default", name)
        seen[:] = [current["metadata"]["resourceVersion"], await synced_version(site, node, current)]
        return seen[0] == seen[1]

    await until(is_acknowledged, otherwise=lambda: f"{name}: version, acknowledged: {seen}")
    assert f"default/{kind.kind.lower()}/{name}" in database_keys(node.database)


def database_keys(path: Path) -> set[str]:
    """Return the keys of all objects in a node's database."""
    import apsw

    connection = apsw.Connection(f"file:{path}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        return {key for (key,) in connection.execute("SELECT key FROM meta")}
    finally:
        connection.close()
