from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    ContainerState,
    DnsConfig,
    Mount,
    MountPropagation,
    NamespaceOptions,
    Resources,
    RuntimeCallError,
    RuntimeUnavailableError,
    SandboxState,
    SecurityContext,
)
from kubeedge.edgecore.edged.runtime.process import kernel, processes
from kubeedge.edgecore.edged.runtime.process.client import RefusedError
from kubeedge.edgecore.edged.runtime.process.convention import MARK
from tests.edgecore.runtime.conftest import Node, until

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done")
MAX_RSS_KB = 12 * 1024

needs_root = pytest.mark.root


async def test_output_exit_code_and_reason_are_kept(node: Node) -> None:
    container = await node.run("sh", "-c", "echo out; echo err >&2; printf rest; exit 3", log_path="main/0.log")
    status = await node.ended(container)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert 0 < status.started_at <= status.finished_at
    lines = [line.split(" ", 1)[1] for line in (node.folder / "logs/main/0.log").read_text().splitlines()]
    assert sorted(lines) == ["stderr F err", "stdout F out", "stdout F rest"]


async def test_success_is_completed(node: Node) -> None:
    status = await node.ended(await node.run("true"))
    assert (status.exit_code, status.reason) == (0, "Completed")


async def test_killed_container_ends_with_128_plus_the_signal(node: Node) -> None:
    container = await node.run("sleep", "60")
    os.kill(node.pid(container), signal.SIGKILL)
    status = await node.ended(container)
    assert (status.exit_code, status.reason) == (137, "Error")


async def test_no_exit_code_of_many_short_containers_is_lost(node: Node) -> None:
    await node.create("true")
    containers = await asyncio.gather(*(node.run("sh", "-c", f"exit {code}") for code in range(60)))
    assert [(await node.ended(one)).exit_code for one in containers] == list(range(60))


async def test_environment_is_that_of_the_pod_alone(node: Node) -> None:
    os.environ["SECRET_OF_EDGECORE"] = "1"
    container = await node.run("env", envs=[("A", "1"), ("EMPTY", ""), ("TEXT", "a\nb=ü")], log_path="0.log")
    await node.ended(container)
    env = "\n".join(node.output()).split("\n")
    assert {"A=1", "EMPTY=", "HOSTNAME=web", "TEXT=a", "b=ü"} <= set(env)
    assert not [line for line in env if line.startswith(("SECRET_OF_EDGECORE", "PYTHON"))]


async def test_container_starts_in_its_own_empty_folder(node: Node) -> None:
    container = await node.run("sh", "-c", "pwd; ls -A; echo x > y", log_path="0.log")
    await node.ended(container)
    work = node.root / "containers" / container / "work"
    assert node.output() == [str(work)]
    assert (work / "y").read_text() == "x\n"


