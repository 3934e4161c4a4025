"""What containers use: both versions of control groups on folders that look like them, and real processes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from kubeedge.edgecore.edged.runtime.process import usage
from kubeedge.edgecore.edged.runtime.process.cgroups import Cgroups
from kubeedge.edgecore.edged.runtime.process.usage import Memory
from tests.edgecore.runtime.conftest import Node

NAME = "/kubepods/pod1/c1"
STAT = "{pid} (a) b {pid}) S 1 {pid} {session} 0 -1 0 0 0 0 0 {user} 2 3 4 20 0 1 0 100 4096 {pages} 0 0\n"


def made(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_group_of_version_1_counts_in_files_of_two_hierarchies(tmp_path: Path) -> None:
    lines = "cgroup {0}/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup {0}/memory cgroup rw,memory 0 0\n"
    groups = Cgroups(lines.format(tmp_path))
    assert (usage.group_cpu_ns(groups, NAME), usage.group_memory(groups, NAME)) == (None, None)
    made(tmp_path / "cpu/kubepods/pod1/c1", cpuacct__usage="1234567\n")
    stat = "rss 1\ntotal_rss 3000\ntotal_inactive_file 1000\n"
    made(tmp_path / "memory/kubepods/pod1/c1", memory__usage_in_bytes="5000\n", memory__stat=stat)
    assert usage.group_cpu_ns(groups, NAME) == 1234567
    assert usage.group_memory(groups, NAME) == Memory(5000, 4000, 3000)


def test_group_of_version_2_counts_in_one_folder(tmp_path: Path) -> None:
    made(tmp_path / "x", cgroup__controllers="cpu memory\n")
    groups = Cgroups(f"cgroup2 {tmp_path}/x cgroup2 rw 0 0\n")
    assert (usage.group_cpu_ns(groups, NAME), usage.group_memory(groups, NAME)) == (None, None)
    made(
        tmp_path / "x/kubepods/pod1/c1",
        cpu__stat="usage_usec 1500\nuser_usec 1000\n",
        memory__current="5000\n",
        memory__stat="anon 3000\nfile 2000\ninactive_file 6000\n",
    )
    assert usage.group_cpu_ns(groups, NAME) == 1_500_000
    assert usage.group_memory(groups, NAME) == Memory(5000, 0, 3000)


def test_processes_add_up_by_session_whatever_their_names() -> None:
    texts = [STAT.format(pid=pid, session=7 + pid // 9, user=pid, pages=pid) for pid in (7, 8, 9)]
    found = usage.sum_sessions(iter([*texts, "", "5 (gone"]))
    assert {session: (sums.cpu_ns, sums.rss) for session, sums in found.items()} == {
        7: ((7 + 8 + 2 * 9) * usage._TICK_NS, 15 * usage._PAGE_BYTES),
        8: ((9 + 9) * usage._TICK_NS, 9 * usage._PAGE_BYTES),
    }


async def test_running_container_with_its_children_is_counted_and_no_other(node: Node) -> None:
    await node.ended(await node.run("true"))
    script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo up; sleep 1000 & wait"
    container = await node.run("sh", "-c", script, log_path="0.log")
    async with asyncio.timeout(20):
        while (await node.runtime.container_stats())[0].cpu_ns < 30_000_000:  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.05)
    before = time.time_ns()
    (stats,) = await node.runtime.container_stats()
    assert stats.container_id == container
    assert before <= stats.read_at <= time.time_ns()
    assert stats.memory_usage >= stats.working_set > 0
    assert stats.rss > 0
    await node.restart()
    (again,) = await node.runtime.container_stats()
    assert again.cpu_ns >= stats.cpu_ns
