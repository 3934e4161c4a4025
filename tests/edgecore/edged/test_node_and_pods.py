"""Pods placed through the API run at the edge: the whole way but the link."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from kubeedge.edgecore.edged.downward import Place
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.volumes.mounter import VolumeMounter
from kubeedge.kube.kinds import CONFIG_MAP, LEASE, NODE, POD, SECRET
from tests.edgecore.edged.objects import first, has_phase, is_ready, sh, waits_for
from tests.edgecore.edged.world import NODE_NAME, World, eventually, world

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.root]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world")) as made:
        await made.until(NODE, NODE_NAME, is_ready)
        yield made


async def test_node_registers_with_status_and_lease(fleet: World) -> None:
    node = await fleet.get(NODE, NODE_NAME)
    assert node["metadata"]["labels"]["node-role.kubernetes.io/edge"] == ""
    assert "-kubeedge-" in node["status"]["nodeInfo"]["kubeletVersion"]
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("process://")
    assert [c["type"] for c in node["status"]["conditions"]] == [
        "MemoryPressure",
        "DiskPressure",
        "PIDPressure",
        "Ready",
    ]
    lease = await fleet.until(LEASE, NODE_NAME, lambda found: found["spec"].get("renewTime"), "kube-node-lease")
    assert lease["spec"]["holderIdentity"] == NODE_NAME


async def test_pod_runs_is_told_and_goes(fleet: World) -> None:
    await fleet.pod("web", {"containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1})
    pod = await fleet.until(POD, "web", is_ready)
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == status["hostIP"] == "127.0.0.1"
    assert first(pod)["containerID"].startswith("process://")
    assert await fleet.until_event("web", "Started") == "Started container main"
    await fleet.delete(POD, "web")
    await fleet.until_gone(POD, "web")
    uid = pod["metadata"]["uid"]

    async def is_cleared_away() -> bool:
        return not [*fleet.folder.glob(f"kubelet/pods/{uid}"), *fleet.folder.glob(f"logs/*{uid}")]

    await eventually(is_cleared_away)


async def test_container_that_ends_is_restarted_with_a_growing_back_off(fleet: World) -> None:
    await fleet.pod("crash", {"containers": [sh("echo why > /dev/termination-log; exit 7")]})
    pod = await fleet.until(POD, "crash", waits_for("CrashLoopBackOff"))
    main = first(pod)
    assert main["state"]["waiting"]["message"].startswith(
        "back-off 10s restarting failed container=main pod=crash_default("
    )
    assert main["restartCount"] == 1
    assert main["lastState"]["terminated"]["exitCode"] == 7
    assert main["lastState"]["terminated"]["message"] == "why\n"
    assert pod["status"]["phase"] == "Running"
    assert (await fleet.until_event("crash", "BackOff")).startswith(
        "Back-off restarting failed container main in pod crash_"
    )


async def test_pod_that_is_never_restarted_fails_with_its_worst_container(fleet: World) -> None:
    await fleet.pod("never", {"restartPolicy": "Never", "containers": [sh("exit 0", "a"), sh("exit 4", "b")]})
    pod = await fleet.until(POD, "never", has_phase("Failed"))
    codes = {s["name"]: s["state"]["terminated"]["exitCode"] for s in pod["status"]["containerStatuses"]}
    assert codes == {"a": 0, "b": 4}


async def test_job_succeeds_after_one_failure(fleet: World) -> None:
    script = "echo x >> /w/n; [ $(wc -l < /w/n) -ge 2 ]"
    mounts = [{"name": "w", "mountPath": "/w"}]
    spec = {"restartPolicy": "OnFailure", "volumes": [{"name": "w", "emptyDir": {}}]}
    await fleet.pod("job", {**spec, "containers": [sh(script, volumeMounts=mounts)]})
    pod = await fleet.until(POD, "job", has_phase("Succeeded"))
    assert first(pod)["restartCount"] == 1


async def test_init_containers_run_one_by_one_and_sidecars_stay(fleet: World) -> None:
    mounts = [{"name": "w", "mountPath": "/w"}]
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    await fleet.pod(
        "init",
        {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "w", "emptyDir": {}}],
            "initContainers": [
                sh("sleep 0.3; echo one > /w/1", "one", volumeMounts=mounts),
                sh("exec sleep 1000", "side", restartPolicy="Always", startupProbe=probe),
                sh("cat /w/1", "two", volumeMounts=mounts),
            ],
            "containers": [sh("exec sleep 1000")],
        },
    )
    pod = await fleet.until(POD, "init", is_ready)
    one, side, two = pod["status"]["initContainerStatuses"]
    assert one["state"]["terminated"]["exitCode"] == two["state"]["terminated"]["exitCode"] == 0
    assert side["started"] and "running" in side["state"]
    assert side["state"]["running"]["startedAt"] >= one["state"]["terminated"]["finishedAt"]


async def test_failing_init_container_fails_a_pod_that_is_never_restarted(fleet: World) -> None:
    spec = {"restartPolicy": "Never", "initContainers": [sh("exit 3", "i1")], "containers": [sh("exec sleep 1000")]}
    await fleet.pod("init-fails", spec)
    pod = await fleet.until(POD, "init-fails", has_phase("Failed"))
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert first(pod)["state"]["waiting"]["reason"] == "PodInitializing"


async def test_environment_comes_from_everywhere(fleet: World) -> None:
    await fleet.create(CONFIG_MAP, {"metadata": {"name": "conf"}, "data": {"a": "one"}})
    await fleet.create(SECRET, {"metadata": {"name": "cred"}, "data": {"user": base64.b64encode(b"u").decode()}})
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-b-$(ABSENT)-$$(A)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "CM", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}},
        {"name": "SEC", "valueFrom": {"secretKeyRef": {"name": "cred", "key": "user"}}},
        {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "nothere", "key": "a", "optional": True}}},
    ]
    container = sh(
        'echo "$A $B $NODE $MEM $CM $SEC [$OPT] $P_a" > /dev/termination-log',
        env=env,
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "conf"}}],
        resources={"limits": {"memory": "64Mi"}},
    )
    await fleet.pod("env", {"restartPolicy": "Never", "containers": [container]})
    pod = await fleet.until(POD, "env", has_phase("Succeeded"))
    assert first(pod)["state"]["terminated"]["message"] == "1 1-b-$(ABSENT)-$(A) e1 64 one u [] one\n"


async def test_missing_environment_source_is_waited_for(fleet: World) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]
    await fleet.pod("noenv", {"containers": [sh("exec sleep 1000", env=env)], "terminationGracePeriodSeconds": 1})
    pod = await fleet.until(POD, "noenv", waits_for("CreateContainerConfigError"))
    assert first(pod)["state"]["waiting"]["message"] == 'configmap "later" not found'
    await fleet.create(CONFIG_MAP, {"metadata": {"name": "later"}, "data": {"a": "one"}})
    await fleet.until(POD, "noenv", is_ready)


async def test_missing_volume_source_is_waited_for_with_an_event(fleet: World) -> None:
    volumes = [{"name": "v", "configMap": {"name": "appears"}}]
    container = sh("cat /v/a > /dev/termination-log; exec sleep 1000", volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await fleet.pod("novol", {"volumes": volumes, "containers": [container], "terminationGracePeriodSeconds": 1})
    message = await fleet.until_event("novol", "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "v" : configmap "appears" not found'
    assert first(await fleet.get(POD, "novol"))["state"]["waiting"]["reason"] == "ContainerCreating"
    await fleet.create(CONFIG_MAP, {"metadata": {"name": "appears"}, "data": {"a": "one"}})
    await fleet.until(POD, "novol", is_ready)


async def test_change_of_a_mounted_config_map_is_seen_at_once(fleet: World) -> None:
    await fleet.create(CONFIG_MAP, {"metadata": {"name": "mounted"}, "data": {"a": "one"}})
    volumes = [{"name": "v", "configMap": {"name": "mounted"}}]
    script = "until grep -q two /v/a; do sleep 0.1; done; exit 0"
    container = sh(script, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await fleet.pod("mounted", {"restartPolicy": "Never", "volumes": volumes, "containers": [container]})
    await fleet.until(POD, "mounted", is_ready)
    await fleet.patch(CONFIG_MAP, "mounted", {"data": {"a": "two"}})
    async with asyncio.timeout(5):
        await fleet.until(POD, "mounted", has_phase("Succeeded"))


async def test_label_that_changes_while_volumes_are_made_fresh_is_seen_too(
    fleet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.create(CONFIG_MAP, {"metadata": {"name": "race"}, "data": {"a": "one"}})
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    volumes = [{"name": "v", "configMap": {"name": "race"}}, {"name": "d", "downwardAPI": {"items": [labels]}}]
    spec = {"terminationGracePeriodSeconds": 1, "containers": [sh("exec sleep 1000")], "volumes": volumes}
    await fleet.pod("race", spec, labels={"app": "one"})
    uid = (await fleet.until(POD, "race", is_ready))["metadata"]["uid"]
    refresh = VolumeMounter.refresh

    async def is_known() -> bool:
        assert fleet.node.edged._parts is not None
        return any(p["metadata"].get("labels") == {"app": "two"} for p in fleet.node.edged._parts.pods.list())

    async def refresh_and_change(mounter: VolumeMounter, pod: Pod, place: Place) -> None:
        monkeypatch.undo()
        await refresh(mounter, pod, place)
        await fleet.patch(POD, "race", {"metadata": {"labels": {"app": "two"}}})
        await eventually(is_known)

    monkeypatch.setattr(VolumeMounter, "refresh", refresh_and_change)
    await fleet.patch(CONFIG_MAP, "race", {"data": {"a": "two"}})
    file = fleet.folder / "kubelet" / "pods" / uid / "volumes" / "kubernetes.io~downward-api" / "d" / "labels"

    async def is_seen() -> bool:
        return file.read_text() == 'app="two"'

    await eventually(is_seen, timeout_s=5)
    await fleet.delete(POD, "race")
    await fleet.until_gone(POD, "race")


async def test_command_that_does_not_exist_is_told(fleet: World) -> None:
    await fleet.pod("badcmd", {"containers": [{"name": "main", "image": "busybox", "command": ["/no/such/program"]}]})
    pod = await fleet.until(POD, "badcmd", lambda found: first(found).get("lastState", {}).get("terminated"))
    assert first(pod)["lastState"]["terminated"]["exitCode"] == 128
    assert first(pod)["lastState"]["terminated"]["reason"] == "StartError"
    assert "/no/such/program" in await fleet.until_event("badcmd", "Failed")


async def test_failing_liveness_probe_restarts_the_container(fleet: World) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -e /w/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "touch /w/ok; sleep 0.5; rm /w/ok; trap 'exit 0' TERM; while true; do sleep 0.1; done"
    container = sh(
        script, livenessProbe={**probe, "initialDelaySeconds": 1}, volumeMounts=[{"name": "w", "mountPath": "/w"}]
    )
    spec = {"volumes": [{"name": "w", "emptyDir": {}}], "containers": [container], "terminationGracePeriodSeconds": 2}
    await fleet.pod("live", spec)
    pod = await fleet.until(POD, "live", lambda found: first(found).get("restartCount", 0) >= 1)
    assert first(pod)["lastState"]["terminated"]["exitCode"] == 0
    assert (await fleet.until_event("live", "Unhealthy")).startswith("Liveness probe failed:")
    assert await fleet.until_event("live", "Killing") == "Container main failed liveness probe, will be restarted"


async def test_readiness_follows_its_probe(fleet: World) -> None:
    probe = {"exec": {"command": ["test", "-e", "/w/ok"]}, "periodSeconds": 1}
    container = sh(
        "sleep 1; touch /w/ok; exec sleep 1000", readinessProbe=probe, volumeMounts=[{"name": "w", "mountPath": "/w"}]
    )
    spec = {"volumes": [{"name": "w", "emptyDir": {}}], "containers": [container], "terminationGracePeriodSeconds": 1}
    await fleet.pod("ready", spec)
    pod = await fleet.until(POD, "ready", has_phase("Running"))
    assert not is_ready(pod) and first(pod)["started"]
    await fleet.until(POD, "ready", is_ready)


async def test_hooks_run_after_the_start_and_before_the_stop(fleet: World) -> None:
    folder = fleet.folder / "shared"
    folder.mkdir()
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post > /w/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre > /w/pre"]}},
    }
    container = sh("exec sleep 1000", lifecycle=lifecycle, volumeMounts=[{"name": "w", "mountPath": "/w"}])
    volumes = [{"name": "w", "hostPath": {"path": str(folder), "type": "Directory"}}]
    await fleet.pod("hooks", {"volumes": volumes, "containers": [container], "terminationGracePeriodSeconds": 2})
    await fleet.until(POD, "hooks", is_ready)
    assert (folder / "post").exists() and not (folder / "pre").exists()
    await fleet.delete(POD, "hooks")
    await fleet.until_gone(POD, "hooks")
    assert (folder / "pre").exists()


async def test_failing_post_start_hook_stops_the_container(fleet: World) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["false"]}}}
    spec = {"containers": [sh("exec sleep 1000", lifecycle=lifecycle)], "terminationGracePeriodSeconds": 1}
    await fleet.pod("poststart", spec)
    pod = await fleet.until(POD, "poststart", waits_for("PostStartHookError"))
    message = first(pod)["state"]["waiting"]["message"]
    assert message.startswith('Exec lifecycle hook ([false]) for Container "main" in Pod "poststart_default(')
    assert message.endswith("failed - error: command 'false' exited with 1: , message: \"\"")


async def test_pod_past_its_deadline_fails(fleet: World) -> None:
    spec = {"activeDeadlineSeconds": 1, "containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1}
    await fleet.pod("deadline", spec)
    pod = await fleet.until(POD, "deadline", has_phase("Failed"))
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"


async def test_pod_that_fills_its_volume_is_evicted(fleet: World) -> None:
    volumes = [
        {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "c", "configMap": {"name": "tick", "optional": True}},
    ]
    script = "head -c 3000000 /dev/zero > /v/large; exec sleep 1000"
    container = sh(script, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await fleet.pod("full", {"volumes": volumes, "containers": [container], "terminationGracePeriodSeconds": 1})
    await fleet.until(POD, "full", is_ready)
    # Any push for the pod hastens the look that is taken every minute or so.
    await fleet.create(CONFIG_MAP, {"metadata": {"name": "tick"}, "data": {"a": "1"}})
    pod = await fleet.until(POD, "full", has_phase("Failed"))
    assert pod["status"]["reason"] == "Evicted"
    assert await fleet.until_event("full", "Evicted") == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '


async def test_pod_that_the_node_cannot_honour_is_refused(fleet: World) -> None:
    volumes = [{"name": "v", "nfs": {"server": "x", "path": "/"}}]
    await fleet.pod("nfs", {"volumes": volumes, "containers": [sh("exit 0")]})
    pod = await fleet.until(POD, "nfs", has_phase("Failed"))
    assert pod["status"]["reason"] == "UnsupportedVolume"
    assert pod["status"]["message"] == 'Pod was rejected: volume "v" of kind nfs is not supported on this node'
    assert await fleet.until_event("nfs", "UnsupportedVolume")


async def test_forced_deletion_leaves_nothing(fleet: World) -> None:
    await fleet.pod("forced", {"containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1})
    await fleet.until(POD, "forced", is_ready)
    await fleet.delete(POD, "forced", gracePeriodSeconds=0)
    await fleet.until_node_runs_nothing("forced")


async def test_shorter_grace_hastens_an_end_under_way(fleet: World) -> None:
    script = "trap '' TERM; while true; do sleep 0.1; done"
    await fleet.pod("deaf", {"containers": [sh(script)], "terminationGracePeriodSeconds": 60})
    await fleet.until(POD, "deaf", is_ready)
    await fleet.delete(POD, "deaf")
    await fleet.until(POD, "deaf", lambda found: found["metadata"].get("deletionTimestamp"))
    await asyncio.sleep(0.5)
    await fleet.delete(POD, "deaf", gracePeriodSeconds=1)
    async with asyncio.timeout(8):
        await fleet.until_gone(POD, "deaf")


async def test_health_and_pods_are_served_on_the_node(fleet: World) -> None:
    await fleet.pod("served", {"containers": [sh("exec sleep 1000")], "terminationGracePeriodSeconds": 1})
    await fleet.until(POD, "served", is_ready)
    assert await get(fleet, "/healthz") == (200, b"ok")
    assert await get(fleet, "/healthz/syncloop") == (200, b"ok")
    status, body = await get(fleet, "/pods")
    listed = orjson.loads(body)
    assert status == 200 and "served" in [p["metadata"]["name"] for p in listed["items"]]
    assert b"kubeedge_edged_pods " in (await get(fleet, "/metrics"))[1]
    assert (await get(fleet, "/nothing"))[0] == 404


async def test_what_node_and_pods_use_is_served_on_the_node(fleet: World) -> None:
    script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 1000"
    await fleet.pod("busy", {"containers": [sh(script)], "terminationGracePeriodSeconds": 1})
    found = await fleet.until(POD, "busy", is_ready)
    status, body = await get(fleet, "/stats/summary")
    summary = orjson.loads(body)
    (pod,) = [pod for pod in summary["pods"] if pod["podRef"]["name"] == "busy"]
    assert status == 200 and summary["node"]["nodeName"] == NODE_NAME
    assert pod["podRef"] == {"name": "busy", "namespace": "default", "uid": found["metadata"]["uid"]}
    assert pod["containers"][0]["memory"]["workingSetBytes"] > 0
    assert "usageNanoCores" not in pod["cpu"]
    await asyncio.sleep(1.1)
    again = orjson.loads((await get(fleet, "/stats/summary?only_cpu_and_memory=true"))[1])
    (pod,) = [pod for pod in again["pods"] if pod["podRef"]["name"] == "busy"]
    assert pod["cpu"]["usageNanoCores"] >= 0 and again["node"]["cpu"]["usageNanoCores"] > 0
    status, body = await get(fleet, "/metrics/resource")
    assert status == 200 and b"\nscrape_error 0\n" in body
    assert b'\npod_memory_working_set_bytes{namespace="default",pod="busy"} ' in body


async def get(fleet: World, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.node.edged.server_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.read()
    writer.close()
    return int(head.split()[1]), body
