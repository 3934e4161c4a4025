"""What a pod gets: every source of environment and volumes, its token, its init containers, its probes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from kubeedge.demo.configuration import NODE_NAME
from kubeedge.kube import kubeconfig
from kubeedge.kube.api import ApiError, Kind
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import CONFIG_MAP, POD, SECRET
from tests.sites import SLEEPER, Object, Site, container_status, is_running, pod, shell, state, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
UPDATE_TIMEOUT_S = 20

SETTINGS = {"metadata": {"name": "settings"}, "data": {"colour": "blue", "file.txt": "first line\n", "BAD KEY": "x"}}
PASSWORDS = {"metadata": {"name": "passwords"}, "stringData": {"password": "s3cr3t", "pin": "1234"}}


@pytest_asyncio.fixture(loop_scope="session")
async def pods(site: Site) -> AsyncIterator[list[str]]:
    """Names of pods that are removed after the test."""
    names: list[str] = []
    yield names
    for name in names:
        await site.delete(POD, name)
    for name in names:
        await site.gone(POD, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sources(site: Site) -> AsyncIterator[None]:
    """A ConfigMap and a Secret."""
    await site.create(CONFIG_MAP, {**SETTINGS, "data": {k: v for k, v in SETTINGS["data"].items() if " " not in k}})
    await site.create(SECRET, PASSWORDS)
    yield
    await site.delete(CONFIG_MAP, "settings")
    await site.delete(SECRET, "passwords")


def env(name: str, **source: Object) -> Object:
    return {"name": name, "valueFrom": source}


@pytest.mark.usefixtures("sources")
async def test_the_environment_has_every_source(site: Site, pods: list[str]) -> None:
    pods.append("env")
    container = shell(
        f"env > /proc/1/fd/1; {SLEEPER}",
        args=[],
        env=[
            {"name": "LITERAL", "value": "one"},
            {"name": "COMPOSED", "value": "$(LITERAL)-two $$(LITERAL) $(UNKNOWN)"},
            env("NAME", fieldRef={"fieldPath": "metadata.name"}),
            env("NAMESPACE", fieldRef={"fieldPath": "metadata.namespace"}),
            env("UID", fieldRef={"fieldPath": "metadata.uid"}),
            env("LABEL", fieldRef={"fieldPath": "metadata.labels['tier']"}),
            env("ANNOTATION", fieldRef={"fieldPath": "metadata.annotations['note']"}),
            env("NODE", fieldRef={"fieldPath": "spec.nodeName"}),
            env("ACCOUNT", fieldRef={"fieldPath": "spec.serviceAccountName"}),
            env("HOST_IP", fieldRef={"fieldPath": "status.hostIP"}),
            env("POD_IP", fieldRef={"fieldPath": "status.podIP"}),
            env("CPU", resourceFieldRef={"resource": "requests.cpu", "divisor": "1m"}),
            env("MEMORY", resourceFieldRef={"resource": "requests.memory", "divisor": "1Mi"}),
            env("COLOUR", configMapKeyRef={"name": "settings", "key": "colour"}),
            env("MISSING", configMapKeyRef={"name": "settings", "key": "none", "optional": True}),
            env("PASSWORD", secretKeyRef={"name": "passwords", "key": "password"}),
        ],
        envFrom=[
            {"prefix": "S_", "configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "passwords"}},
            {"secretRef": {"name": "nobody", "optional": True}},
        ],
        resources={"requests": {"cpu": "25m", "memory": "16Mi"}},
    )
    body = pod("env", container, labels={"tier": "front"})
    body["metadata"]["annotations"] = {"note": "a note"}
    await site.create(POD, body)
    made = await site.pod_is("env", is_running)
    await until(lambda: any(line.startswith("LITERAL=") for line in site.output("env")), otherwise=lambda: str(made))
    found = dict(line.split("=", 1) for line in site.output("env") if "=" in line)
    expected = {
        "LITERAL": "one",
        "COMPOSED": "one-two $(LITERAL) $(UNKNOWN)",
        "NAME": "env",
        "NAMESPACE": "default",
        "UID": made["metadata"]["uid"],
        "LABEL": "front",
        "ANNOTATION": "a note",
        "NODE": NODE_NAME,
        "ACCOUNT": "default",
        "HOST_IP": made["status"]["hostIP"],
        "POD_IP": made["status"]["podIP"],
        "CPU": "25",
        "MEMORY": "16",
        "COLOUR": "blue",
        "PASSWORD": "s3cr3t",
        "S_colour": "blue",
        "pin": "1234",
        "HOSTNAME": "env",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "MISSING" not in found


@pytest.mark.usefixtures("sources")
async def test_volumes_of_every_source_are_where_they_are_mounted(
    site: Site, pods: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pods.append("volumes")
    host = tmp_path_factory.mktemp("host")
    host.chmod(0o755)
    (host / "hello").write_text("from the host\n")
    mounts = {
        "empty": "/tmp/v/empty",
        "memory": "/tmp/v/memory",
        "host": "/tmp/v/host",
        "settings": "/tmp/v/settings",
        "passwords": "/tmp/v/passwords",
        "about": "/tmp/v/about",
        "all": "/tmp/v/all",
    }
    script = f"""
    cd /tmp/v
    echo hello > empty/file && cat empty/file
    echo hello > memory/file && stat -f -c %T memory
    cat host/hello
    cat settings/colour; echo
    cat settings/sub/renamed
    cat passwords/password; echo; stat -L -c %a passwords/password
    cat about/labels; echo; cat about/name; echo; cat about/memory; echo
    cat all/config/colour; echo; cat all/secret; echo; cat all/name; echo; test -s all/token && echo token
    cat /tmp/v/one-file
    touch settings/x 2>&1
    {SLEEPER}
    """
    volumes: list[Object] = [
        {"name": "empty", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": str(host), "type": "Directory"}},
        {
            "name": "settings",
            "configMap": {
                "name": "settings",
                "items": [{"key": "colour", "path": "colour"}, {"key": "file.txt", "path": "sub/renamed"}],
            },
        },
        {"name": "passwords", "secret": {"secretName": "passwords", "defaultMode": 0o400}},
        {
            "name": "about",
            "downwardAPI": {
                "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                    {
                        "path": "memory",
                        "resourceFieldRef": {
                            "containerName": "main",
                            "resource": "requests.memory",
                            "divisor": "1Mi",
                        },
                    },
                ]
            },
        },
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "config/colour"}]}},
                    {"secret": {"name": "passwords", "items": [{"key": "pin", "path": "secret"}]}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "somebody"}},
                ]
            },
        },
    ]
    container = shell(
        script,
        volumeMounts=[
            *({"name": name, "mountPath": path} for name, path in mounts.items()),
            {"name": "settings", "mountPath": "/tmp/v/one-file", "subPath": "sub/renamed"},
        ],
        resources={"requests": {"memory": "16Mi"}},
    )
    await site.create(POD, pod("volumes", container, labels={"tier": "front"}, volumes=volumes))
    await site.pod_is("volumes", is_running)
    expected = [
        "hello",
        "tmpfs",
        "from the host",
        "blue",
        "first line",
        "s3cr3t",
        "400",
        'tier="front"',
        "volumes",
        "16",
        "blue",
        "1234",
        "volumes",
        "token",
        "first line",
    ]
    output = await until(lambda: site.output("volumes")[len(expected) :] and site.output("volumes"))
    assert output[: len(expected)] == expected
    assert "Read-only file system" in output[len(expected)]


async def test_changes_of_mounted_objects_reach_the_running_pod(site: Site, pods: list[str]) -> None:
    pods.append("changes")
    await site.create(CONFIG_MAP, {"metadata": {"name": "changing"}, "data": {"text": "before"}})
    await site.create(SECRET, {"metadata": {"name": "changing"}, "stringData": {"text": "before"}})
    container = shell(
        "trap 'exit 0' TERM; while true; do cat /tmp/m/text /tmp/s/text /tmp/d/labels; echo; sleep 0.3 & wait $!; done",
        volumeMounts=[{"name": name, "mountPath": f"/tmp/{name}"} for name in "msd"],
    )
    volumes = [
        {"name": "m", "configMap": {"name": "changing"}},
        {"name": "s", "secret": {"secretName": "changing"}},
        {"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    await site.create(POD, pod("changes", container, labels={"a": "b"}, volumes=volumes))
    before = await site.pod_is("changes", is_running)
    await until(lambda: 'beforebeforea="b"' in site.output("changes"))
    await site.patch(CONFIG_MAP, "changing", {"data": {"text": "after"}})
    await site.patch(SECRET, "changing", {"stringData": {"text": "after"}})
    await site.patch(POD, "changes", {"metadata": {"labels": {"a": "c"}}})
    await until(
        lambda: 'afteraftera="c"' in site.output("changes"), UPDATE_TIMEOUT_S, lambda: site.output("changes")[-1]
    )
    after = await site.pod("changes")
    assert container_status(after)["containerID"] == container_status(before)["containerID"]
    await site.delete(CONFIG_MAP, "changing")
    await site.delete(SECRET, "changing")


async def test_the_token_of_a_pod_is_its_own_and_good(site: Site, pods: list[str]) -> None:
    pods.append("token")
    made = await site.create(
        POD, pod("token", shell(f"cat {TOKEN_PATH}/token; echo; cat {TOKEN_PATH}/namespace; echo; {SLEEPER}"))
    )
    await site.pod_is("token", is_running)
    token, namespace = (await until(lambda: len(site.output("token")) >= 2 and site.output("token")))[:2]
    assert namespace == "default"
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["kubernetes.io"]["pod"] == {"name": "token", "uid": made["metadata"]["uid"]}
    review = await site.create(TOKEN_REVIEW, {"spec": {"token": token}}, "")
    assert review["status"]["authenticated"] is True
    assert review["status"]["user"]["username"] == "system:serviceaccount:default:default"
    (certificate,) = (site._edge / "kubelet" / "pods" / made["metadata"]["uid"]).glob("volumes/*projected/*/ca.crt")
    assert await is_known_to_the_api(site, token, certificate)
    assert not await is_known_to_the_api(site, token[:-4] + "AAAA", certificate)
    # It dies with the pod.
    await site.delete(POD, "token")
    await site.gone(POD, "token")
    review = await site.create(TOKEN_REVIEW, {"spec": {"token": token}}, "")
    assert not review["status"].get("authenticated")


async def is_known_to_the_api(site: Site, token: str, ca: Path) -> bool:
    """Call the API as a pod does: with its token, and the CA that lies beside it."""
    document = yaml.safe_load(site.kubeconfig.read_text(encoding="utf-8"))
    document["users"][0]["user"] = {"token": token}
    cluster = document["clusters"][0]["cluster"]
    cluster.pop("certificate-authority-data")
    cluster["certificate-authority"] = str(ca)
    path = site.folder / "pod.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    api = HttpApi(kubeconfig.find(str(path)))
    try:
        await api.get(CONFIG_MAP, "default", "kube-root-ca.crt")
    except ApiError as error:
        if error.code not in (401, 403):
            raise
        return error.code == 403
    finally:
        api.close()
    return True


async def test_init_containers_run_one_after_the_other_and_before_all_others(site: Site, pods: list[str]) -> None:
    pods.append("init")
    volume = {"name": "shared", "emptyDir": {}}
    mount: Object = {"volumeMounts": [{"name": "shared", "mountPath": "/tmp/shared"}]}
    body = pod(
        "init",
        shell(f"cat /tmp/shared/log; {SLEEPER}", **mount),
        initContainers=[
            shell("echo one >> /tmp/shared/log; sleep 0.3", "one", image="host:1", **mount),
            shell(
                "test -e /tmp/shared/tried || { touch /tmp/shared/tried; exit 3; }; echo two >> /tmp/shared/log",
                "two",
                image="host:1",
                **mount,
            ),
        ],
        volumes=[volume],
    )
    await site.create(POD, body)
    ended = await site.pod_is("init", is_running)
    assert site.output("init") == ["one", "two"]
    one = container_status(ended, "one", "initContainerStatuses")
    two = container_status(ended, "two", "initContainerStatuses")
    assert (one["restartCount"], two["restartCount"]) == (0, 1)
    assert one["state"]["terminated"]["reason"] == two["state"]["terminated"]["reason"] == "Completed"
    assert two["lastState"]["terminated"]["exitCode"] == 3
    conditions = {one["type"]: one["status"] for one in ended["status"]["conditions"]}
    assert conditions["Initialized"] == conditions["Ready"] == "True"


async def test_restart_policies_decide_what_an_end_means(site: Site, pods: list[str]) -> None:
    pods += ["completed", "failed", "retried"]
    await site.create(POD, pod("completed", shell("exit 0"), restartPolicy="Never"))
    await site.create(POD, pod("failed", shell("echo because > /dev/termination-log; exit 7"), restartPolicy="Never"))
    retried = shell(
        "test -e /tmp/s/x || { touch /tmp/s/x; exit 1; }", volumeMounts=[{"name": "s", "mountPath": "/tmp/s"}]
    )
    await site.create(POD, pod("retried", retried, restartPolicy="OnFailure", volumes=[{"name": "s", "emptyDir": {}}]))
    await site.pod_is("completed", lambda one: one["status"].get("phase") == "Succeeded")
    failed = await site.pod_is("failed", lambda one: one["status"].get("phase") == "Failed")
    terminated = container_status(failed)["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (7, "Error", "because\n")
    retried_pod = await site.pod_is("retried", lambda one: one["status"].get("phase") == "Succeeded")
    assert container_status(retried_pod)["restartCount"] == 1


async def test_readiness_decides_whether_a_running_pod_is_ready(site: Site, pods: list[str]) -> None:
    pods.append("readiness")
    probe = {"exec": {"command": ["test", "-e", "/tmp/s/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    container = shell(SLEEPER, readinessProbe=probe, volumeMounts=[{"name": "s", "mountPath": "/tmp/s"}])
    made = await site.create(POD, pod("readiness", container, volumes=[{"name": "s", "emptyDir": {}}]))
    await site.pod_is("readiness", lambda one: state(one)[0] == "running")
    await site.event("readiness", "Unhealthy", "Readiness probe failed")
    running = await site.pod("readiness")
    assert running["status"]["phase"] == "Running"
    assert not container_status(running)["ready"]
    folder = site._edge / "kubelet" / "pods" / made["metadata"]["uid"] / "volumes/kubernetes.io~empty-dir/s"
    (folder / "ready").touch()
    await site.pod_is("readiness", is_running)
    (folder / "ready").unlink()
    after = await site.pod_is("readiness", lambda one: not is_running(one))
    assert container_status(after)["restartCount"] == 0
    conditions = {one["type"]: one for one in after["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == conditions["ContainersReady"]["reason"] == "ContainersNotReady"


async def test_a_container_that_fails_its_liveness_probe_is_restarted(site: Site, pods: list[str]) -> None:
    pods.append("liveness")
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/s/dead"]}, "periodSeconds": 1, "failureThreshold": 2}
    container = shell(
        f"rm -f /tmp/s/dead; {SLEEPER}", livenessProbe=probe, volumeMounts=[{"name": "s", "mountPath": "/tmp/s"}]
    )
    made = await site.create(POD, pod("liveness", container, volumes=[{"name": "s", "emptyDir": {}}]))
    before = await site.pod_is("liveness", is_running)
    folder = site._edge / "kubelet" / "pods" / made["metadata"]["uid"] / "volumes/kubernetes.io~empty-dir/s"
    (folder / "dead").touch()
    after = await site.pod_is(
        "liveness", lambda one: container_status(one).get("restartCount") == 1 and is_running(one)
    )
    assert container_status(after)["containerID"] != container_status(before)["containerID"]
    assert container_status(after)["lastState"]["terminated"]["containerID"] == container_status(before)["containerID"]
    await site.event("liveness", "Unhealthy", "Liveness probe failed")
    await site.event("liveness", "Killing", "Container main failed liveness probe, will be restarted")


async def test_a_startup_probe_holds_the_others_back(site: Site, pods: list[str]) -> None:
    pods.append("startup")
    startup = {"exec": {"command": ["test", "-e", "/tmp/s/up"]}, "periodSeconds": 1, "failureThreshold": 30}
    container = shell(
        f"sleep 2; touch /tmp/s/up; {SLEEPER}",
        startupProbe=startup,
        livenessProbe={"exec": {"command": ["test", "-e", "/tmp/s/up"]}, "periodSeconds": 1, "failureThreshold": 1},
        volumeMounts=[{"name": "s", "mountPath": "/tmp/s"}],
    )
    await site.create(POD, pod("startup", container, volumes=[{"name": "s", "emptyDir": {}}]))
    await site.pod_is("startup", lambda one: state(one)[0] == "running")
    assert not container_status(await site.pod("startup"))["started"]
    started = await site.pod_is("startup", is_running)
    assert container_status(started)["started"] is True
    assert container_status(started)["restartCount"] == 0


async def test_a_deleted_pod_gets_its_grace_and_not_more(site: Site, pods: list[str]) -> None:
    pods += ["polite", "stubborn"]
    polite = shell("trap 'echo bye; exit 0' TERM; sleep 1000 & wait")
    stubborn = shell("trap '' TERM; while true; do sleep 1; done")
    await site.create(POD, pod("polite", polite, terminationGracePeriodSeconds=30))
    await site.create(POD, pod("stubborn", stubborn, terminationGracePeriodSeconds=2))
    for name in ("polite", "stubborn"):
        await site.pod_is(name, is_running)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await site.delete(POD, "polite")
    await site.delete(POD, "stubborn")
    await site.gone(POD, "polite")
    assert loop.time() - started < 10
    await site.gone(POD, "stubborn")
    assert 1.5 < loop.time() - started < 15
    assert not [one for one in await site.containers.running() if one.pod in ("polite", "stubborn")]
