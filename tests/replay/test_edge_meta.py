"""Our edge against a recorded cloud: it takes every message and acknowledges what was acknowledged, word for word.

The recordings are played into dispatch (EdgeHub) and MetaManager with a real database; edged's requests are made when
the recorded edge made them, and get the recorded answers. Ids and times are not compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.edgecore.hub.hub import EdgeHub
from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.link.client import ConnectError
from kubeedge.message import Message, decode, encode, new_message
from kubeedge.store.database import Database
from tests.replay.recording import GOLDEN, Step, load

RECORDINGS = ["link-websocket.jsonl", "link-websocket-2.jsonl"]
WAIT_S = 5

# Messages of the cloud for modules that come later. They are dispatched like all others and must do no harm; what the
# recorded edge answered to them is not expected.
LATER: tuple[tuple[str, Callable[[Step], bool]], ...] = (
    ("group twin: DeviceTwin takes membership and confirmations", lambda step: group(step) == "twin"),
    ("MetaServer waits for these; it is not asked anything here", lambda step: step.source == "dynamiccontroller"),
    ("group user: EventBus and ServiceBus", lambda step: group(step) == "user"),
    ("node jobs: TaskManager of the edge", lambda step: step.source == "taskmanager"),
)


def group(step: Step) -> str:
    assert step.envelope is not None
    return str(step.envelope["route"].get("group", ""))


def is_later(step: Step) -> bool:
    return any(applies(step) for _, applies in LATER)


def route_and_content(envelope: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return what is compared: all but ids, times and the header's version, which the edge never sets."""
    return envelope["route"], envelope["content"]


def parsed(message: Message) -> dict[str, Any]:
    envelope: dict[str, Any] = orjson.loads(encode(message))
    return envelope


class Edge:
    """Dispatch and MetaManager; `up` is what would go to the cloud."""

    def __init__(self, database: Database) -> None:
        self.bus = Bus()
        self.database = database
        self.up: list[Message] = []
        self.edged: list[Message] = []
        self.dmi: list[Message] = []
        self.hub = EdgeHub(self.bus, "e1", "127.0.0.1:1", _no_tls)
        # What the hub would send is looked at instead.
        self.bus.register("websocket", "uplink", self.up.append)
        self.bus.register("edged", "edged", self.edged.append)
        self.bus.register("dmi", "dmi", self.dmi.append)
        self.metamanager = MetaManager(self.bus, database, lambda: True, remote_query_timeout_s=WAIT_S)
        self.ids: dict[str, str] = {}
        self.requests: dict[str, asyncio.Task[Message]] = {}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.0005)

    async def request(self, tasks: asyncio.TaskGroup, step: Step) -> Message:
        """Make a request of the recorded edged; return what goes up for it."""
        assert step.envelope is not None
        message = new_message("edged", "meta", step.operation, step.resource, orjson.dumps(step.content))
        before = len(self.up)
        self.requests[step.id] = tasks.create_task(self.bus.request("metamanager", message, WAIT_S))
        await self.until(lambda: len(self.up) > before)
        self.ids[step.id] = self.up[-1].id
        return self.up[-1]

    def from_cloud(self, step: Step) -> Message:
        """Hand a recorded message of the cloud to dispatch, as an answer to our own question where it is one."""
        envelope = orjson.loads(orjson.dumps(step.envelope))
        if step.parent_id in self.ids:
            envelope["header"]["parent_msg_id"] = self.ids[step.parent_id]
        message = decode(orjson.dumps(envelope))
        self.hub.from_cloud(message)
        return message

    def row(self, key: str) -> Any:
        rows = self.database.read("SELECT value FROM meta WHERE key = ?", (key,))
        return orjson.loads(rows[0][0]) if rows else None


def _no_tls() -> Any:
    raise ConnectError("this edge does not connect")


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Edge]:
    database = Database(path, schema=SCHEMA)
    database.open()
    edge = Edge(database)
    task = asyncio.ensure_future(edge.metamanager.run())
    try:
        yield edge
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()


def is_request_of_edged(step: Step) -> bool:
    return step.is_from_edge and step.source == "edged" and not step.parent_id


