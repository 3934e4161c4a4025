from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kubeedge.demo import choice
from kubeedge.demo.containers import main_processes, started_ticks
from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime
from kubeedge.edgecore.edged.runtime.interface import SandboxConfig
from tests.containerd import Containerd


def test_socket_is_told_from_nothing_and_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    assert not choice.has_socket(f"unix://{path}")
    path.touch()
    assert not choice.has_socket(f"unix://{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert choice.has_socket(f"unix://{path}")


async def test_socket_without_an_engine_is_an_obstacle(tmp_path: Path) -> None:
    assert "No such file" in await choice.obstacle(f"unix://{tmp_path}/engine.sock")


def test_demo_ends_with_the_reason_when_the_engine_that_was_asked_for_is_not_there(tmp_path: Path) -> None:
    demo = [sys.executable, "-m", "kubeedge.demo", "--check", "--runtime", "cri", "--endpoint", f"unix://{tmp_path}/no"]
    done = subprocess.run(demo, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no container engine to use:")


@pytest.mark.root
async def test_engine_with_pods_of_others_is_left_alone(containerd: Containerd, tmp_path: Path) -> None:
    assert await choice.obstacle(containerd.endpoint) == ""
    runtime = CriRuntime(containerd.endpoint)
    config = SandboxConfig("other", "default", "other", log_directory=str(tmp_path), cgroup_parent=containerd.cgroup)
    sandbox = await runtime.run_sandbox(config)
    try:
        assert await choice.obstacle(containerd.endpoint) == "it runs pods of somebody else"
        ((pid, ticks),) = main_processes({sandbox}).values()
        assert Path(f"/proc/{pid}/comm").read_text() == "pause\n"
        assert started_ticks(pid) == ticks
    finally:
        await runtime.stop_sandbox(sandbox)
        await runtime.remove_sandbox(sandbox)
        runtime._connection.close()
    assert main_processes({sandbox}) == {}


def test_process_that_ended_has_no_start() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ProcessLookupError):
        started_ticks(process.pid)
    process.wait()
    assert started_ticks(os.getpid()) > 0
