"""Pods that cannot be what they want to be: the reason is in their status and in `kubectl describe pod`.

All of them are there at the same time, beside one that must not notice.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from kubeedge.kube.kinds import CONFIG_MAP, POD, SECRET
from tests.sites import SLEEPER, Object, Site, container_status, is_running, pod, seconds, shell, state

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Between the end of a container and its next start, after the first, second… failure; and how much later it may be.
BACK_OFF_S = (0, 10, 20)
TOLERANCE_S = 3
LONG_WAIT_S = 60

CONFIG_VOLUME = {"name": "v", "configMap": {"name": "not-yet"}}
ENVIRONMENT = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "not-yet", "key": "a"}}}]

CRASHER = shell("date +%s.%N >> /tmp/t/starts; exit 1", volumeMounts=[{"name": "times", "mountPath": "/tmp/t"}])
FAILING = shell("exit 5", "first", image="host:1")

PODS = [
    pod("steady", shell(SLEEPER)),
    pod("crashing", CRASHER, volumes=[{"name": "times", "emptyDir": {}}]),
    pod("no-command", {"name": "main", "image": "registry.example/app:2"}),
    pod("wrong-command", {"name": "main", "command": ["/no/such/program"]}),
    pod("no-permission", {"name": "main", "command": ["/etc/passwd"]}),
    pod("needs-config", shell(SLEEPER, volumeMounts=[{"name": "v", "mountPath": "/tmp/v"}]), volumes=[CONFIG_VOLUME]),
    pod("needs-secret", shell(SLEEPER, env=ENVIRONMENT)),
    pod("needs-file", shell(SLEEPER), volumes=[{"name": "v", "hostPath": {"path": "/no/such", "type": "File"}}]),
    pod("shares-processes", shell(SLEEPER), shareProcessNamespace=True),
    pod("maps-port", shell(SLEEPER, ports=[{"containerPort": 80, "hostPort": 8080}])),
    {**pod("unplaced", shell(SLEEPER, resources={"limits": {"example.com/gpu": 1}}), nodeName="")},
    pod("needs-memory", shell(SLEEPER, resources={"requests": {"memory": "1Pi"}})),
    pod("needs-label", shell(SLEEPER), nodeSelector={"planet": "mars"}),
    pod(
        "fails-at-init",
        shell(SLEEPER),
        initContainers=[shell("exit 5", "first", image="host:1")],
        restartPolicy="Never",
    ),
    pod("fails-at-start", shell(SLEEPER, lifecycle={"postStart": {"exec": {"command": ["false"]}}})),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def pods(site: Site) -> AsyncIterator[None]:
    """All pods, and none of them afterwards."""
    names = [body["metadata"]["name"] for body in PODS]
    for body in PODS:
        await site.create(POD, body)
    yield
    for name in names:
        await site.delete(POD, name)
    for name in names:
        await site.gone(POD, name)
    await site.delete(CONFIG_MAP, "not-yet")
    await site.delete(SECRET, "not-yet")


def is_waiting(reason: str) -> Callable[[Object], bool]:
    return lambda one: state(one) == ("waiting", reason)


async def test_the_image_that_cannot_be_pulled_is_named(site: Site) -> None:
    await site.event("no-command", "Failed", "registry.example/app:2", "cannot be pulled")
    await site.event("no-command", "BackOff", 'Back-off pulling image "registry.example/app:2"')
    shown = await site.pod_is("no-command", is_waiting("ImagePullBackOff"))
    message = container_status(shown)["state"]["waiting"]["message"]
    assert "registry.example/app:2" in message
    assert shown["status"]["phase"] == "Pending"
    description = await site.describe("no-command")
    assert "ErrImagePull" in description
    assert "ImagePullBackOff" in description
    assert "cannot be pulled" in description
    assert "ImagePullBackOff" in await site.kubectl("get", "pod", "no-command")


@pytest.mark.parametrize(("name", "word"), [("wrong-command", "/no/such/program"), ("no-permission", "/etc/passwd")])
async def test_a_command_that_cannot_be_run_is_named(site: Site, name: str, word: str) -> None:
    event = await site.event(name, "Failed", word)
    assert event["type"] == "Warning"
    shown = await site.pod_is(name, lambda one: container_status(one).get("state"))
    assert word in str(container_status(shown)["state"]) or state(shown)[1] == "CrashLoopBackOff"
    assert not is_running(shown)


async def test_a_missing_config_map_is_waited_for(site: Site) -> None:
    event = await site.event("needs-config", "FailedMount", "not-yet")
    assert 'configmap "not-yet" not found' in event["message"]
    assert "FailedMount" in await site.describe("needs-config")
    shown = await site.pod("needs-config")
    assert state(shown) == ("waiting", "ContainerCreating")
    await site.create(CONFIG_MAP, {"metadata": {"name": "not-yet"}, "data": {"a": "b"}})
    await site.pod_is("needs-config", is_running, timeout_s=LONG_WAIT_S)


async def test_a_missing_secret_is_waited_for(site: Site) -> None:
    shown = await site.pod_is("needs-secret", is_waiting("CreateContainerConfigError"))
    assert 'secret "not-yet" not found' in container_status(shown)["state"]["waiting"]["message"]
    await site.event("needs-secret", "Failed", 'Error: secret "not-yet" not found')
    await site.create(SECRET, {"metadata": {"name": "not-yet"}, "stringData": {"a": "b"}})
    await site.pod_is("needs-secret", is_running, timeout_s=LONG_WAIT_S)


async def test_a_missing_host_path_is_told(site: Site) -> None:
    await site.event("needs-file", "FailedMount", "/no/such")
    assert not is_running(await site.pod("needs-file"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shares-processes", "shareProcessNamespace is not supported"),
        ("maps-port", "hostPort 8080 cannot lead to port 80"),
    ],
)
async def test_what_the_runtime_cannot_do_is_refused(site: Site, name: str, words: str) -> None:
    refused = await site.pod_is(name, lambda one: one["status"].get("phase") == "Failed")
    assert words in refused["status"]["message"]
    event = await site.event(name, refused["status"]["reason"], words)
    assert event["type"] == "Warning"
    assert words in await site.describe(name)


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("needs-memory", "OutOfmemory", "memory"),
        ("needs-label", "NodeAffinity", "node affinity"),
    ],
)
async def test_what_the_node_does_not_have_is_refused(site: Site, name: str, reason: str, words: str) -> None:
    refused = await site.pod_is(name, lambda one: one["status"].get("phase") == "Failed")
    assert refused["status"]["reason"] == reason
    assert words in refused["status"]["message"]
    await site.event(name, refused["status"]["reason"], words)


async def test_a_pod_that_fits_nowhere_stays_pending(site: Site) -> None:
    await site.event("unplaced", "FailedScheduling", "Insufficient example.com/gpu")
    assert (await site.pod("unplaced"))["status"]["phase"] == "Pending"
    assert "FailedScheduling" in await site.describe("unplaced")


async def test_a_failed_init_container_fails_a_pod_that_is_never_restarted(site: Site) -> None:
    failed = await site.pod_is("fails-at-init", lambda one: one["status"].get("phase") == "Failed")
    assert container_status(failed, "first", "initContainerStatuses")["state"]["terminated"]["exitCode"] == 5
    assert not container_status(failed)["started"]
    assert state(failed) == ("waiting", "PodInitializing")


async def test_a_failed_hook_is_told(site: Site) -> None:
    await site.event("fails-at-start", "FailedPostStartHook")
    await site.event("fails-at-start", "Killing", "FailedPostStartHook")


async def test_a_pod_may_be_as_large_as_the_api_takes_it(site: Site) -> None:
    """Its name is cut for the host name, and is part of paths and of names of events."""
    strange = pod("x" * 200, shell(SLEEPER, "c" * 63))
    strange["metadata"]["annotations"] = {"a": "x" * 200_000}
    strange["metadata"]["labels"] = {f"l{number}": "v" for number in range(500)}
    await site.create(POD, strange)
    await site.pod_is("x" * 200, is_running)
    await site.delete(POD, "x" * 200)
    await site.gone(POD, "x" * 200)


async def test_a_container_that_ends_again_and_again_is_left_alone_longer_each_time(site: Site) -> None:
    """Restarted at once, after 10 s, after 20 s… (spec 05 §5.5)."""
    crashed = await site.pod_is(
        "crashing",
        lambda one: container_status(one).get("restartCount", 0) >= 3 and state(one) == ("waiting", "CrashLoopBackOff"),
        timeout_s=LONG_WAIT_S,
    )
    (path,) = (site._edge / "kubelet" / "pods" / crashed["metadata"]["uid"]).glob("volumes/*empty-dir/times/starts")
    starts = [float(line) for line in path.read_text(encoding="utf-8").split()]
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    for pause, wanted in zip(pauses, BACK_OFF_S, strict=False):
        assert wanted - 0.1 <= pause <= wanted + TOLERANCE_S, pauses
    restarts = container_status(crashed)["restartCount"]
    message = container_status(crashed)["state"]["waiting"]["message"]
    assert seconds(message)[0] == 10 * 2 ** (restarts - 1)
    assert "restarting failed container=main pod=crashing_default(" in message
    last = container_status(crashed)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (1, "Error")
    await site.event("crashing", "BackOff", "Back-off restarting failed container main in pod crashing_default(")
    description = await site.describe("crashing")
    assert "CrashLoopBackOff" in description
    assert "Back-off restarting failed container" in description


async def test_the_pod_beside_them_has_noticed_nothing(site: Site) -> None:
    shown = await site.pod_is("steady", is_running)
    assert container_status(shown)["restartCount"] == 0
    assert (await site.edge_metrics()).of("kubeedge_edged_pod_failures_total", 'reason="unexpected"') == 0
    assert "Traceback" not in site.edgecore.log_path.read_text()
