"""The runtime against a real containerd: what edged asks for is what containers get."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from kubeedge.edgecore.edged.runtime.cri import pod_groups
from kubeedge.edgecore.edged.runtime.cri import runtime as cri_runtime
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerState,
    DnsConfig,
    Mount,
    NamespaceOptions,
    PortMapping,
    Resources,
    RuntimeCallError,
    SandboxState,
    SecurityContext,
)
from tests.edgecore.runtime_cri.conftest import UID, Node

pytestmark = pytest.mark.root


async def test_container_runs_and_its_end_is_seen(node: Node) -> None:
    # containerd takes the time of the start a moment after it: a command that ends at once ends before.
    container_id = await node.run("sh", "-c", "echo hello; sleep 0.3; exit 3", annotations={"note": "x"})
    status = await node.ended(container_id)
    assert (status.exit_code, status.reason, status.name, status.attempt) == (3, "Error", "main", 0)
    assert status.created_at <= status.started_at <= status.finished_at
    assert (status.labels["io.kubernetes.pod.uid"], status.annotations) == (UID, {"note": "x"})
    assert status.log_path == f"{node.sandbox.log_directory}/main/0.log"
    assert status.image == "docker.io/library/busybox:1.36"
    assert node.output() == ["hello"]
    sandboxes, containers = await node.runtime.list_sandboxes(), await node.runtime.list_containers()
    assert [(s.id, s.name, s.uid, s.state) for s in sandboxes] == [(node.sandbox_id, "web", UID, SandboxState.READY)]
    assert [(c.id, c.sandbox_id, c.state) for c in containers] == [
        (container_id, node.sandbox_id, ContainerState.EXITED)
    ]


async def test_container_sees_what_its_configuration_says(node: Node) -> None:
    node.sandbox.dns = DnsConfig(["192.0.2.53"], ["a.example"], ["ndots:2"])
    node.sandbox.sysctls = {"net.ipv4.ip_unprivileged_port_start": "7"}
    script = (
        "echo $GREETING; pwd; hostname; id -u; id -g; id -G; cat /etc/resolv.conf; cat /given; "
        "(echo x > /given) 2>/dev/null || echo readonly; touch /x 2>/dev/null || echo readonly root; "
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep -E 'NoNewPrivs|CapEff' /proc/self/status; "
        "head -c 1 /proc/cpuinfo | wc -c; echo $0 $1"
    )
    await node.ended(
        await node.run(
            "sh",
            "-c",
            script,
            args=["zero", "one"],
            envs=[("GREETING", "good day")],
            working_dir="/tmp",
            mounts=[Mount("/given", node.file("given"), readonly=True)],
            security=SecurityContext(
                run_as_user=1000,
                run_as_group=1001,
                supplemental_groups=[2000],
                readonly_rootfs=True,
                no_new_privs=True,
                capabilities_drop=["ALL"],
                masked_paths=["/proc/cpuinfo"],
            ),
        )
    )
    assert node.output() == [
        "good day",
        "/tmp",
        "web",
        "1000",
        "1001",
        "1001 2000",
        "search a.example",
        "nameserver 192.0.2.53",
        "options ndots:2",
        "given",
        "readonly",
        "readonly root",
        "7",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "0",
        "zero one",
    ]


async def test_container_is_limited_as_asked(node: Node) -> None:
    limits = Resources(
        cpu_shares=102, cpu_quota=50_000, cpu_period=100_000, memory_limit_bytes=64 << 20, oom_score_adj=999
    )
    container_id = await node.run("sleep", "100", resources=limits)
    found = (await node.runtime.exec_sync(container_id, ["cat", "/proc/1/oom_score_adj", "/proc/1/cgroup"], 5)).stdout
    score, *groups = found.decode().split()
    assert score == "999"
    of_memory = next((g for g in groups if ":memory:" in g), groups[-1]).rpartition(":")[2]
    assert node.containerd.cgroup in of_memory or of_memory == "/"
    read = {
        path.name: path.read_text().split()
        for folder in node.groups_of(container_id)
        for path in folder.iterdir()
        if path.name in ("memory.limit_in_bytes", "memory.max", "cpu.shares", "cpu.cfs_quota_us", "cpu.max")
    }
    assert read.get("memory.limit_in_bytes", read.get("memory.max")) == [str(64 << 20)]
    assert read.get("cpu.shares", ["102"]) == ["102"]
    assert read.get("cpu.cfs_quota_us", read.get("cpu.max", [])[:1]) == ["50000"]


async def test_pod_is_limited_as_a_whole_and_leaves_no_group_behind(node: Node) -> None:
    groups = pod_groups.find(node.containerd.cgroup)
    node.sandbox.cgroup_parent = f"{node.containerd.cgroup}/kubepods/burstable/pod{UID}"
    node.sandbox.resources = Resources(
        cpu_shares=204, cpu_quota=20_000, cpu_period=100_000, memory_limit_bytes=96 << 20
    )
    container_id = await node.run("sleep", "100")
    found = {
        path.name: path.read_text().split()[0]
        for path in Path("/sys/fs/cgroup").glob(f"*{node.sandbox.cgroup_parent}/*")
        if path.name in ("memory.limit_in_bytes", "memory.max", "cpu.shares", "cpu.cfs_quota_us", "cpu.max")
    }
    assert found.get("memory.limit_in_bytes", found.get("memory.max")) == str(96 << 20)
    assert found.get("cpu.shares", "204") == "204"
    assert found.get("cpu.cfs_quota_us", found.get("cpu.max")) == "20000"
    assert node.groups_of(container_id)
    assert groups.uids() == {UID}
    await node.runtime.stop_sandbox(node.sandbox_id)
    await node.runtime.remove_sandbox(node.sandbox_id)
    assert groups.uids() == set()


async def test_group_that_was_left_behind_is_swept_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cri_runtime, "SWEEP_S", 0.1)
    groups = pod_groups.find(node.containerd.cgroup)
    groups.make(f"{node.containerd.cgroup}/kubepods/pod-of-before", Resources())
    await node.restart()
    await node.run("sleep", "100")
    await node.until(lambda: groups.uids() == {UID})


async def test_memory_that_runs_out_is_told(node: Node) -> None:
    limits = Resources(memory_limit_bytes=16 << 20)
    status = await node.ended(await node.run("tail", "/dev/zero", resources=limits))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_sandbox_has_an_address_that_the_host_reaches(node: Node) -> None:
    node.sandbox.ports = [PortMapping(80, host_port=18080)]
    await node.run("sh", "-c", "echo ok > /index.html; exec httpd -f -p 80 -h /")
    status = await node.runtime.sandbox_status(node.sandbox_id)
    (ip,) = status.ips
    assert status.network == "POD"
    gateway = node.containerd.gateway
    for host, port in ((ip, 80), (gateway, 18080)):
        assert (await node.get(host, port)).endswith(b"ok\n")


async def test_host_namespaces_are_the_hosts(node: Node) -> None:
    node.sandbox.hostname = ""
    node.sandbox.security.namespaces = NamespaceOptions("NODE", "NODE", "NODE")
    said = await node.said(
        "for kind in net pid ipc; do readlink /proc/self/ns/$kind; done",
        security=SecurityContext(namespaces=NamespaceOptions("NODE", "NODE", "NODE")),
    )
    assert said == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "pid", "ipc")]
    status = await node.runtime.sandbox_status(node.sandbox_id)
    assert (status.ips, status.network) == ([], "NODE")


async def test_shared_processes_are_seen_by_each_other(node: Node) -> None:
    shared = SecurityContext(namespaces=NamespaceOptions("POD", "POD", "POD"))
    node.sandbox.security.namespaces = shared.namespaces
    await node.run("sleep", "1234", name="other", security=shared)
    said = await node.said("ps", security=shared)
    assert any("sleep 1234" in line for line in said)
    assert any("/pause" in line for line in said)


async def test_container_ends_by_itself_when_asked(node: Node) -> None:
    container_id = await node.run("sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.05; done")
    await node.until_runs(container_id)
    await node.runtime.stop_container(container_id, 10)
    assert (await node.runtime.container_status(container_id)).exit_code == 5


async def test_container_that_does_not_listen_is_killed_after_its_grace(node: Node) -> None:
    container_id = await node.run("sh", "-c", "trap '' TERM; while true; do sleep 0.05; done")
    await node.until_runs(container_id)
    begun = time.monotonic()
    await node.runtime.stop_container(container_id, 1)
    assert 1 <= time.monotonic() - begun < 5
    assert (await node.runtime.container_status(container_id)).exit_code == 137


async def test_command_in_a_container_gives_output_and_code(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    result = await node.runtime.exec_sync(container_id, ["sh", "-c", "echo out; echo err >&2; exit 4"], 5)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 4)
    large = await node.runtime.exec_sync(container_id, ["head", "-c", "6000000", "/dev/zero"], 0)
    assert len(large.stdout) == 6_000_000


async def test_command_that_takes_too_long_is_ended(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    with pytest.raises(TimeoutError):
        await node.runtime.exec_sync(container_id, ["sleep", "77"], 0.5)
    assert b"sleep 77" not in (await node.runtime.exec_sync(container_id, ["ps"], 5)).stdout


async def test_command_that_cannot_run_is_an_error_with_the_runtimes_text(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    with pytest.raises(RuntimeCallError, match="stat /no/such/program: no such file or directory") as caught:
        await node.runtime.exec_sync(container_id, ["/no/such/program"], 5)
    assert caught.value.reason == "ExecError"
    await node.runtime.stop_container(container_id, 0)
    with pytest.raises(RuntimeCallError, match="container is in CONTAINER_EXITED state"):
        await node.runtime.exec_sync(container_id, ["true"], 5)


async def test_program_that_is_missing_is_told_as_kubernetes_words_it(node: Node) -> None:
    container_id = await node.create("/no/such/program")
    with pytest.raises(RuntimeCallError) as caught:
        await node.runtime.start_container(container_id)
    assert caught.value.reason == "RunContainerError"
    assert caught.value.message == (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        'unable to start container process: exec: "/no/such/program": stat /no/such/program: no such file or '
        "directory: unknown"
    )
    status = await node.runtime.container_status(container_id)
    assert (status.state, status.reason, status.exit_code) == (ContainerState.EXITED, "StartError", 128)
    assert status.message == caught.value.message


async def test_name_that_is_taken_is_refused(node: Node) -> None:
    await node.create("sleep", "1")
    with pytest.raises(RuntimeCallError, match="is reserved for") as caught:
        await node.create("sleep", "1")
    assert caught.value.reason == "CreateContainerError"
    with pytest.raises(RuntimeCallError, match="is reserved for") as caught:
        await node.runtime.run_sandbox(node.sandbox)
    assert caught.value.reason == "CreatePodSandboxError"


async def test_word_that_the_interface_does_not_have_is_refused(node: Node) -> None:
    with pytest.raises(RuntimeCallError, match="Sideways") as caught:
        await node.create("true", security=SecurityContext(seccomp_profile="Sideways"))
    assert caught.value.reason == "CreateContainerError"
    node.sandbox.ports = [PortMapping(80, "QUIC")]
    with pytest.raises(RuntimeCallError, match="QUIC") as caught:
        await node.runtime.run_sandbox(node.sandbox)
    assert caught.value.reason == "CreatePodSandboxError"


async def test_what_is_gone_is_ended_and_not_found(node: Node) -> None:
    await node.runtime.stop_container("gone", 1)
    await node.runtime.remove_container("gone")
    await node.runtime.stop_sandbox("gone")
    await node.runtime.remove_sandbox("gone")
    for look in (node.runtime.container_status, node.runtime.sandbox_status):
        with pytest.raises(RuntimeCallError) as caught:
            await look("gone")
        assert caught.value.reason == "NotFound"


async def test_stopped_sandbox_is_not_ready_and_removing_it_takes_its_containers(node: Node) -> None:
    container_id = await node.run("sleep", "100")
    await node.runtime.stop_sandbox(node.sandbox_id)
    assert (await node.runtime.sandbox_status(node.sandbox_id)).sandbox.state is SandboxState.NOT_READY
    assert (await node.runtime.container_status(container_id)).state is ContainerState.EXITED
    await node.runtime.remove_sandbox(node.sandbox_id)
    assert (await node.runtime.list_sandboxes(), await node.runtime.list_containers()) == ([], [])


async def test_log_goes_on_in_a_new_file(node: Node) -> None:
    container_id = await node.run("sh", "-c", "echo one; until [ -e /go ]; do sleep 0.05; done; echo two; sleep 100")
    log = Path(node.sandbox.log_directory) / "main" / "0.log"
    await node.until(log.exists)
    await node.until(lambda: "one" in log.read_text())
    log.rename(log.with_suffix(".log.rotated"))
    await node.runtime.reopen_log(container_id)
    await node.runtime.exec_sync(container_id, ["touch", "/go"], 5)
    await node.until(lambda: log.exists() and "two" in log.read_text())
    assert node.output() == ["two"]


async def test_runtime_tells_name_readiness_and_no_cgroup_driver(node: Node) -> None:
    version, status = await node.runtime.version(), await node.runtime.status()
    assert version.name == "containerd"
    assert version.version[0].isdigit()
    assert (status.runtime_ready, status.network_ready, status.runtime_message) == (True, True, "")
    # containerd tells its driver from 1.7 on; before that the configuration of the node counts.
    assert status.cgroup_driver in ("", "cgroupfs", "systemd")


async def test_network_that_fails_is_told_with_its_text(node: Node) -> None:
    conflist = node.containerd.network / "10-bridge.conflist"
    conflist.write_text(conflist.read_text().replace('"bridge",', '"no-such-plugin",', 1))
    try:
        await asyncio.sleep(0.3)
        with pytest.raises(RuntimeCallError, match='failed to find plugin "no-such-plugin"') as caught:
            await node.runtime.run_sandbox(node.sandbox)
        assert caught.value.reason == "CreatePodSandboxError"
        # What is left of it keeps the name, so the next attempt has another number.
        assert [s.state for s in await node.runtime.list_sandboxes()] in ([], [SandboxState.NOT_READY])
    finally:
        node.containerd.write_network()
        await asyncio.sleep(0.3)
    node.sandbox.attempt = 1
    await node.run("true")


async def test_end_of_a_container_and_of_a_sandbox_is_told(node: Node) -> None:
    uids: list[str] = []

    async def listen() -> None:
        async for event in node.runtime.events():
            uids.append(event.pod_uid)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    container_id = await node.run("sleep", "100")
    await node.runtime.exec_sync(container_id, ["true"], 5)
    await node.run("sleep", "0.3", name="brief")
    await node.until(lambda: bool(uids))
    assert uids == [UID]
    # What is told is true at once: nobody needs to look twice.
    states = {c.name: c.state for c in await node.runtime.list_containers()}
    assert states == {"main": ContainerState.RUNNING, "brief": ContainerState.EXITED}
    os.kill(node.pause_pid(), signal.SIGKILL)
    await node.until(lambda: len(uids) > 1)
    assert (await node.runtime.sandbox_status(node.sandbox_id)).sandbox.state is SandboxState.NOT_READY
    listener.cancel()
    await asyncio.wait([listener])
    assert listener.cancelled()


async def test_what_a_running_container_uses_is_told(node: Node) -> None:
    ended = await node.run("true", name="ended")
    await node.ended(ended)
    script = "head -c 200000 /dev/zero > /file; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo up; sleep 1000"
    busy = await node.run("sh", "-c", script)
    await node.until(lambda: node.output() == ["up"])
    before = time.time_ns()
    (stats,) = await node.runtime.container_stats()
    assert stats.container_id == busy
    assert before <= stats.read_at <= time.time_ns()
    assert 10_000_000 < stats.cpu_ns < 60_000_000_000
    assert stats.memory_usage >= stats.working_set >= stats.rss > 0
    await asyncio.sleep(1.2)
    assert (await node.runtime.container_stats())[0].cpu_ns >= stats.cpu_ns
