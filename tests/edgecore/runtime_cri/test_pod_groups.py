"""The groups of pods on control groups of version 2, which this machine need not have: a tree of plain files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeedge.edgecore.edged.runtime.cri.pod_groups import PodGroups
from kubeedge.edgecore.edged.runtime.interface import Resources

BURSTABLE = "/kubepods/burstable/pod1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("", "kubepods", "kubepods/burstable", "kubepods/besteffort"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.subtree_control").write_text("")
        (tmp_path / folder / "cpu.weight").write_text("100")
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids")
    return tmp_path


@pytest.fixture
def groups(root: Path) -> PodGroups:
    return PodGroups("", f"cgroup2 {root} cgroup2 rw,nosuid 0 0\n")


def read(root: Path, group: str, file: str) -> str:
    return (root / group.strip("/") / file).read_text()


def test_limits_of_a_pod_are_set_before_anything_runs_in_it(root: Path, groups: PodGroups) -> None:
    groups.make(BURSTABLE, Resources(cpu_shares=1024, cpu_quota=50_000, memory_limit_bytes=64 << 20))
    assert read(root, BURSTABLE, "cpu.max") == "50000 100000"
    assert read(root, BURSTABLE, "memory.max") == str(64 << 20)
    assert read(root, BURSTABLE, "cpu.weight") == "39"
    for folder in ("", "kubepods", "kubepods/burstable"):
        assert read(root, folder, "cgroup.subtree_control") == "+cpu +memory"


@pytest.mark.parametrize(("shares", "weight"), [(0, "1"), (2, "1"), (262_144, "10000"), (1 << 30, "10000")])
def test_shares_become_weights(root: Path, groups: PodGroups, shares: int, weight: str) -> None:
    groups.make(BURSTABLE, Resources(cpu_shares=shares))
    assert read(root, BURSTABLE, "cpu.weight") == weight


def test_pods_that_asked_for_nothing_come_after_those_that_did(root: Path, groups: PodGroups) -> None:
    groups.make(BURSTABLE, Resources(cpu_shares=1024))
    groups.make("/kubepods/burstable/pod2", Resources(cpu_shares=2048))
    groups.make("/kubepods/besteffort/pod3", Resources(cpu_shares=2))
    assert read(root, "kubepods/burstable", "cpu.weight") == str(39 + 79)
    assert read(root, "kubepods/besteffort", "cpu.weight") == "1"
    assert groups.uids() == {"1", "2", "3"}


def test_group_in_use_stays_and_one_that_is_empty_goes(root: Path, groups: PodGroups) -> None:
    (root / "kubepods/pod4").mkdir()
    groups.make(BURSTABLE, Resources())
    assert groups.remove("4")
    assert not groups.remove("1")
    assert groups.uids() == {"1"}
    assert groups.remove("unknown")


def test_machine_without_control_groups_has_no_pods_in_them() -> None:
    groups = PodGroups("/x", "tmpfs /tmp tmpfs rw 0 0\n")
    groups.make(BURSTABLE, Resources(cpu_shares=2, memory_limit_bytes=1))
    assert groups.uids() == set()
