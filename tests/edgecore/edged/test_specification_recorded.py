"""What edged asks of a runtime for each recorded pod, held against what upstream asked of containerd."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeedge.edgecore.edged import environment, network, specification
from kubeedge.edgecore.edged.downward import Place
from kubeedge.edgecore.edged.environment import ConfigError
from kubeedge.edgecore.edged.folders import Folders
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.network import ClusterDns
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import ContainerConfig, Image, SandboxConfig
from kubeedge.edgecore.edged.specification import NodeLimits
from kubeedge.edgecore.edged.volumes.mounter import VolumeMounter

GOLDEN = Path(__file__).parents[2] / "golden" / "edged"
ROOT = Path("/var/lib/kubelet")
LIMITS = NodeLimits(24684084 * 1024)
NODE_IP = "192.0.2.2"
IMAGE = Image("sha256:7dc5373238a290df5818eb87be78068206a31c0e04450b74b7582ef884c4e488", [], [], 0)


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GOLDEN / "pods.yaml").read_text()))


def calls(method: str) -> list[dict[str, Any]]:
    rows = (json.loads(line) for line in (GOLDEN / "cri.jsonl").read_text().splitlines())
    return [row for row in rows if row["method"] == method]


def first_by(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[str, ...], dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        if row["pod"] in PODS:
            found.setdefault(tuple(row[key] for key in keys), row["request"]["config"])
    return found


# The recording also holds pods of kubectl's.
PODS = {d["metadata"]["name"] for d in documents() if d["kind"] == "Pod"}
SANDBOXES = first_by(calls("RunPodSandbox"), "pod")
CONTAINERS = first_by(calls("CreateContainer"), "pod", "container")
IPS = {
    row["response"]["status"]["metadata"]["name"]: row["response"]["status"].get("network", {}).get("ip")
    for row in calls("PodSandboxStatus")
    if "status" in row["response"] and row["response"]["status"].get("network", {}).get("ip")
}


def pod_of(name: str) -> Pod:
    """The pod as the API hands it to the node: with its uid and what admission adds."""
    data = next(d for d in documents() if d["kind"] == "Pod" and d["metadata"]["name"] == name)
    recorded = SANDBOXES[(name,)]
    data["metadata"].update(uid=recorded["metadata"]["uid"], namespace="default")
    for container in data["spec"]["containers"]:
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")
        resources = container.get("resources", {})
        # The API fills requests from limits.
        if "limits" in resources:
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
    if data["spec"].get("automountServiceAccountToken") is not False:
        mounts = CONTAINERS[(name, "main")]["mounts"]
        path = next(m for m in mounts if "serviceaccount" in m["container_path"])
        volume = path["host_path"].rsplit("/", 1)[1]
        data["spec"]["volumes"].append({"name": volume, "projected": {"sources": []}})
        entry = {"name": volume, "mountPath": path["container_path"], "readOnly": True}
        data["spec"]["containers"][0]["volumeMounts"].append(entry)
    return Pod(data)


class Store:
    """The ConfigMap and Secret of the recording."""

    async def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        for document in documents():
            if document["kind"] == "ConfigMap" and document["metadata"]["name"] == name:
                return document
        raise MetaError("NotFound", f'configmap "{name}" not found')

    async def secret(self, namespace: str, name: str) -> dict[str, Any]:
        found = next(d for d in documents() if d["kind"] == "Secret" and d["metadata"]["name"] == name)
        return {"data": {k: base64.b64encode(v.encode()).decode() for k, v in found["stringData"].items()}}

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("no token is asked for")


class KnownMounts(VolumeMounter):
    """Gives the paths of subPath mounts without mounting anything."""

    def _bind_sub_path(self, volume: str, sub_path: str, target: Path) -> str:
        return str(target)


def as_recorded_security(config: SandboxConfig | ContainerConfig) -> dict[str, Any]:
    security = config.security
    options = {"network": "POD", "pid": "POD", "ipc": "POD"}
    options.update(network=security.namespaces.network, pid=security.namespaces.pid, ipc=security.namespaces.ipc)
    found: dict[str, Any] = {"namespace_options": {k: v for k, v in options.items() if v != "POD"}}
    if security.privileged:
        found["privileged"] = True
    if security.run_as_user is not None:
        found["run_as_user"] = {"value": str(security.run_as_user)} if security.run_as_user else {}
    if security.run_as_group is not None:
        found["run_as_group"] = {"value": str(security.run_as_group)}
    if security.supplemental_groups:
        found["supplemental_groups"] = [str(group) for group in security.supplemental_groups]
    if security.readonly_rootfs:
        found["readonly_rootfs"] = True
    if security.no_new_privs:
        found["no_new_privs"] = True
    capabilities = {"add_capabilities": security.capabilities_add, "drop_capabilities": security.capabilities_drop}
    if any(capabilities.values()):
        found["capabilities"] = {k: v for k, v in capabilities.items() if v}
    if security.masked_paths:
        found["masked_paths"] = security.masked_paths
        found["readonly_paths"] = security.readonly_paths
    found["seccomp"] = (
        {} if security.seccomp_profile == "RuntimeDefault" else {"profile_type": security.seccomp_profile}
    )
    return found


def as_recorded_resources(resources: Any) -> dict[str, str]:
    values = {
        "cpu_period": resources.cpu_period,
        "cpu_quota": resources.cpu_quota,
        "cpu_shares": resources.cpu_shares,
        "memory_limit_in_bytes": resources.memory_limit_bytes,
        "oom_score_adj": resources.oom_score_adj,
    }
    return {key: str(value) for key, value in values.items() if value}


@pytest.mark.parametrize("name", [name for (name,) in SANDBOXES])
def test_sandbox_is_asked_for_as_recorded(name: str) -> None:
    pod, recorded = pod_of(name), SANDBOXES[(name,)]
    dns, _ = network.dns(pod, ClusterDns(resolv_conf=str(GOLDEN / "resolv.conf")))
    logs = str(Folders(ROOT, Path("/var/log/pods")).pod_logs(pod))
    config = specification.sandbox_config(pod, 0, dns, logs, LIMITS)
    linux = recorded["linux"]
    assert config.hostname == recorded.get("hostname", "")
    assert config.log_directory == recorded["log_directory"]
    assert config.labels == recorded["labels"]
    assert config.annotations.items() <= recorded["annotations"].items()
    wanted_dns = recorded["dns_config"]
    assert dns.servers == wanted_dns.get("servers", [])
    assert dns.searches == wanted_dns.get("searches", [])
    assert dns.options == wanted_dns.get("options", [])
    ports = [{"container_port": p.container_port, "host_port": p.host_port} for p in config.ports]
    assert [{k: v for k, v in p.items() if v} for p in ports] == recorded.get("port_mappings", [])
    assert config.cgroup_parent == linux["cgroup_parent"]
    assert config.sysctls == linux.get("sysctls", {})
    assert config.resources is not None
    assert as_recorded_resources(config.resources) == linux["resources"]
    assert as_recorded_security(config) == linux["security_context"]


@pytest.mark.parametrize(("name", "container_name"), list(CONTAINERS))
async def test_container_is_asked_for_as_recorded(name: str, container_name: str) -> None:
    pod, recorded = pod_of(name), CONTAINERS[(name, container_name)]
    container = pod.container(container_name)
    assert container is not None
    objects = Objects(Store(), lambda: 0.0)
    ips = [NODE_IP] if pod.host_network else [IPS[name]]
    place = Place([NODE_IP], ips, {"cpu": "2", "memory": "24581684Ki"})
    pod.spec["nodeName"] = "e1"
    built = await environment.build(pod, container, objects, place, ("", ""))
    folders = Folders(ROOT, Path("/var/log/pods"))
    mounts = await KnownMounts(folders, objects).mounts_of(pod, container, built.values)
    config = specification.container_config(pod, container, 0, IMAGE, built.values, mounts, LIMITS)
    assert config.command == recorded.get("command", [])
    assert config.args == recorded.get("args", [])
    assert config.working_dir == recorded.get("working_dir", "")
    assert (config.image, config.image_spec) == (IMAGE.id, recorded["image"]["user_specified_image"])
    assert config.log_path == recorded["log_path"]
    assert config.labels == recorded["labels"]
    ignored = {"io.kubernetes.container.hash", "io.kubernetes.container.ports"}
    wanted = {k: v for k, v in recorded["annotations"].items() if k not in ignored}
    assert {k: v for k, v in config.annotations.items() if k not in ignored} == wanted
    values = {e["key"]: base64.b64decode(e.get("value", "")).decode() for e in recorded["envs"]}
    assert dict(config.envs) == values
    assert [k for k, _ in config.envs][-2:] == ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]
    of_volumes = [m for m in recorded["mounts"] if m["container_path"] not in ("/etc/hosts", "/dev/termination-log")]
    assert [(m.container_path, m.host_path, m.readonly) for m in config.mounts] == [
        (m["container_path"], m["host_path"], m.get("readonly", False)) for m in of_volumes
    ]
    assert (config.tty, config.stdin) == (recorded.get("tty", False), recorded.get("stdin", False))
    linux = dict(recorded["linux"])
    resources = {
        k: v for k, v in linux["resources"].items() if k not in ("hugepage_limits", "memory_swap_limit_in_bytes")
    }
    assert as_recorded_resources(config.resources) == resources
    assert as_recorded_security(config) == linux["security_context"]


async def test_root_is_refused_as_recorded() -> None:
    pod = pod_of("p-root")
    (container,) = pod.containers
    with pytest.raises(ConfigError) as caught:
        specification.container_config(pod, container, 0, IMAGE, {}, [], LIMITS)
    where = f'(pod: "p-root_default({pod.uid})", container: main)'
    assert str(caught.value) == f"container has runAsNonRoot and image will run as root {where}"
