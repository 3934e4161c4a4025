"""edgecore or containerd dies while 20 pods come and go: nothing runs twice, nothing is left over.

KUBEEDGE_KILL_ROUNDS says how many rounds are played; each has another seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.kube.kinds import POD
from tests.containerd import Containerd
from tests.faults.engines import engine_in, site_on
from tests.sites import Object, Site, container_status, is_running, pod, until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("KUBEEDGE_KILL_ROUNDS", "2"))
PODS = 20
SETTLE_TIMEOUT_S = 90
BOARD = "/board"

# Takes the lock of the file that the shell has open as 9: it is the shell's then, until that ends. busybox has no such.
LOCK_SOURCE = """
#include <sys/file.h>
int main(void) { return flock(9, LOCK_EX | LOCK_NB) != 0; }
"""

# Holds a lock as long as it runs, whatever it dies of: whoever finds it held is the second.
SCRIPT = f"""
trap 'exit 0' TERM
exec 9> {BOARD}/$NAME.lock
{BOARD}/lock || echo $NAME >> {BOARD}/twice
echo $NAME >> {BOARD}/starts
while true; do sleep 1000 9>&- & wait; done
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containerd]:
    """A containerd that nobody else needs."""
    async with engine_in(tmp_path_factory.mktemp("killed")) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(engine: Containerd, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A site whose node runs its pods there."""
    async with site_on(engine, tmp_path_factory.mktemp("dying")) as site:
        yield site


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that takes the locks, which needs nothing of the image that it runs in."""
    path = tmp_path_factory.mktemp("lock") / "lock"
    command = ["gcc", "-static", "-Os", "-s", "-x", "c", "-o", str(path), "-"]
    subprocess.run(command, input=LOCK_SOURCE.encode(), check=True)
    return path


def board_pod(name: str, board: Path) -> Object:
    """Return a pod whose container says on the board that it runs."""
    container = {
        "name": "main",
        "image": "busybox:1.36",
        "command": ["sh", "-c", SCRIPT],
        "env": [{"name": "NAME", "value": name}],
        "volumeMounts": [{"name": "board", "mountPath": BOARD}],
    }
    volumes = [{"name": "board", "hostPath": {"path": str(board)}}]
    return pod(name, container, volumes=volumes, terminationGracePeriodSeconds=5, automountServiceAccountToken=False)


async def kill_and_start(world: Site, engine: Containerd, victim: str, pause_s: float) -> None:
    """Let one of the two die, and come back a moment later."""
    if victim == "edgecore":
        await world.edgecore.kill()
        await asyncio.sleep(pause_s)
        await world.start_edgecore()
    else:
        await asyncio.to_thread(engine.kill)
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(engine.start)


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_no_container_runs_twice_or_is_left_over(
    world: Site, engine: Containerd, lock: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    board = tmp_path / "board"
    board.mkdir(mode=0o777)
    shutil.copy(lock, board)
    names = [f"r{seed}-{number}" for number in range(PODS)]
    victims = ["edgecore", "containerd"] if seed % 2 else ["containerd", "edgecore"]
    for name in names:
        await world.create(POD, board_pod(name, board))
    await asyncio.sleep(chance.uniform(0, 2.5))
    kept = set(chance.sample(names, PODS // 2))
    for name in sorted(set(names) - kept):
        await world.delete(POD, name)
    await asyncio.sleep(chance.uniform(0, 1))
    ran = {one["metadata"]["name"] for one in await world.objects(POD, "default") if is_running(one)}
    await kill_and_start(world, engine, victims[0], chance.uniform(0, 1))

    def lines(file: str) -> list[str]:
        path = board / file
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    async def all_is_as_wanted() -> bool:
        pods = {one["metadata"]["name"]: one for one in await world.objects(POD, "default")}
        return (
            set(pods) == kept <= set(lines("starts"))
            and all(map(is_running, pods.values()))
            and sorted(one.pod for one in await world.containers.running()) == sorted(kept)
        )

    def otherwise() -> str:
        starts = sorted(lines("starts"))
        return f"kept {sorted(kept)}, starts {starts}, twice {lines('twice')}\n{world.edgecore.last_words(60)}"

    await until(all_is_as_wanted, SETTLE_TIMEOUT_S, otherwise)
    assert lines("twice") == [], otherwise()
    starts = Counter(lines("starts"))
    for one in await world.objects(POD, "default"):
        name, restarts = one["metadata"]["name"], container_status(one)["restartCount"]
        # containerd kills a container whose caller dies while it is being started: that is one more start, and told.
        assert restarts <= (name not in ran), (name, otherwise())
        assert 1 <= starts[name] <= restarts + 1, (name, otherwise())

    for name in kept:
        await world.delete(POD, name)
    await asyncio.sleep(chance.uniform(0, 1.5))
    await kill_and_start(world, engine, victims[1], chance.uniform(0, 1))
    for name in kept:
        await world.gone(POD, name, SETTLE_TIMEOUT_S)

    async def nothing_is_left() -> bool:
        runtime = world.containers._runtime  # type: ignore[attr-defined]
        folders = [path for name in ("kubelet/pods", "logs") for path in (world._edge / name).iterdir()]
        try:
            return not (await runtime.list_sandboxes() or await runtime.list_containers() or folders)
        except RuntimeUnavailableError:
            # containerd has only just been started again.
            return False

    await until(nothing_is_left, SETTLE_TIMEOUT_S, otherwise)
    assert "Traceback" not in world.edgecore.log_path.read_text(encoding="utf-8")
