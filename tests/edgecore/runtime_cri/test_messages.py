"""What is sent to a runtime, held against what upstream sent to containerd for the same pods."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from kubeedge.edgecore.edged.runtime.cri import messages
from kubeedge.edgecore.edged.runtime.cri.messages import Host
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    DnsConfig,
    ImageAuth,
    Mount,
    MountPropagation,
    NamespaceOptions,
    PortMapping,
    Resources,
    SandboxConfig,
    SecurityContext,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "edged" / "cri.jsonl"
# The machine of the recording.
HOST = Host(("2MB", "1GB"), limits_swap=True, seccomp_folder="/var/lib/kubelet/seccomp")

Object = dict[str, Any]


def recorded(method: str) -> list[Any]:
    rows = (json.loads(line) for line in GOLDEN.read_text().splitlines())
    return [
        pytest.param(row["request"]["config"], id=f"{row['pod']}-{row.get('container', '')}-{row['t']}")
        for row in rows
        if row["method"] == method
    ]


def resources(found: Object) -> Resources:
    return Resources(
        cpu_shares=int(found.get("cpu_shares", 0)),
        cpu_quota=int(found.get("cpu_quota", 0)),
        cpu_period=int(found.get("cpu_period", 0)),
        memory_limit_bytes=int(found.get("memory_limit_in_bytes", 0)),
        oom_score_adj=int(found.get("oom_score_adj", 0)),
    )


def number(found: Object | None) -> int | None:
    return None if found is None else int(found.get("value", 0))


def security(found: Object) -> SecurityContext:
    modes = {"network": "POD", "pid": "POD", "ipc": "POD"} | found["namespace_options"]
    capabilities = found.get("capabilities", {})
    return SecurityContext(
        namespaces=NamespaceOptions(**modes),
        privileged=found.get("privileged", False),
        run_as_user=number(found.get("run_as_user")),
        run_as_group=number(found.get("run_as_group")),
        supplemental_groups=[int(group) for group in found.get("supplemental_groups", [])],
        readonly_rootfs=found.get("readonly_rootfs", False),
        no_new_privs=found.get("no_new_privs", False),
        capabilities_add=capabilities.get("add_capabilities", []),
        capabilities_drop=capabilities.get("drop_capabilities", []),
        seccomp_profile=found["seccomp"].get("profile_type", "RuntimeDefault"),
        masked_paths=found.get("masked_paths", []),
        readonly_paths=found.get("readonly_paths", []),
    )


def as_json(message: Any) -> Object:
    return dict(MessageToDict(message, preserving_proto_field_name=True))


@pytest.mark.parametrize("wanted", recorded("RunPodSandbox"))
def test_sandbox_message_is_the_recorded_one(wanted: Object) -> None:
    metadata, linux = wanted["metadata"], wanted["linux"]
    config = SandboxConfig(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        attempt=metadata.get("attempt", 0),
        hostname=wanted.get("hostname", ""),
        log_directory=wanted["log_directory"],
        dns=DnsConfig(**wanted["dns_config"]),
        ports=[PortMapping(**port) for port in wanted.get("port_mappings", [])],
        labels=wanted["labels"],
        annotations=wanted["annotations"],
        cgroup_parent=linux["cgroup_parent"],
        security=security(linux["security_context"]),
        sysctls=linux.get("sysctls", {}),
        resources=resources(linux["resources"]),
    )
    # Overhead of a runtime class, which edged has none of, was sent empty.
    wanted = {**wanted, "linux": {k: v for k, v in linux.items() if k != "overhead"}}
    assert as_json(messages.sandbox(config)) == wanted


@pytest.mark.parametrize("wanted", recorded("CreateContainer"))
def test_container_message_is_the_recorded_one(wanted: Object) -> None:
    envs = [(env["key"], base64.b64decode(env.get("value", "")).decode()) for env in wanted["envs"]]
    linux = wanted["linux"]
    config = ContainerConfig(
        name=wanted["metadata"]["name"],
        attempt=wanted["metadata"].get("attempt", 0),
        image=wanted["image"]["image"],
        image_spec=wanted["image"]["user_specified_image"],
        command=wanted.get("command", []),
        args=wanted.get("args", []),
        working_dir=wanted.get("working_dir", ""),
        envs=envs,
        mounts=[Mount(m["container_path"], m["host_path"], m.get("readonly", False)) for m in wanted["mounts"]],
        log_path=wanted["log_path"],
        labels=wanted["labels"],
        annotations=wanted["annotations"],
        stdin=wanted.get("stdin", False),
        tty=wanted.get("tty", False),
        resources=resources(linux["resources"]),
        security=security(linux["security_context"]),
    )
    plain = [{"key": name, "value": value} if value else {"key": name} for name, value in envs]
    assert as_json(messages.container(config, HOST)) == {**wanted, "envs": plain}


def test_everything_that_no_recorded_pod_has_is_said() -> None:
    config = ContainerConfig(
        "main",
        0,
        "image",
        mounts=[
            Mount("/a", "/a", propagation=MountPropagation.HOST_TO_CONTAINER),
            Mount("/b", "/b", propagation=MountPropagation.BIDIRECTIONAL),
        ],
        stdin_once=True,
        resources=Resources(unified={"memory.oom.group": "1"}),
        security=SecurityContext(
            run_as_username="guest",
            seccomp_profile="Localhost",
            seccomp_localhost="profiles/strict.json",
            apparmor_profile="localhost/strict",
            selinux={"user": "u", "role": "r", "type": "t", "level": "s0:c1"},
        ),
    )
    message = as_json(messages.container(config, HOST))
    assert [m["propagation"] for m in message["mounts"]] == [
        "PROPAGATION_HOST_TO_CONTAINER",
        "PROPAGATION_BIDIRECTIONAL",
    ]
    assert message["stdin_once"] is True
    assert message["linux"]["resources"]["unified"] == {"memory.oom.group": "1"}
    assert message["linux"]["security_context"] == {
        "namespace_options": {"pid": "CONTAINER"},
        "run_as_username": "guest",
        "seccomp": {"profile_type": "Localhost", "localhost_ref": "/var/lib/kubelet/seccomp/profiles/strict.json"},
        "apparmor": {"profile_type": "Localhost", "localhost_ref": "strict"},
        "apparmor_profile": "localhost/strict",
        "selinux_options": {"user": "u", "role": "r", "type": "t", "level": "s0:c1"},
    }


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("runtime/default", {}),
        ("unconfined", {"profile_type": "Unconfined"}),
        ("", None),
    ],
)
def test_apparmor_is_said_in_old_and_new_words(profile: str, message: Object | None) -> None:
    config = ContainerConfig("main", 0, "image", security=SecurityContext(apparmor_profile=profile))
    context = as_json(messages.container(config, Host()))["linux"]["security_context"]
    assert context.get("apparmor") == message
    assert context.get("apparmor_profile", "") == profile


def test_port_keeps_its_host_address() -> None:
    config = SandboxConfig("p", "default", "u", ports=[PortMapping(53, "UDP", 5353, "127.0.0.1")])
    (port,) = as_json(messages.sandbox(config))["port_mappings"]
    assert port == {"protocol": "UDP", "container_port": 53, "host_port": 5353, "host_ip": "127.0.0.1"}


def test_credentials_are_passed_whole() -> None:
    given = ImageAuth("u", "p", "registry", "identity", "token", "dTpw")
    assert messages.auth(None) is None
    assert as_json(messages.auth(given)) == {
        "username": "u",
        "password": "p",
        "auth": "dTpw",
        "server_address": "registry",
        "identity_token": "identity",
        "registry_token": "token",
    }


def test_host_tells_page_sizes_as_runtimes_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kib in (1048576, 64, 2048):
        (tmp_path / f"hugepages-{kib}kB").mkdir()
    monkeypatch.setattr(messages, "_HUGE_PAGES", tmp_path)
    assert messages.read_host("/seccomp").huge_page_sizes == ("64KB", "2MB", "1GB")
    monkeypatch.setattr(messages, "_HUGE_PAGES", tmp_path / "none")
    assert messages.read_host("/seccomp").huge_page_sizes == ()
