"""Any order of pushes, deletions and answers leaves both tables as a simple model says; a stop at any moment loses
nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database
from tests.edgecore.metamanager.conftest import Edge


class Change(NamedTuple):
    """What happens to an object: operation `patch` stands for the cloud's answer to a status patch of ours."""

    operation: str
    kind: str
    name: str
    uid: str
    version: int

    @property
    def resource(self) -> str:
        return f"default/{self.kind.lower()}/{self.name}"

    def document(self) -> dict[str, Any]:
        metadata = {"name": self.name, "namespace": "default", "uid": self.uid, "resourceVersion": str(self.version)}
        return {"kind": self.kind, "apiVersion": "v1", "metadata": metadata}

    def message(self) -> Message:
        content = self.document()
        if self.operation == "correct":
            # What SyncController sends for an object that is gone names neither kind nor version.
            content = {"metadata": content["metadata"]}
        operation = "delete" if self.operation == "correct" else self.operation
        return new_message("edgecontroller", "resource", operation, self.resource, orjson.dumps(content))


_changes = st.lists(
    st.builds(
        Change,
        st.sampled_from(["insert", "update", "update", "delete", "correct", "patch"]),
        st.sampled_from(["Pod", "ConfigMap"]),
        st.sampled_from("ab"),
        st.sampled_from(["u1", "u2"]),
        st.integers(1, 5),
    ),
    max_size=25,
)


def expected(changes: list[Change]) -> dict[str, tuple[str, int]]:
    """Return uid and version of what should be stored, by resource."""
    stored: dict[str, tuple[str, int]] = {}
    for change in changes:
        present = stored.get(change.resource)
        match change.operation:
            case "insert" | "update":
                stored[change.resource] = (change.uid, change.version)
            case "delete" | "correct" if present is not None and present[0] == change.uid:
                del stored[change.resource]
            case "patch" if present is not None and change.kind == "Pod":
                if present[0] == change.uid and change.version >= present[1]:
                    stored[change.resource] = (change.uid, change.version)
            case _:
                pass
    return stored


async def play(folder: Path, changes: list[Change]) -> None:
    edge = Edge(folder / "edgecore.db")
    edge.database.open()
    running = asyncio.ensure_future(edge.metamanager.run())
    try:
        for change in changes:
            if change.operation == "patch":
                if change.kind == "Pod":
                    answer = orjson.dumps({"Object": change.document(), "Err": None})
                    edge.answer = lambda _, answer=answer: answer
                    await edge.ask("patch", f"default/podpatch/{change.name}", "{}")
            else:
                edge.bus.send("metamanager", change.message())
        pushes = sum(change.operation != "patch" for change in changes)
        await edge.until(lambda: len(edge.acks) == pushes)
        stored = {}
        for key, value in edge.database.read("SELECT key, value FROM meta WHERE type IN ('pod', 'configmap')"):
            metadata = orjson.loads(value)["metadata"]
            stored[key] = (metadata["uid"], int(metadata["resourceVersion"]))
        assert stored == expected(changes)
        in_v2 = {
            f"{namespace}/{'pod' if resource.endswith('pods') else 'configmap'}/{name}"
            for namespace, name, resource in edge.database.read(
                "SELECT namespace, name, group_version_resource FROM meta_v2"
            )
        }
        assert in_v2 == stored.keys(), "an object stands in both tables or in none"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await edge.database.close()


@settings(max_examples=60, deadline=None)
@given(_changes)
def test_tables_follow_the_model(changes: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), changes))


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20, 50])
async def test_stop_at_any_moment_loses_nothing_acknowledged(tmp_path: Path, turns: int) -> None:
    edge = Edge(tmp_path / "edgecore.db")
    edge.database.open()
    running = asyncio.ensure_future(edge.metamanager.run())
    messages = {}
    for number in range(300):
        message = Change("insert", "Pod", f"p{number}", "u", 1).message()
        messages[message.id] = message.resource
        edge.bus.send("metamanager", message)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await edge.database.close()
    again = Database(tmp_path / "edgecore.db", schema=SCHEMA)
    again.open()
    stored = {key for (key,) in again.read("SELECT key FROM meta")}
    await again.close()
    assert {messages[ack.parent_id] for ack in edge.acks} <= stored


async def test_stop_ends_what_waits_for_the_cloud(edge: Edge) -> None:
    asking = asyncio.ensure_future(edge.ask("query", "a/configmap/slow"))
    await edge.until(lambda: len(edge.sent) == 1)
    other = MetaManager(edge.bus, edge.database, lambda: True, remote_query_timeout_s=60)
    running = asyncio.ensure_future(other.run())
    waiting = asyncio.ensure_future(edge.ask("query", "a/configmap/other"))
    await edge.until(lambda: len(edge.sent) == 2)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=1)
    assert done
    waiting.cancel()
    asking.cancel()
    await asyncio.gather(asking, waiting, return_exceptions=True)
