"""The recorded pods once on each runtime; the tests look at what happened then."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import pytest

from kubeedge.demo import configuration
from tests.containerd import Containerd, busybox_files
from tests.e2e.cri_proxy import RecordingProxy
from tests.e2e.cri_requests import Requests
from tests.e2e.expectations import OUT_OF_MEMORY, on_containerd, on_process
from tests.e2e.recorded_node import RecordedNode, Run
from tests.sites import Site


@pytest.fixture(scope="session")
def recorded_runs(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The runs by the name of their runtime. They mostly wait, so they take place at the same time."""

    async def play() -> dict[str, Run]:
        async with asyncio.TaskGroup() as group:
            tasks = {
                "process": group.create_task(on_local_processes(tmp_path_factory.mktemp("process-site"))),
                "containerd": group.create_task(on_a_real_engine(containerd, tmp_path_factory.mktemp("cri-site"))),
            }
        return {runtime: task.result() for runtime, task in tasks.items()}

    return asyncio.run(play())


@pytest.fixture
def run(recorded_runs: dict[str, Run], runtime: str) -> Run:
    """The run on the runtime that the test is parametrised with."""
    return recorded_runs[runtime]


async def on_local_processes(folder: Path) -> Run:
    """Play on local processes, for which busybox is unpacked as an image."""
    free = configuration.free_ports()
    node = RecordedNode(Site(folder), on_process(folder / "host", (free.hub, free.edged)))
    return await node.play(prepare=unpack_busybox)


async def on_a_real_engine(containerd: Containerd, folder: Path) -> Run:
    """Play on containerd, and note all that is asked of it."""
    node = RecordedNode(Site(folder), on_containerd(folder / "host"))
    # A socket's path may not be long.
    with tempfile.TemporaryDirectory() as short:
        proxy = RecordingProxy(Path(short) / "cri.sock", containerd.socket)
        async with proxy.running():
            run = await node.play(proxy.endpoint)
    places = {node.folder / "kubelet": "ROOT", node.folder / "logs": "LOGS", folder / "host": "HOST"}
    recorded, adapted = OUT_OF_MEMORY
    words = {str(path): name for path, name in places.items()} | {adapted: recorded}
    run.requests = Requests(proxy.calls, words, configuration.LOOPBACK)
    return run


def unpack_busybox(node: Path) -> None:
    """Give `process` the image of the recorded pods."""
    folder = node / "containers" / "images" / "busybox%3A1.36"
    root = folder / "rootfs"
    root.mkdir(parents=True)
    for name, content in busybox_files().items():
        path = root / name
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    config = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
