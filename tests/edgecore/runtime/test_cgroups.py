"""Both versions of control groups, on folders that look like them: a machine has only one of the two."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeedge.edgecore.edged.runtime.process.cgroups import Cgroups

V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup {root}/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup {root}/memory cgroup rw,memory 0 0
cgroup {root}/systemd cgroup rw,name=systemd 0 0
cgroup2 {root}/unified cgroup2 rw 0 0
"""
V2 = "cgroup2 {root} cgroup2 rw 0 0\n"
NAME = "/kubepods/pod1/c1"


def made(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")
    return folder


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    groups = Cgroups(V1.format(root=tmp_path))
    assert not groups.is_v2
    assert groups.folders == {"cpu": f"{tmp_path}/cpu,cpuacct", "memory": f"{tmp_path}/memory"}
    assert groups.process_folders == [f"{tmp_path}/systemd", f"{tmp_path}/unified"]
    cpu = made(
        tmp_path / "cpu,cpuacct/kubepods/pod1/c1", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.shares", "cgroup.procs"
    )
    memory = made(tmp_path / "memory/kubepods/pod1/c1", "memory.limit_in_bytes", "cgroup.procs")
    groups.enter(NAME, {"memory": 1 << 20, "quota": 50_000, "period": 0, "shares": 512}, {"ignored": "here"})
    assert {file.name: file.read_text() for folder in (cpu, memory) for file in folder.iterdir()} == {
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "cpu.shares": "512",
        "cgroup.procs": "0",
        "memory.limit_in_bytes": "1048576",
    }
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert groups.oom_kills(NAME) == 2


def test_version_2_enables_the_controllers_on_the_way(tmp_path: Path) -> None:
    made(tmp_path, "cgroup.subtree_control")
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    groups = Cgroups(V2.format(root=tmp_path))
    assert groups.is_v2
    assert set(groups.folders) == {"memory", "cpu"}
    for folder in ("kubepods", "kubepods/pod1"):
        made(tmp_path / folder, "cgroup.subtree_control")
    files = ("memory.max", "cpu.max", "cpu.weight", "memory.oom.group", "cgroup.procs")
    group = made(tmp_path / "kubepods/pod1/c1", *files)
    groups.enter(
        NAME, {"memory": 1 << 20, "quota": 50_000, "period": 100_000, "shares": 1024}, {"memory.oom.group": "1"}
    )
    assert {name: (group / name).read_text() for name in files} == {
        "memory.max": "1048576",
        "cpu.max": "50000 100000",
        "cpu.weight": "39",
        "memory.oom.group": "1",
        "cgroup.procs": "0",
    }
    for folder in ("", "kubepods", "kubepods/pod1"):
        assert set((tmp_path / folder / "cgroup.subtree_control").read_text().split()) == {"+memory", "+cpu"}
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert groups.oom_kills(NAME) == 1


def test_limit_that_cannot_be_set_is_an_error_but_a_share_is_a_wish(tmp_path: Path) -> None:
    groups = Cgroups(f"cgroup {tmp_path}/cpu cgroup rw,cpu 0 0\n")
    made(tmp_path / "cpu/kubepods/pod1/c1", "cgroup.procs")
    groups.enter(NAME, {"memory": 0, "quota": 0, "period": 0, "shares": 1024}, {})
    with pytest.raises(OSError, match="No such file"):
        groups.enter(NAME, {"memory": 0, "quota": 1000, "period": 0, "shares": 0}, {})
    with pytest.raises(KeyError, match="memory"):
        groups.enter(NAME, {"memory": 1000, "quota": 0, "period": 0, "shares": 0}, {})


def test_empty_groups_are_removed_and_their_pods_group_with_the_last(tmp_path: Path) -> None:
    groups = Cgroups(f"cgroup {tmp_path} cgroup rw,cpu 0 0\n")
    for name in ("c1", "c2"):
        (tmp_path / "kubepods/pod1" / name).mkdir(parents=True)
    groups.remove("/kubepods/pod1/c1")
    assert (tmp_path / "kubepods/pod1/c2").exists()
    groups.remove("/kubepods/pod1/c2")
    assert not (tmp_path / "kubepods/pod1").exists()
    assert (tmp_path / "kubepods").exists()


def test_supervisor_leaves_the_service_that_it_was_started_in(tmp_path: Path) -> None:
    groups = Cgroups(V2.format(root=tmp_path))
    groups.leave_service("0::/\n")
    assert list(tmp_path.iterdir()) == []
    made(tmp_path / "kubeedge-containers", "cgroup.procs")
    groups.leave_service("0::/system.slice/edgecore.service\n")
    assert (tmp_path / "kubeedge-containers/cgroup.procs").read_text() == "0"


def test_machine_without_control_groups_gives_none(tmp_path: Path) -> None:
    groups = Cgroups("proc /proc proc rw 0 0\n")
    assert groups.usable() == []
    assert groups.groups(NAME) == []
    assert groups.processes(NAME) == []
    assert groups.oom_kills(NAME) == 0