def replies(steps: list[Step]) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Return what the recorded edge answered, by the id of the message that it answered."""
    found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
    for step in steps:
        if step.is_from_edge and step.parent_id and step.envelope is not None:
            found.setdefault(step.parent_id, []).append(route_and_content(step.envelope))
    return found


@pytest.mark.parametrize("name", RECORDINGS)
async def test_every_message_of_the_cloud_is_taken_and_answered_as_recorded(name: str, tmp_path: Path) -> None:
    steps = [step for step in load(name) if step.envelope is not None]
    expected = replies(steps)
    played = {"requests": 0, "answers": 0, "pushes": 0, "later": 0}
    async with running(tmp_path / "edgecore.db") as edge, asyncio.TaskGroup() as tasks:
        for step in steps:
            if is_request_of_edged(step):
                sent = parsed(await edge.request(tasks, step))
                assert route_and_content(sent) == route_and_content(step.envelope or {}), step
                played["requests"] += 1
            elif not step.is_from_edge:
                await _play(edge, step, expected, played)
        assert all(task.done() for task in edge.requests.values())
        stored_pods = edge.database.read("SELECT key FROM meta WHERE type = 'pod'")
        _check_last_states(edge, steps)
    assert min(played.values()) > 0
    assert stored_pods == _pods_left(steps)


async def _play(
    edge: Edge, step: Step, expected: dict[str, list[tuple[dict[str, Any], Any]]], played: dict[str, int]
) -> None:
    """Play one message of the cloud and compare what goes up for it."""
    before, given = len(edge.up), len(edge.edged)
    message = edge.from_cloud(step)
    wanted = expected.get(step.id, []) if not is_later(step) else []
    request = edge.requests.get(step.parent_id)
    if request is not None:
        answer = await asyncio.wait_for(asyncio.shield(request), WAIT_S)
        assert (answer.id, orjson.loads(answer.content)) == (step.id, step.content), step
        played["answers"] += 1
    elif not is_later(step):
        played["pushes"] += 1
    else:
        played["later"] += 1
    await edge.until(lambda: len(edge.up) >= before + len(wanted))
    # What should not be answered gets the time of a commit to be answered all the same.
    await edge.database.write(lambda connection: None)
    await asyncio.sleep(0)
    sent = edge.up[before:]
    assert [route_and_content(parsed(ack)) for ack in sent] == wanted, step
    assert all(ack.parent_id == message.id for ack in sent), step
    type_ = step.resource.split("/")[1] if "/" in step.resource else ""
    if request is None and not is_later(step) and step.source == "edgecontroller":
        assert edge.edged[given:] == ([] if type_ == "node" else [message]), step


def _pushes(steps: list[Step]) -> list[Step]:
    return [step for step in steps if not step.is_from_edge and not step.parent_id and group(step) == "resource"]


def _pods_left(steps: list[Step]) -> list[tuple[str]]:
    alive: set[str] = set()
    for step in _pushes(steps):
        if "/pod/" in step.resource:
            (alive.discard if step.operation == "delete" else alive.add)(step.resource)
    return [(key,) for key in sorted(alive)]


def _check_last_states(edge: Edge, steps: list[Step]) -> None:
    """Compare the database with the last that the cloud said of each object, in a push or in answer to a patch."""
    last: dict[str, Any] = {}
    for step in steps:
        if step.is_from_edge or is_later(step):
            continue
        if not step.parent_id:
            last[step.resource] = None if step.operation == "delete" else step.content
        elif "patch/" in step.resource and step.content["Err"] is None:
            resource = step.resource.replace("patch/", "/")
            if last.get(resource) is not None:
                last[resource] = step.content["Object"]
    assert last
    for resource, content in last.items():
        row = edge.row(resource)
        if content is None:
            assert row is None, resource
        else:
            assert row["metadata"]["resourceVersion"] == content["metadata"]["resourceVersion"], resource
            assert {**row, "kind": None, "apiVersion": None} == {**content, "kind": None, "apiVersion": None}
            assert row["kind"]


# A database of a Go edgecore


@pytest.fixture
def go_database(tmp_path: Path) -> Path:
    path = tmp_path / "edgecore.db"
    connection = apsw.Connection(str(path))
    connection.execute((GOLDEN / "db" / "dump.sql").read_text())
    connection.close()
    return path


async def ask(edge: Edge, resource: str, content: Any = None) -> Any:
    message = new_message("edged", "meta", "query", resource, orjson.dumps(content))
    answer = orjson.loads((await edge.bus.request("metamanager", message, WAIT_S)).content)
    return [orjson.loads(entry) for entry in answer] if isinstance(answer, list) else answer


async def test_database_of_a_go_edge_answers_without_a_cloud(go_database: Path) -> None:
    async with running(go_database) as edge:
        edge.metamanager._connected = lambda: False
        pods = await ask(edge, "default/pod")
        assert [pod["metadata"]["name"] for pod in pods] == ["p-init", "p-plain"]
        assert (await ask(edge, "null/node/e1"))[0]["metadata"]["name"] == "e1"
        assert (await ask(edge, "default/configmap/conf"))[0]["data"]["a"] == "one"
        assert (await ask(edge, "default/secret/cred"))[0]["data"] == {"pass": "cA==", "user": "dQ=="}
        assert "ErrStatus" in await ask(edge, "default/configmap/unknown")


async def test_token_of_a_go_edge_is_found_without_a_cloud(go_database: Path) -> None:
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p-plain", "uid": "18bff942-b9c3-44c8-88d4-24da552228cd"}
    request = {"spec": {"audiences": None, "expirationSeconds": 3607, "boundObjectRef": reference}}
    async with running(go_database) as edge:
        edge.metamanager._connected = lambda: False
        edge.metamanager._now = lambda: 0.0
        (token,) = await ask(edge, "default/serviceaccounttoken/default", request)
        assert token["spec"]["boundObjectRef"]["name"] == "p-plain"


async def test_cloud_goes_on_with_a_database_of_a_go_edge(go_database: Path) -> None:
    """The cloud deletes and changes what a Go edge stored; every row of it is found under its key."""
    async with running(go_database) as edge:
        rows = edge.database.read("SELECT key, value FROM meta WHERE type IN ('pod', 'configmap', 'secret')")
        assert len(rows) >= 7
        for key, value in rows:
            before = len(edge.up)
            edge.hub.from_cloud(new_message("edgecontroller", "resource", "delete", key, value.encode()))
            await edge.until(lambda before=before: len(edge.up) > before)
            assert edge.up[-1].operation == "response"
        left = edge.database.read("SELECT key FROM meta WHERE type IN ('pod', 'podpatch', 'configmap', 'secret')")
        assert left == []
        tokens = edge.database.read("SELECT key FROM meta WHERE type = 'serviceaccounttoken' AND key LIKE '%p-plain%'")
        assert tokens == [], "the tokens of a pod go with it"
        kept = {key for (key,) in edge.database.read("SELECT key FROM meta_v2")}
        assert not any("/pods/" in key for key in kept)
        assert "/core/v1/nodes/null/e1" in kept
        assert "/version" in kept
