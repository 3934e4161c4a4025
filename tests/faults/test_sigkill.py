"""Daemons that die without a word at any moment, while pods come and go: nothing runs twice, nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import orjson
import pytest
import pytest_asyncio

from kubeedge.demo.configuration import NODE_NAME
from kubeedge.demo.containers import ProcessContainers, RunningContainer
from kubeedge.demo.program import Program
from kubeedge.kube.kinds import CONFIG_MAP, OBJECT_SYNC, POD
from tests.sites import Object, Site, container_status, is_running, pod, shell, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Every seed is a minute; more of them show what happens once in a while.
SEEDS = tuple(range(1, 1 + int(os.environ.get("KUBEEDGE_KILL_SEEDS", "3"))))
ROUNDS = 5
MOST_PODS = 8
SETTLE_TIMEOUT_S = 60
BOARD = "/tmp/board"

# Keeps a folder while it runs: whoever finds it there already is the second.
SCRIPT = f"""
mkdir {BOARD}/$NAME || echo $NAME >> {BOARD}/twice
echo $NAME >> {BOARD}/starts
trap 'rmdir {BOARD}/$NAME; exit 0' TERM
sleep 1000 &
wait
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A site whose daemons nobody else needs."""
    site = Site(tmp_path_factory.mktemp("dying"))
    try:
        await site.start()
        yield site
    finally:
        await site.clean_up()


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def settings(world: Site) -> AsyncIterator[None]:
    """The ConfigMap that all pods use."""
    await world.create(CONFIG_MAP, {"metadata": {"name": "settings"}, "data": {"round": "0"}})
    yield
    await world.delete(CONFIG_MAP, "settings")


class Board:
    """What the containers of the pods have written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o777)

    def pod(self, name: str) -> Object:
        """Return a pod that writes here."""
        container = shell(
            SCRIPT,
            env=[{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            volumeMounts=[{"name": "board", "mountPath": BOARD}, {"name": "settings", "mountPath": "/tmp/settings"}],
        )
        volumes = [
            {"name": "board", "hostPath": {"path": str(self.folder)}},
            {"name": "settings", "configMap": {"name": "settings"}},
        ]
        return pod(name, container, volumes=volumes, terminationGracePeriodSeconds=3)

    @property
    def running(self) -> set[str]:
        """Names of the pods that are running now."""
        return {path.name for path in self.folder.iterdir() if path.is_dir()}

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").split() if path.exists() else []


class Daemons:
    """Kills and starts what a site is made of."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.names = ("edgecore", "cloudcore", "apiserver", "supervisor")

    async def kill(self, name: str) -> None:
        if name == "supervisor":
            containers = self._site.containers
            assert isinstance(containers, ProcessContainers)
            with contextlib.suppress(ProcessLookupError):
                os.kill(containers.supervisor_pid(), signal.SIGKILL)
        else:
            await self._program(name).kill()

    async def start(self, name: str) -> None:
        match name:
            case "edgecore":
                await self._site.start_edgecore()
            case "cloudcore":
                await self._site.start_cloudcore()
            case "apiserver":
                await self._site.start_api()

    def _program(self, name: str) -> Program:
        return {
            "edgecore": self._site.edgecore,
            "cloudcore": self._site.cloudcore,
            "apiserver": self._site.api_program,
        }[name]


class Stored(dict[str, tuple[str, int]]):
    """What is in the node's database: key -> (uid, resource version). Read from a copy, the node may be dead."""

    def __init__(self, site: Site, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for path in site._edge.glob("edgecore.db*"):
            shutil.copy(path, folder)
        connection = apsw.Connection(str(folder / "edgecore.db"))
        for key, value in connection.execute("SELECT key, value FROM meta"):
            metadata = orjson.loads(value).get("metadata", {})
            self[key] = (metadata.get("uid", ""), int(metadata.get("resourceVersion") or 0))
        connection.close()


async def acknowledged(site: Site) -> dict[tuple[str, str], int]:
    """Return what the cloud takes for acknowledged: (key, uid) -> resource version.

    For a moment that may be two objects of one name, the one that was deleted and its successor.
    """
    found = {}
    for sync in await site.objects(OBJECT_SYNC):
        version = sync.get("status", {}).get("objectResourceVersion") or "0"
        node, _, uid = sync["metadata"]["name"].rpartition(".")
        if version != "0" and node == NODE_NAME:
            spec, namespace = sync["spec"], sync["metadata"]["namespace"]
            found[f"{namespace}/{spec['objectKind'].lower()}/{spec['objectName']}", uid] = int(version)
    return found


async def existing(site: Site) -> set[tuple[str, str]]:
    """Return keys and uids of the pods and ConfigMaps that nobody has deleted."""
    return {
        (f"default/{kind.kind.lower()}/{one['metadata']['name']}", one["metadata"]["uid"])
        for kind in (POD, CONFIG_MAP)
        for one in await site.objects(kind, "default")
        if "deletionTimestamp" not in one["metadata"]
    }


@pytest.mark.parametrize("seed", SEEDS)
async def test_pods_are_as_wanted_whoever_dies_while_they_come_and_go(world: Site, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    board, daemons = Board(tmp_path / "board"), Daemons(world)
    story: list[str] = []
    wanted: set[str] = set()
    for number in range(ROUNDS):
        for _ in range(chance.randint(1, 3)):
            if wanted and (len(wanted) >= MOST_PODS or chance.random() < 0.4):
                name = chance.choice(sorted(wanted))
                wanted.remove(name)
                story.append(f"delete {name}")
                await world.delete(POD, name)
            else:
                name = f"p{seed}-{len(story)}"
                wanted.add(name)
                story.append(f"create {name}")
                await world.create(POD, board.pod(name))
        await world.patch(CONFIG_MAP, "settings", {"data": {"round": str(number + 1)}})
        victims = chance.sample(daemons.names, chance.choice((1, 1, 2)))
        await asyncio.sleep(chance.uniform(0, 0.6))
        for name in victims:
            story.append(f"kill {name}")
            await daemons.kill(name)
        if "edgecore" in victims and "apiserver" not in victims:
            # In this order: what the node deletes in between is no longer in either.
            known = await acknowledged(world)
            there = await existing(world)
            stored = Stored(world, tmp_path / "copy")
            for key, uid in known.keys() & there:
                assert stored.get(key, ("", 0))[0] == uid, (key, story)
                assert stored[key][1] >= known[key, uid], (key, story)
        await asyncio.sleep(chance.uniform(0, 0.6))
        async with asyncio.TaskGroup() as group:
            # All at once: cloudcore is not up before the API is.
            for name in chance.sample(victims, len(victims)):
                group.create_task(daemons.start(name))

    async def all_is_as_wanted() -> bool:
        pods = {one["metadata"]["name"]: one for one in await world.objects(POD, "default")}
        containers = sorted(one.pod for one in await world.containers.running())
        shown = sorted(name for name, one in pods.items() if is_running(one))
        found.update(pods=sorted(pods), shown=shown, board=sorted(board.running), containers=containers)
        return all(names == sorted(wanted) for names in found.values())

    found: dict[str, list[str]] = {}

    def otherwise() -> str:
        return f"wanted {sorted(wanted)}, found {found} after\n" + "\n".join(story)

    await until(all_is_as_wanted, SETTLE_TIMEOUT_S, otherwise)
    assert board.lines("twice") == [], otherwise()
    # Only a supervisor that dies while it starts a container costs a restart: nobody can tell how far that had come.
    deaths = story.count("kill supervisor")
    starts = Counter(board.lines("starts"))
    assert max(starts.values(), default=0) <= 1 + deaths, otherwise()
    for one in await world.objects(POD, "default"):
        name, restarts = one["metadata"]["name"], container_status(one)["restartCount"]
        assert restarts <= deaths, (name, otherwise())
        assert 1 <= starts[name] <= restarts + 1, (name, otherwise())
    # And the node's database is what the cloud takes it for, no more and no less.
    await until(lambda: _pods_are_acknowledged(world, wanted), SETTLE_TIMEOUT_S, otherwise)
    stored = Stored(world, tmp_path / "copy")
    for key, uid in (await acknowledged(world)).keys() & await existing(world):
        assert stored[key][0] == uid, key
    assert {key for key in stored if key.startswith("default/pod/")} == {f"default/pod/{name}" for name in wanted}
    assert "default/configmap/settings" in stored

    for name in wanted:
        await world.delete(POD, name)
    await until(lambda: not board.running)
    for name in wanted:
        await world.gone(POD, name)
    assert not await world.containers.running()
    assert not list((world._edge / "kubelet" / "pods").iterdir())
    for program in (world.edgecore, world.cloudcore, world.api_program):
        _, mark, trace = program.log_path.read_text(encoding="utf-8").partition("Traceback")
        assert not mark, (program.name, trace[:4000])


async def _pods_are_acknowledged(site: Site, names: set[str]) -> bool:
    known = await acknowledged(site)
    pods = [one["metadata"] for one in await site.objects(POD, "default")]
    versions = {(f"default/pod/{one['name']}", one["uid"]): int(one["resourceVersion"]) for one in pods}
    return {one: version for one, version in known.items() if one[0].startswith("default/pod/")} == versions


async def test_a_node_that_died_offline_goes_on_offline(world: Site, tmp_path: Path) -> None:
    board, daemons = Board(tmp_path / "board"), Daemons(world)
    for name in ("stays", "dies", "goes"):
        await world.create(POD, board.pod(name))
        await world.pod_is(name, is_running)
    before = {one.pod: one for one in await world.containers.running()}
    await daemons.kill("cloudcore")
    await daemons.kill("edgecore")
    await world.delete(POD, "goes")
    await world.create(POD, board.pod("comes"))
    os.kill(before["dies"].pid, signal.SIGKILL)
    (board.folder / "dies").rmdir()
    await world.start_edgecore()

    async def is_restarted() -> bool:
        now = {one.pod: one for one in await world.containers.running()}
        return set(now) == set(before) and now["dies"] != before["dies"]

    await until(is_restarted)
    await until(lambda: _known_to_the_node(world, {"stays", "dies", "goes"}))
    assert await _same(world, before, "stays", "goes")
    # It dies again, and again there is nobody to ask.
    await daemons.kill("edgecore")
    await world.start_edgecore()
    await until(lambda: _known_to_the_node(world, {"stays", "dies", "goes"}))
    assert await _same(world, before, "stays", "goes")
    await world.start_cloudcore()
    await world.pod_is("comes", is_running)
    await world.gone(POD, "goes")
    dies = await world.pod_is("dies", is_running)
    assert container_status(dies)["restartCount"] == 1
    assert container_status(dies)["lastState"]["terminated"]["exitCode"] == 137
    assert await _same(world, before, "stays")
    assert board.lines("twice") == []
    for name in ("stays", "dies", "comes"):
        await world.delete(POD, name)
        await world.gone(POD, name)


async def _known_to_the_node(site: Site, names: set[str]) -> bool:
    pods = await site.edge_pods()
    return {one["metadata"]["name"] for one in pods} == names and all(map(is_running, pods))


async def _same(site: Site, before: dict[str, RunningContainer], *names: str) -> bool:
    now = {one.pod: one for one in await site.containers.running()}
    return all(now.get(name) == before[name] for name in names)
