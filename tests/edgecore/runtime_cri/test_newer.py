"""What newer runtimes can do beside, and answers that the packaged one does not give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from kubeedge.edgecore.edged.runtime.cri import ends
from kubeedge.edgecore.edged.runtime.cri.connection import Connection
from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    ContainerState,
    ImageAuth,
    RuntimeCallError,
    RuntimeUnavailableError,
    SandboxConfig,
    SandboxState,
)
from kubeedge.proto import cri_pb2 as cri
from tests.edgecore.runtime_cri.newer import Newer, newer_runtime

SANDBOX = SandboxConfig("p", "default", "u")


@pytest.fixture
async def newer(tmp_path: Path) -> AsyncIterator[Newer]:
    async with newer_runtime(tmp_path) as runtime:
        yield runtime


@pytest.fixture
async def runtime(newer: Newer) -> AsyncIterator[CriRuntime]:
    runtime = CriRuntime(newer.endpoint)
    task = asyncio.create_task(runtime.run())
    yield runtime
    task.cancel()
    await asyncio.wait([task])


async def collect(runtime: CriRuntime, uids: list[str]) -> None:
    async for event in runtime.events():
        uids.append(event.pod_uid)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for comes over a socket
            await asyncio.sleep(0.01)


async def test_status_has_the_cgroup_driver_and_handlers(newer: Newer, runtime: CriRuntime) -> None:
    features = cri.RuntimeHandlerFeatures(user_namespaces=True)
    newer.answers["Status"] = cri.StatusResponse(
        status=cri.RuntimeStatus(
            conditions=[
                cri.RuntimeCondition(type="RuntimeReady", status=True),
                cri.RuntimeCondition(
                    type="NetworkReady", reason="NetworkPluginNotReady", message="cni plugin not initialized"
                ),
            ]
        ),
        runtime_handlers=[cri.RuntimeHandler(name="runc", features=features)],
    )
    linux = cri.LinuxRuntimeConfiguration(cgroup_driver=cri.SYSTEMD)
    newer.answers["RuntimeConfig"] = cri.RuntimeConfigResponse(linux=linux)
    status = await runtime.status()
    assert (status.runtime_ready, status.network_ready) == (True, False)
    assert status.network_message == "reason:NetworkPluginNotReady message:cni plugin not initialized"
    assert status.cgroup_driver == "systemd"
    assert status.handlers == [{"name": "runc", "features": {"recursiveReadOnlyMounts": False, "userNamespaces": True}}]


async def test_condition_that_is_not_told_does_not_hold(newer: Newer, runtime: CriRuntime) -> None:
    newer.answers["Status"] = cri.StatusResponse()
    status = await runtime.status()
    assert (status.runtime_ready, status.network_ready, status.cgroup_driver) == (False, False, "")


async def test_runtime_without_this_interface_is_away_with_a_hint(newer: Newer, runtime: CriRuntime) -> None:
    del newer.answers["Version"]
    with pytest.raises(RuntimeUnavailableError, match="no CRI v1 is offered, is it disabled"):
        await runtime.version()


async def test_unavailable_and_starting_runtimes_are_away(newer: Newer, runtime: CriRuntime) -> None:
    for error in (GRPCError(Status.UNAVAILABLE, "x"), GRPCError(Status.UNKNOWN, "server is not initialized yet")):
        newer.answers["ListContainers"] = error
        with pytest.raises(RuntimeUnavailableError):
            await runtime.list_containers()


async def test_status_that_cannot_be_read_is_not_taken_for_a_container_that_is_gone(
    newer: Newer, runtime: CriRuntime
) -> None:
    for status in (Status.DEADLINE_EXCEEDED, Status.INTERNAL, Status.UNKNOWN):
        newer.answers["ContainerStatus"] = newer.answers["PodSandboxStatus"] = GRPCError(status, "disk")
        with pytest.raises(RuntimeUnavailableError):
            await runtime.container_status("c")
        with pytest.raises(RuntimeUnavailableError):
            await runtime.sandbox_status("s")


@pytest.mark.parametrize("status", [None, cri.ContainerStatus(), cri.ContainerStatus(id="other")])
async def test_nonsense_is_taken_for_no_answer(
    newer: Newer, runtime: CriRuntime, status: cri.ContainerStatus | None
) -> None:
    """An empty message would be a container that was made and not started."""
    newer.answers["ContainerStatus"] = cri.ContainerStatusResponse(status=status)
    newer.answers["PodSandboxStatus"] = cri.PodSandboxStatusResponse()
    newer.answers["RunPodSandbox"] = cri.RunPodSandboxResponse()
    newer.answers["CreateContainer"] = cri.CreateContainerResponse()
    for call in (
        runtime.container_status("c"),
        runtime.sandbox_status("s"),
        runtime.run_sandbox(SANDBOX),
        runtime.create_container("s", ContainerConfig("main", 0, "i"), SANDBOX),
    ):
        with pytest.raises(RuntimeUnavailableError, match="no sensible answer"):
            await call


async def test_addresses_of_both_families_are_told(newer: Newer, runtime: CriRuntime) -> None:
    network = cri.PodSandboxNetworkStatus(ip="10.0.0.2", additional_ips=[cri.PodIP(ip="fd00::2")])
    newer.answers["PodSandboxStatus"] = cri.PodSandboxStatusResponse(
        status=cri.PodSandboxStatus(id="s", state=cri.SANDBOX_NOTREADY, network=network)
    )
    status = await runtime.sandbox_status("s")
    assert (status.ips, status.sandbox.state) == (["10.0.0.2", "fd00::2"], SandboxState.NOT_READY)


async def test_state_of_a_later_version_is_unknown(newer: Newer, runtime: CriRuntime) -> None:
    newer.answers["ListContainers"] = cri.ListContainersResponse(containers=[cri.Container(id="c", state=77)])  # type: ignore[arg-type]
    (container,) = await runtime.list_containers()
    assert container.state is ContainerState.UNKNOWN


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (
            "RegistryUnavailable: dial tcp: refused",
            "RegistryUnavailable",
            "image pull failed for app:1 because the registry is unavailable: dial tcp: refused",
        ),
        (
            "SignatureValidationFailed: no signature",
            "SignatureValidationFailed",
            "image pull failed for app:1 because the signature validation failed: no signature",
        ),
        ("pull access denied", "ErrImagePull", "pull access denied"),
    ],
)
async def test_failed_pull_has_the_reason_of_kubernetes(
    newer: Newer, runtime: CriRuntime, text: str, reason: str, message: str
) -> None:
    newer.answers["PullImage"] = GRPCError(Status.UNKNOWN, text)
    with pytest.raises(RuntimeCallError) as caught:
        await runtime.pull_image("app:1", ImageAuth("u", "p"), SANDBOX)
    assert (caught.value.reason, caught.value.message) == (reason, message)


async def test_images_may_come_from_another_socket(newer: Newer, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    async with newer_runtime(tmp_path / "images") as of_images:
        of_images.answers["PullImage"] = cri.PullImageResponse(image_ref="sha256:1")
        runtime = CriRuntime(newer.endpoint, of_images.endpoint)
        task = asyncio.create_task(runtime.run())
        assert await runtime.pull_image("app:1", None, SANDBOX) == "sha256:1"
        assert (await runtime.version()).name == "newer"
        task.cancel()
        await asyncio.wait([task])


async def test_call_that_takes_too_long_is_refused_and_the_runtime_is_not_away(newer: Newer) -> None:
    async def never() -> AsyncIterator[Any]:
        await asyncio.sleep(60)
        yield cri.StartContainerResponse()

    newer.answers["StartContainer"] = lambda _: never()
    connection = Connection(newer.endpoint, patience_s=0.1, probe_timeout_s=2)
    runtime = CriRuntime(newer.endpoint, connect=lambda _: connection)
    task = asyncio.create_task(runtime.run())
    with pytest.raises(RuntimeCallError, match="context deadline exceeded") as caught:
        await runtime._ask(
            "RunContainerError", connection.runtime.StartContainer, cri.StartContainerRequest(container_id="c"), 0.5
        )
    assert caught.value.reason == "RunContainerError"
    assert await runtime.list_containers() == []
    task.cancel()
    await asyncio.wait([task])


async def test_only_ends_of_a_newer_runtime_are_told(newer: Newer, runtime: CriRuntime) -> None:
    newer.answers["GetContainerEvents"] = lambda _: newer.give_events()
    uids: list[str] = []
    listener = asyncio.create_task(collect(runtime, uids))
    for kind in (cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT, cri.CONTAINER_STOPPED_EVENT):
        status = cri.PodSandboxStatus(metadata=cri.PodSandboxMetadata(uid=f"uid-{kind}"))
        newer.events.put_nowait(cri.ContainerEventResponse(container_event_type=kind, pod_sandbox_status=status))
    await until(lambda: bool(uids))
    assert uids == [f"uid-{cri.CONTAINER_STOPPED_EVENT}"]
    listener.cancel()
    await asyncio.wait([listener])
    assert listener.cancelled()


async def test_events_end_when_nobody_reads_them_any_more(newer: Newer, runtime: CriRuntime) -> None:
    newer.answers["GetContainerEvents"] = lambda _: newer.give_events()
    status = cri.PodSandboxStatus(metadata=cri.PodSandboxMetadata(uid="u"))
    event = cri.ContainerEventResponse(container_event_type=cri.CONTAINER_STOPPED_EVENT, pod_sandbox_status=status)
    before = asyncio.all_tasks()
    for _ in range(3):
        newer.events.put_nowait(event)
        async with aclosing(runtime.events()) as events:
            assert (await anext(events)).pod_uid == "u"
    await until(lambda: not [task for task in asyncio.all_tasks() - before if "_read" in repr(task)])


@pytest.mark.parametrize("status", [Status.UNIMPLEMENTED, Status.UNKNOWN])
async def test_runtime_without_any_events_is_listed(
    newer: Newer, runtime: CriRuntime, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    monkeypatch.setattr(ends, "POLL_S", 0.02)
    newer.answers["GetContainerEvents"] = GRPCError(status, "events are disabled")
    labels = {"io.kubernetes.pod.uid": "of-container"}
    metadata = cri.PodSandboxMetadata(uid="of-sandbox")
    newer.answers["ListContainers"] = cri.ListContainersResponse(containers=[cri.Container(id="c", labels=labels)])
    newer.answers["ListPodSandbox"] = cri.ListPodSandboxResponse(items=[cri.PodSandbox(id="s", metadata=metadata)])
    uids: list[str] = []
    listener = asyncio.create_task(collect(runtime, uids))
    await asyncio.sleep(0.2)
    assert uids == []
    newer.answers["ListContainers"] = cri.ListContainersResponse()
    await until(lambda: uids == ["of-container"])
    newer.answers["ListPodSandbox"] = cri.ListPodSandboxResponse()
    await until(lambda: uids == ["of-container", "of-sandbox"])
    listener.cancel()
    await asyncio.wait([listener])