async def test_missing_working_folder_is_an_error_of_the_start(node: Node) -> None:
    container = await node.create("true", working_dir="/no/such/folder")
    with pytest.raises(RuntimeCallError, match="cannot enter working directory /no/such/folder"):
        await node.runtime.start_container(container)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("/no/such/program", 'exec: "/no/such/program": no such file or directory'),
        ("no-such-program", 'exec: "no-such-program": executable file not found in \\$PATH'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
async def test_command_that_cannot_start_is_a_start_error(node: Node, command: str, text: str) -> None:
    container = await node.create(command)
    with pytest.raises(RuntimeCallError, match=text) as refused:
        await node.runtime.start_container(container)
    assert refused.value.reason == "RunContainerError"
    status = await node.runtime.container_status(container)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")


# Stopping


async def test_stop_lets_the_container_end_by_itself(node: Node) -> None:
    container = await node.run("sh", "-c", "trap 'echo bye; exit 4' TERM; echo up; while true; do sleep 0.1; done",
                               log_path="0.log")  # fmt: skip
    await until(lambda: node.output() == ["up"])
    await node.runtime.stop_container(container, 10)
    status = await node.runtime.container_status(container)
    assert (status.state, status.exit_code) == (ContainerState.EXITED, 4)
    assert node.output() == ["up", "bye"]


async def test_deaf_container_is_killed_after_its_grace_period(node: Node) -> None:
    container = await node.run("sh", "-c", "trap '' TERM; while true; do sleep 0.1; done")
    started = time.monotonic()
    await node.runtime.stop_container(container, 1)
    assert 0.9 < time.monotonic() - started < 3
    assert (await node.runtime.container_status(container)).exit_code == 137


async def test_shorter_grace_period_wins(node: Node) -> None:
    container = await node.run("sh", "-c", "trap '' TERM; while true; do sleep 0.1; done")
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(node.runtime.stop_container(container, 30))
        await asyncio.sleep(0.2)
        group.create_task(node.runtime.stop_container(container, 0))
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("pid_namespace", ["CONTAINER", "NODE"])
async def test_nothing_that_a_container_started_is_left(node: Node, pid_namespace: str) -> None:
    daemon = "setsid sh -c 'sleep 1234.5 & sleep 1234.5' >/dev/null 2>&1 &"
    security = SecurityContext(namespaces=NamespaceOptions(pid=pid_namespace))
    container = await node.run("sh", "-c", f"{daemon} sleep 1234.5", security=security)
    await until(lambda: _count("sleep 1234.5") >= 3)
    await node.runtime.stop_container(container, 0)
    await until(lambda: _count("sleep 1234.5") == 0)


async def test_stopped_sandbox_has_no_running_containers(node: Node) -> None:
    container = await node.run(*SLEEP)
    (sandbox,) = await node.runtime.list_sandboxes()
    await node.runtime.stop_sandbox(sandbox.id)
    await node.runtime.stop_sandbox(sandbox.id)
    assert (await node.runtime.container_status(container)).state is ContainerState.EXITED
    assert (await node.runtime.sandbox_status(sandbox.id)).sandbox.state is SandboxState.NOT_READY
    with pytest.raises(RuntimeCallError, match="not ready"):
        await node.create("true")
    await node.runtime.remove_sandbox(sandbox.id)
    assert await node.runtime.list_containers() == []
    assert list((node.root / "containers").iterdir()) == []


# Restarts


async def test_containers_and_their_logs_outlive_the_runtime(node: Node) -> None:
    ticking = await node.run("sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done", log_path="0.log")
    pid = node.pid(ticking)
    ending = await node.run("sh", "-c", "sleep 0.3; exit 9")
    await node.stop()
    await asyncio.sleep(0.5)
    await node.restart_after_stop()
    assert (await node.ended(ending)).exit_code == 9
    status = await node.runtime.container_status(ticking)
    assert (status.state, node.pid(ticking)) == (ContainerState.RUNNING, pid)
    count = len(node.output())
    await until(lambda: len(node.output()) > count)
    assert node.output() == [str(number) for number in range(1, len(node.output()) + 1)]


async def test_container_of_a_killed_process_goes_on(node: Node) -> None:
    """A whole process that used the runtime is killed, as an edgecore would be."""
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from tests.edgecore.runtime.conftest import Node
        async def main():
            node = Node(Path({str(node.folder)!r}))
            await node.start()
            print(await node.run("sh", "-c", "while true; do sleep 0.1; done"), flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert process.stdout is not None
    container = (await process.stdout.readline()).decode().strip()
    pid = node.pid(container)
    process.kill()
    await process.wait()
    await node.restart()
    assert (await node.runtime.container_status(container)).state is ContainerState.RUNNING
    os.kill(pid, signal.SIGKILL)
    assert (await node.ended(container)).exit_code == 137


async def test_containers_outlive_the_supervisor(node: Node) -> None:
    ended = await node.run("sh", "-c", "exit 5")
    await node.ended(ended)
    ticking = await node.run("sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done", log_path="0.log")
    pid, old = node.pid(ticking), node.supervisor_pid()
    os.kill(old, signal.SIGKILL)
    await until(lambda: node.supervisor_pid() != old)
    await node.ready()
    assert (await node.runtime.container_status(ended)).exit_code == 5
    status = await node.runtime.container_status(ticking)
    assert (status.state, node.pid(ticking)) == (ContainerState.RUNNING, pid)
    count = len(node.output())
    await until(lambda: len(node.output()) > count + 5)
    numbers = [int(text) for text in node.output()]
    # Lines that were in the dead supervisor's hands may be gone, none comes twice.
    assert numbers == sorted(set(numbers))
    assert (await node.runtime.exec_sync(ticking, ["echo", "x"], 5)).stdout == b"x\n"
    await node.runtime.stop_container(ticking, 0)
    status = await node.runtime.container_status(ticking)
    assert (status.exit_code, status.reason) == (255, "Unknown")


async def test_sandboxes_outlive_the_supervisor(node: Node) -> None:
    before = await node.runtime.run_sandbox(node.sandbox)
    os.kill(node.supervisor_pid(), signal.SIGKILL)
    await until(lambda: not node.runtime._is_ready)
    await node.ready()
    after = await node.runtime.run_sandbox(replace(node.sandbox, uid="uid-2"))
    for _ in range(2):
        sandboxes = {one.id: one.state for one in await node.runtime.list_sandboxes()}
        assert sandboxes == {before: SandboxState.READY, after: SandboxState.READY}
        await node.restart()


async def test_removal_of_a_container_that_is_being_started_leaves_nothing(node: Node) -> None:
    for _ in range(5):
        container = await node.create("sleep", "1000")
        start = asyncio.create_task(node.runtime.start_container(container))
        await asyncio.sleep(0)
        # An edgecore that was killed here would not know more than that it was made.
        await node.runtime.remove_container(container)
        await asyncio.wait([start])
        assert start.exception() is None or isinstance(start.exception(), RuntimeCallError)
        assert processes.with_variable(MARK, container) == []


async def test_container_that_ended_without_a_supervisor_is_known_to_have_ended(node: Node) -> None:
    container = await node.run("sleep", "60")
    pid = node.pid(container)
    await node.stop()
    os.kill(node.supervisor_pid(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    await node.restart_after_stop()
    status = await node.ended(container)
    assert (status.exit_code, status.reason) == (255, "Unknown")


async def test_supervisor_of_another_version_is_renewed_and_keeps_exit_codes(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await node.run("sh", "-c", "printf half; sleep 1; echo line; exit 6", log_path="0.log")
    pid = node.supervisor_pid()
    monkeypatch.setattr("kubeedge.edgecore.edged.runtime.process.runtime.__version__", "0.0.0")
    await node.stop()
    node.runtime._is_ready = False
    task = asyncio.create_task(node.runtime._follow())
    await asyncio.wait([task], timeout=10)
    assert task.done()
    monkeypatch.undo()
    await node.restart_after_stop()
    assert node.supervisor_pid() == pid
    assert (await node.ended(container)).exit_code == 6
    assert "".join(node.output()) == "halfline"


async def test_after_a_reboot_nothing_runs_and_no_stranger_is_killed(node: Node) -> None:
    container = await node.run("sleep", "60")
    pid = node.pid(container)
    await node.stop()
    os.kill(node.supervisor_pid(), signal.SIGKILL)
    started = node.root / "containers" / container / "started"
    lines = started.read_text().split("\n")
    lines[2] = "another-boot"
    started.write_text("\n".join(lines))
    sandbox = next((node.root / "sandboxes").glob("*.json"))
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    sandbox.write_text(sandbox.read_text().replace(boot_id, "another-boot"))
    await node.restart_after_stop()
    status = await node.ended(container)
    assert (status.exit_code, status.message) == (255, "the machine was restarted")
    assert (await node.runtime.list_sandboxes())[0].state is SandboxState.NOT_READY
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


async def test_container_without_a_record_is_ended_and_others_are_not(node: Node) -> None:
    broken, healthy = await node.run("sleep", "60"), await node.run("sleep", "60")
    pid = node.pid(broken)
    await node.stop()
    (node.root / "containers" / broken / "container.json").write_text("{")
    (node.root / "containers" / "half-made").mkdir()
    await node.restart_after_stop()
    assert [one.id for one in await node.runtime.list_containers()] == [healthy]
    assert {folder.name for folder in (node.root / "containers").iterdir()} == {healthy}
    assert not Path(f"/proc/{pid}").exists()
    assert (await node.runtime.container_status(healthy)).state is ContainerState.RUNNING


@needs_root
async def test_full_disk_is_an_error_of_the_start_and_harms_nobody(node: Node) -> None:
    """Records lie on a small file system of their own here."""
    small = node.folder / "small"
    small.mkdir()
    running = await node.run(*SLEEP)
    container = await node.create("sleep", "60")
    target = node.root / "containers" / container
    kernel.mount("small", str(small), "tmpfs", 0, "size=64k")
    try:
        shutil.copytree(target, small, dirs_exist_ok=True)
        shutil.rmtree(target)
        target.symlink_to(small)
        with contextlib.suppress(OSError):
            for number in range(1000):
                (small / f"filler-{number}").write_bytes(bytes(4096))
        with pytest.raises(RuntimeCallError, match=r"cannot be written down: No space left on device|No space left"):
            await node.runtime.start_container(container)
        assert (await node.runtime.exec_sync(running, ["true"], 5)).exit_code == 0
        assert "end not written down" in (node.root / "supervisor.log").read_text()
    finally:
        target.unlink()
        kernel.unmount(str(small), kernel.MNT_DETACH)
        target.mkdir()


async def test_calls_fail_clearly_until_the_supervisor_is_there(tmp_path: Path) -> None:
    node = Node(tmp_path)
    with pytest.raises(RuntimeUnavailableError, match="not started yet"):
        await node.runtime.list_containers()
    status = await node.runtime.status()
    assert not status.runtime_ready
    assert status.runtime_message


async def test_only_the_owner_may_speak_to_the_supervisor(node: Node) -> None:
    assert stat.S_IMODE((node.root / "supervisor.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize("request_text", ["nonsense", "start", "start\0x", "stop\0x\0y", "exec\0x\0y", "log\0x"])
async def test_bad_request_harms_nobody(node: Node, request_text: str) -> None:
    container = await node.run(*SLEEP)
    with pytest.raises(RefusedError, match="request"):
        await node.runtime._client.ask(*request_text.split("\0"))
    assert (await node.runtime.exec_sync(container, ["true"], 5)).exit_code == 0


# Commands in containers


async def test_exec_has_the_containers_files_environment_user_and_folder(node: Node) -> None:
    (node.folder / "volume").mkdir()
    container = await node.run(
        *SLEEP,
        envs=[("A", "1")],
        working_dir="/tmp",
        mounts=[Mount("/not-on-host/volume", str(node.folder / "volume"))],
        security=SecurityContext(run_as_user=1234, run_as_group=1235, supplemental_groups=[1236]),
    )
    script = "pwd; echo $A; id -u; id -g; id -G; hostname; ls -d /not-on-host/volume; echo e >&2; exit 5"
    result = await node.runtime.exec_sync(container, ["sh", "-c", script], 5)
    assert result.stdout.decode().split("\n")[:-1] == [
        *("/tmp", "1", "1234", "1235", "1235 1236", "web", "/not-on-host/volume")
    ]
    assert (result.stderr, result.exit_code) == (b"e\n", 5)


async def test_exec_gives_all_output(node: Node) -> None:
    container = await node.run(*SLEEP)
    result = await node.runtime.exec_sync(container, ["head", "-c", "3000000", "/dev/zero"], 10)
    assert result.stdout == bytes(3_000_000)


async def test_exec_that_takes_too_long_is_killed(node: Node) -> None:
    container = await node.run(*SLEEP)
    with pytest.raises(TimeoutError):
        await node.runtime.exec_sync(container, ["sleep", "2345.6"], 0.3)
    await until(lambda: _count("sleep 2345.6") == 0)


async def test_exec_of_an_unknown_command_says_so(node: Node) -> None:
    container = await node.run(*SLEEP)
    with pytest.raises(RuntimeCallError, match="executable file not found"):
        await node.runtime.exec_sync(container, ["no-such-program"], 5)


async def test_exec_in_an_ended_container_is_refused(node: Node) -> None:
    container = await node.run("true")
    await node.ended(container)
    with pytest.raises(RuntimeCallError, match="not running"):
        await node.runtime.exec_sync(container, ["true"], 5)


# Files


@needs_root
async def test_volumes_are_at_their_paths_and_the_host_is_not_touched(node: Node) -> None:
    volume, file = node.folder / "volume", node.folder / "file"
    volume.mkdir()
    (volume / "key").write_text("value")
    file.write_text("text")
    mounts = [
        Mount("/etc/not-on-host", str(volume), readonly=True),
        Mount("/not-on-host", str(volume)),
        Mount("/not-on-host/below", str(volume)),
        Mount("/dev/termination-log", str(file)),
        Mount("/etc/passwd", str(file)),
    ]
    script = """
        cat /etc/not-on-host/key /not-on-host/key /not-on-host/below/key /dev/termination-log /etc/passwd; echo
        touch /etc/not-on-host/x 2>/dev/null || echo read-only
        touch /not-on-host/x && ls -d /etc/hostname /usr/bin/env
        echo last words > /dev/termination-log
    """
    await node.ended(await node.run("sh", "-c", script, mounts=mounts, log_path="0.log"))
    assert node.output() == ["valuevaluevaluetexttext", "read-only", "/etc/hostname", "/usr/bin/env"]
    assert (volume / "x").exists()
    assert file.read_text() == "last words\n"
    assert not os.path.lexists("/etc/not-on-host")
    assert not os.path.lexists("/not-on-host")
    assert str(node.folder) not in Path("/proc/self/mounts").read_text()


@needs_root
async def test_update_of_a_volume_is_seen_in_the_running_container(node: Node) -> None:
    volume = node.folder / "volume"
    (volume / "..1").mkdir(parents=True)
    (volume / "..1/key").write_text("old")
    (volume / "..data").symlink_to("..1")
    (volume / "key").symlink_to("..data/key")
    container = await node.run(*SLEEP, mounts=[Mount("/not-on-host", str(volume), readonly=True)])
    assert (await node.runtime.exec_sync(container, ["cat", "/not-on-host/key"], 5)).stdout == b"old"
    (volume / "..2").mkdir()
    (volume / "..2/key").write_text("new")
    (volume / "..draft").symlink_to("..2")
    (volume / "..draft").rename(volume / "..data")
    assert (await node.runtime.exec_sync(container, ["cat", "/not-on-host/key"], 5)).stdout == b"new"


@needs_root
async def test_read_only_root_leaves_volumes_writable(node: Node) -> None:
    volume = node.folder / "volume"
    volume.mkdir()
    own = f"read-only-root-{os.getpid()}"
    container = await node.run(
        *("sh", "-c", f"touch /usr/{own} /tmp/{own} {own} 2>/dev/null; touch /data/x /dev/shm/x && echo written"),
        mounts=[Mount("/data", str(volume))],
        security=SecurityContext(readonly_rootfs=True),
        log_path="0.log",
    )
    await node.ended(container)
    assert node.output() == ["written"]
    assert (volume / "x").exists()
    assert not any(os.path.exists(f"{folder}/{own}") for folder in ("/usr", "/tmp"))
    assert list((node.root / "containers" / container / "work").iterdir()) == []


@needs_root
async def test_masked_and_read_only_paths(node: Node) -> None:
    security = SecurityContext(
        masked_paths=["/proc/cpuinfo", "/sys/firmware", "/proc/none"], readonly_paths=["/proc/sys"]
    )
    script = "ls /sys/firmware; wc -c < /proc/cpuinfo; (echo x > /proc/sys/kernel/domainname) 2>/dev/null || echo no"
    await node.ended(await node.run("sh", "-c", script, security=security, log_path="0.log"))
    assert node.output()[0] == "0"
    assert node.output()[1] == "no"


@needs_root
async def test_name_servers_of_the_pod(node: Node) -> None:
    node.sandbox.dns = DnsConfig(["192.0.2.53"], ["a.example", "b.example"], ["ndots:5"])
    await node.ended(await node.run("cat", "/etc/resolv.conf", log_path="0.log"))
    assert node.output() == ["nameserver 192.0.2.53", "search a.example b.example", "options ndots:5"]


async def test_missing_source_of_a_mount_is_an_error(node: Node) -> None:
    with pytest.raises(RuntimeCallError, match="does not exist on the host"):
        await node.create("true", mounts=[Mount("/data", str(node.folder / "missing"))])


@needs_root
async def test_file_cannot_be_mounted_on_a_folder(node: Node) -> None:
    (node.folder / "file").write_text("")
    container = await node.create("true", mounts=[Mount("/usr", str(node.folder / "file"))])
    with pytest.raises(RuntimeCallError, match="/usr is not a file there"):
        await node.runtime.start_container(container)


@needs_root
async def test_mounts_made_on_the_host_later_are_followed_where_asked(node: Node) -> None:
    volume = node.folder / "volume"
    (volume / "later").mkdir(parents=True)
    container = await node.run(
        *SLEEP,
        mounts=[
            Mount("/follows", str(volume), propagation=MountPropagation.HOST_TO_CONTAINER),
            Mount("/private", str(volume)),
        ],
    )
    shared = "shared:" in _mount_of(str(volume))
    kernel.mount("later", str(volume / "later"), "tmpfs", 0)
    try:
        (volume / "later/file").write_text("")
        found = (await node.runtime.exec_sync(container, ["ls", "/follows/later", "/private/later"], 5)).stdout
    finally:
        kernel.unmount(str(volume / "later"))
    assert (found.count(b"file") == 1) is shared
    assert b"/private/later:\nfile" not in found


# Rights


@needs_root
async def test_user_groups_capabilities_and_privileges(node: Node) -> None:
    security = SecurityContext(
        run_as_user=1234,
        run_as_group=1235,
        supplemental_groups=[1236],
        no_new_privs=True,
        capabilities_drop=["ALL"],
        capabilities_add=["NET_BIND_SERVICE"],
    )
    script = "id -u; id -G; grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status; echo ok > /dev/stdout"
    await node.ended(await node.run("sh", "-c", script, security=security, log_path="0.log"))
    assert node.output() == [
        *("1234", "1235 1236", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "ok")
    ]


@needs_root
async def test_root_in_a_container_has_the_usual_capabilities(node: Node) -> None:
    await node.ended(await node.run("grep", "CapEff", "/proc/self/status", log_path="0.log"))
    assert node.output() == ["CapEff:\t00000000a80425fb"]


@pytest.mark.parametrize("no_new_privs", [False, True])
async def test_default_seccomp_profile_refuses_what_changes_the_machine(node: Node, no_new_privs: bool) -> None:
    script = "grep Seccomp: /proc/self/status; unshare -U true 2>&1; for i in 1 2 3; do (true) & done; wait; echo end"
    security = SecurityContext(seccomp_profile="RuntimeDefault", no_new_privs=no_new_privs, run_as_user=os.geteuid())
    await node.ended(await node.run("sh", "-c", script, security=security, log_path="0.log"))
    assert node.output()[0].split() == ["Seccomp:", "2"]
    assert "Operation not permitted" in node.output()[1]
    assert node.output()[-1] == "end"


@needs_root
async def test_container_that_may_mount_may_also_under_the_default_profile(node: Node) -> None:
    security = SecurityContext(seccomp_profile="RuntimeDefault", capabilities_add=["SYS_ADMIN"])
    script = "mount -t tmpfs none /mnt && unshare -m true && echo done"
    await node.ended(await node.run("sh", "-c", script, security=security, log_path="0.log"))
    assert node.output() == ["done"]


async def test_other_seccomp_profiles_are_refused(node: Node) -> None:
    with pytest.raises(RuntimeCallError, match="seccompProfile Localhost is not supported"):
        await node.create("true", security=SecurityContext(seccomp_profile="Localhost"))


@needs_root
async def test_privileged_container_sees_the_devices_of_the_host(node: Node) -> None:
    security = SecurityContext(privileged=True)
    await node.ended(await node.run("ls", "/dev", security=security, log_path="0.log"))
    assert set(os.listdir("/dev")) - set(node.output()) == set()
    await node.ended(await node.run("ls", "/dev", log_path="1.log"))
    assert "mem" not in node.output("1.log")


@needs_root
async def test_container_has_its_own_processes_and_host_name(node: Node) -> None:
    await node.ended(await node.run("sh", "-c", "echo $$; hostname", log_path="0.log"))
    assert node.output() == ["1", "web"]
    host = SecurityContext(namespaces=NamespaceOptions(pid="NODE"))
    container = await node.run("sh", "-c", "echo $$; sleep 60", security=host, log_path="1.log")
    await until(lambda: node.output("1.log") == [str(node.pid(container))])


@needs_root
async def test_containers_of_a_pod_share_the_ipc_namespace(node: Node) -> None:
    first, second = await node.run("sleep", "60"), await node.run("sleep", "60")

    def ipc(pid: int | str) -> str:
        return os.readlink(f"/proc/{pid}/ns/ipc")

    assert ipc(node.pid(first)) == ipc(node.pid(second)) != ipc("self")


# Limits


@needs_root
async def test_memory_limit_ends_in_oomkilled(node: Node) -> None:
    if "memory" not in node.runtime._features:
        with pytest.raises(RuntimeCallError, match="memory limit cannot be enforced"):
            await node.create("true", resources=Resources(memory_limit_bytes=16 << 20))
        return
    container = await node.run("sh", "-c", "exec tail /dev/zero", resources=Resources(memory_limit_bytes=16 << 20))
    status = await node.ended(container)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_limit_that_cannot_be_enforced_is_refused_unless_configured(node: Node) -> None:
    node.runtime._features -= {"memory", "cpu"}
    pod = {"spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}]}}
    assert "container c: the memory limit cannot be enforced" in node.runtime.refuses(pod)
    with pytest.raises(RuntimeCallError, match="cpu limit cannot be enforced"):
        await node.create("true", resources=Resources(cpu_quota=1000))
    node.runtime._enforce_limits = False
    assert node.runtime.refuses(pod) == ""
    await node.ended(await node.run("true", resources=Resources(cpu_quota=1000)))


@needs_root
async def test_oom_score_is_set(node: Node) -> None:
    container = await node.run(
        "cat", "/proc/self/oom_score_adj", resources=Resources(oom_score_adj=777), log_path="0.log"
    )
    await node.ended(container)
    assert node.output() == ["777"]


# Output


async def test_log_is_reopened_after_a_rotation(node: Node) -> None:
    container = await node.run(
        "sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done", log_path="0.log"
    )
    log = node.folder / "logs/0.log"
    await until(lambda: log.exists() and len(node.output()) > 3)
    log.rename(node.folder / "logs/0.log.1")
    await node.runtime.reopen_log(container)
    await until(lambda: len(node.output()) > 3)
    numbers = node.output("0.log.1") + node.output()
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


async def test_much_output_is_complete(node: Node) -> None:
    container = await node.run("sh", "-c", "seq 200000; head -c 100000 /dev/zero | tr '\\0' x", log_path="0.log")
    await node.ended(container)
    lines = (node.folder / "logs/0.log").read_text().splitlines()
    full = [line.split(" ", 3)[3] for line in lines]
    assert full[:200000] == [str(number) for number in range(1, 200001)]
    assert "".join(full[200000:]) == "x" * 100000


async def test_container_with_a_terminal(node: Node) -> None:
    container = await node.run("sh", "-c", "test -t 0 && test -t 1 && echo terminal", tty=True, log_path="0.log")
    assert (await node.ended(container)).exit_code == 0
    assert node.output()[0].strip() == "terminal"


async def test_open_standard_input_waits_and_a_closed_one_ends(node: Node) -> None:
    ends = await node.run("cat")
    waits = await node.run("cat", stdin=True)
    assert (await node.ended(ends)).exit_code == 0
    assert (await node.runtime.container_status(waits)).state is ContainerState.RUNNING


# Listing, images, events


async def test_listing_shows_what_was_asked_for(node: Node) -> None:
    container_id = await node.create("true", labels={"a": "b"}, annotations={"c": "d"}, image_spec="busybox")
    (sandbox,) = await node.runtime.list_sandboxes()
    (container,) = await node.runtime.list_containers()
    assert (container.id, container.sandbox_id, container.state) == (container_id, sandbox.id, ContainerState.CREATED)
    assert (container.labels, container.annotations, container.image) == ({"a": "b"}, {"c": "d"}, "busybox")
    assert (sandbox.name, sandbox.namespace, sandbox.uid, sandbox.state) == (
        *("web", "default", "uid-1", SandboxState.READY),
    )
    assert (await node.runtime.sandbox_status(sandbox.id)).ips == ["192.0.2.7"]
    await node.restart()
    assert await node.runtime.list_containers() == [container]
    assert await node.runtime.list_sandboxes() == [sandbox]


async def test_events_name_the_pod_at_once(node: Node) -> None:
    events = node.runtime.events()
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    container = await node.create("sleep", "0.2")
    assert (await first).pod_uid == "uid-1"
    await node.runtime.start_container(container)
    assert (await anext(events)).pod_uid == "uid-1"
    async with asyncio.timeout(2):
        while (await node.runtime.container_status(container)).state is not ContainerState.EXITED:
            await anext(events)
    await events.aclose()  # type: ignore[attr-defined]


async def test_image_without_a_command_cannot_be_pulled(node: Node) -> None:
    sandbox_id = await node.runtime.run_sandbox(node.sandbox)
    assert await node.runtime.image_status("nginx:latest") is not None
    with pytest.raises(RuntimeCallError, match='image "nginx:latest" cannot be pulled') as refused:
        await node.runtime.create_container(sandbox_id, ContainerConfig("c", 0, "nginx:latest"), node.sandbox)
    assert refused.value.reason == "ErrImagePull"


@needs_root
async def test_unpacked_image_is_the_file_tree_of_its_container(node: Node) -> None:
    folder = node.root / "images" / "example.org%2Fapp%3A1" / "rootfs"
    unpack(folder, "/bin/sh", "/bin/ls", "/usr/bin/id")
    (folder / "etc").mkdir()
    (folder / "etc/passwd").write_text("app:x:1500:1501::/home/app:/bin/sh\n")
    script = "ls /; id -u; echo $HOME $GREETING"
    image_config = {"Entrypoint": ["sh", "-c"], "Cmd": [script], "Env": ["GREETING=hello"], "WorkingDir": "/"}
    (folder.parent / "config.json").write_text(json.dumps({**image_config, "User": "app"}))
    sandbox_id = await node.runtime.run_sandbox(node.sandbox)
    image = await node.runtime.image_status("example.org/app:1")
    assert image is not None
    assert (image.id, image.username) == ("example.org/app:1", "app")
    config = ContainerConfig("c", 0, "example.org/app:1", log_path="0.log")
    config.security = SecurityContext(run_as_username="app")
    config.mounts = [Mount("/data/volume", str(node.folder))]
    container = await node.runtime.create_container(sandbox_id, config, node.sandbox)
    await node.runtime.start_container(container)
    await node.ended(container)
    assert set(node.output()) >= {"bin", "data", "dev", "etc", "proc", "sys", "1500", "/home/app hello"}
    assert not (folder / "data").exists()
    assert ".host" not in node.output()


# Less than root


async def test_without_mount_namespaces_only_what_is_there_can_be_mounted(node: Node) -> None:
    node.runtime._features = frozenset({"root"})
    same = str(node.folder)
    hosts = [Mount("/etc/hosts", "/etc/passwd"), Mount("/dev/termination-log", "/etc/passwd")]
    container = await node.run(
        *("sh", "-c", "pwd; sleep 3456.7 & setsid sleep 3456.7 & wait"),
        mounts=[Mount(same, same), *hosts],
        annotations={"io.kubernetes.container.terminationMessagePath": "/dev/termination-log"},
        log_path="0.log",
    )
    await until(lambda: _count("sleep 3456.7") == 2)
    await node.runtime.stop_container(container, 0)
    await until(lambda: _count("sleep 3456.7") == 0)
    with pytest.raises(RuntimeCallError, match="nothing can be mounted at /data"):
        await node.create("true", mounts=[Mount("/data", same)])
    with pytest.raises(RuntimeCallError, match="readOnlyRootFilesystem"):
        await node.create("true", security=SecurityContext(readonly_rootfs=True))


@needs_root
async def test_user_without_rights_has_volumes_and_namespaces_by_a_user_namespace() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.edgecore.runtime.unprivileged", folder), stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert process.returncode == 0
    told = json.loads(output)
    if "user" not in told["features"]:
        assert "mount" not in told["features"]
        return
    assert told["output"] == ["1", "65534", "web", "text"]
    assert told["ipc"][0] == told["ipc"][1]
    assert told["exec"] == "65534\n"
    assert "runAsUser 0 needs edgecore to run as root" in told["refused"]


# Memory


async def test_ten_containers_cost_at_most_12_mb(node: Node) -> None:
    """Issue: processes outlive edgecore at <= 12 MB for all containers together."""
    containers = [
        await node.run("sh", "-c", "seq 200000; head -c 200000 /dev/zero; exec sleep 60", log_path=f"{number}/0.log")
        for number in range(10)
    ]
    for number, container in enumerate(containers):
        assert (await node.runtime.exec_sync(container, ["true"], 5)).exit_code == 0
        await until(lambda path=f"{number}/0.log": "200000" in node.output(path))
    assert rss_kb(node.supervisor_pid()) <= MAX_RSS_KB
    # Nothing but the command itself is left of a launch.
    assert {Path(f"/proc/{node.pid(one)}/comm").read_text() for one in containers} <= {"sh\n", "sleep\n"}


def unpack(rootfs: Path, *programs: str) -> None:
    """Make a file tree of some programs of the host, with the libraries that they need."""
    for program in programs:
        listed = subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
        for path in (program, *(word for word in listed.split() if word.startswith("/"))):
            target = rootfs / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(path).read_bytes())
            target.chmod(0o755)


def rss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _count(command: str) -> int:
    found = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found += Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").strip() == command.encode()
            except OSError:
                continue
    return found


def _mount_of(path: str) -> str:
    """Return the line of mountinfo for the mount that path is on."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return max((line for line in lines if path.startswith(line.split()[4])), key=lambda line: len(line.split()[4]))
