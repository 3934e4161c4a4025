"""Turns a container's configuration into the plan that its launcher follows, or refuses it (spec 05 §5.3)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    DnsConfig,
    Mount,
    MountPropagation,
    RuntimeCallError,
    SandboxConfig,
)
from kubeedge.edgecore.edged.runtime.process import capabilities, seccomp
from kubeedge.edgecore.edged.runtime.process.convention import MARK
from kubeedge.edgecore.edged.runtime.process.images import LocalImage

TERMINATION_PATH_ANNOTATION = "io.kubernetes.container.terminationMessagePath"
CGROUP_PARENT = "kubeedge"


class Refusal(RuntimeCallError):
    """The machine or the runtime cannot honour what the container asks for."""

    def __init__(self, message: str) -> None:
        super().__init__("CreateContainerError", message)


def make(
    folder: Path,
    sandbox_id: str,
    config: ContainerConfig,
    sandbox: SandboxConfig,
    image: LocalImage,
    features: frozenset[str],
    enforce_limits: bool,
) -> dict[str, Any]:
    """Return the plan of a container whose folder is folder. Raises RuntimeCallError with what cannot be done."""
    security = config.security
    entrypoint = config.command or image.config.entrypoint or []
    arguments = config.args or ([] if config.command else image.config.cmd or [])
    argv = [*entrypoint, *arguments]
    if not config.command and not image.rootfs:
        raise RuntimeCallError("ErrImagePull", missing_image(config.image_spec or config.image))
    if not argv:
        raise Refusal("no command specified")
    if image.rootfs and not {"mount", "overlay"} <= features:
        raise Refusal("unpacked images need mount namespaces and overlayfs, which this machine does not allow")
    names = _namespaces(config, features)
    env = dict(entry.split("=", 1) for entry in image.config.env or [] if "=" in entry)
    env.update(config.envs)
    if "pid" not in names:
        env[MARK] = folder.name
    uid, gid = _user(config, features)
    resources = config.resources
    _check_limits(config, features, enforce_limits)
    has_groups = bool({"memory", "cpu"} & features)
    parent = sandbox.cgroup_parent.strip("/") or f"{CGROUP_PARENT}/{sandbox_id}"
    mounts = _mounts(config, names)
    kept = _capabilities(config, features)
    return {
        "argv": argv,
        "env": env,
        "cwd": config.working_dir or image.config.working_dir or ("/" if image.rootfs else str(folder / "work")),
        "hostname": sandbox.hostname,
        "namespaces": sorted(names),
        "pid": "pid" in names,
        "image": image.rootfs.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,"),
        "layer": str(folder / "layer"),
        "mounts": [
            {
                "source": mount.host_path,
                "target": os.path.normpath(mount.container_path),
                "readonly": mount.readonly,
                "follows_host": mount.propagation is MountPropagation.HOST_TO_CONTAINER,
            }
            for mount in mounts
        ],
        "privileged": security.privileged,
        "masked": [] if security.privileged else security.masked_paths,
        "readonly_paths": [] if security.privileged else security.readonly_paths,
        "readonly": security.readonly_rootfs,
        "uid": uid,
        "gid": gid,
        "username": security.run_as_username,
        "groups": security.supplemental_groups,
        "capabilities": kept,
        "seccomp": _seccomp(config, kept, features),
        "no_new_privs": security.no_new_privs,
        "oom_score_adj": resources.oom_score_adj,
        "cgroup": f"{parent}/{folder.name}" if has_groups else "",
        "limits": {
            "memory": resources.memory_limit_bytes if "memory" in features else 0,
            "quota": resources.cpu_quota if "cpu" in features else 0,
            "period": resources.cpu_period,
            "shares": resources.cpu_shares,
        },
        "unified": resources.unified if "memory" in features else {},
        "stdin": config.stdin,
    }


def missing_image(name: str) -> str:
    """Say why an image cannot be had."""
    return (
        f'image "{name}" cannot be pulled: the process runtime runs on this node without registries. '
        "Give the container a command of the host, or unpack the image into the runtime's images folder"
    )


def resolv_conf(dns: DnsConfig) -> str:
    """Return the text of the resolv.conf that dns asks for."""
    lines = [f"nameserver {server}" for server in dns.servers]
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "".join(f"{line}\n" for line in lines)


def _namespaces(config: ContainerConfig, features: frozenset[str]) -> set[str]:
    options = config.security.namespaces
    names = {"user", "uts", "mount"} & features
    if options.ipc != "NODE":
        names |= {"ipc"} & features
    if options.pid == "CONTAINER" and "mount" in features:
        names |= {"pid"} & features
    return names


def _user(config: ContainerConfig, features: frozenset[str]) -> tuple[int, int]:
    """Return user and group, -1 where the container's passwd file decides."""
    security = config.security
    uid = -1 if security.run_as_user is None else security.run_as_user
    gid = -1 if security.run_as_group is None else security.run_as_group
    if "root" not in features:
        if uid not in (-1, os.geteuid()):
            raise Refusal(f"runAsUser {uid} needs edgecore to run as root")
        if gid not in (-1, os.getegid()):
            raise Refusal(f"runAsGroup {gid} needs edgecore to run as root")
        if not set(security.supplemental_groups) <= {*os.getgroups(), os.getegid()}:
            raise Refusal("supplementalGroups and fsGroup need edgecore to run as root")
    return uid, gid


def _capabilities(config: ContainerConfig, features: frozenset[str]) -> list[int] | None:
    """Return the capabilities that the container keeps; None where it keeps what there is."""
    security = config.security
    unknown = [
        name
        for name in (*security.capabilities_add, *security.capabilities_drop)
        if capabilities.normalise(name) not in {*capabilities.NUMBERS, "ALL"}
    ]
    if unknown:
        raise Refusal(f"unknown capability {unknown[0]}")
    if "root" not in features:
        if security.privileged or security.capabilities_add:
            raise Refusal("privileged and added capabilities need edgecore to run as root")
        return None
    if security.privileged:
        return None
    return capabilities.kept(security.capabilities_add, security.capabilities_drop)


def _seccomp(config: ContainerConfig, kept: list[int] | None, features: frozenset[str]) -> bytes:
    """Return the filter of the container's profile, empty for none; a privileged container has none."""
    profile = config.security.seccomp_profile
    if profile == "Unconfined" or config.security.privileged:
        return b""
    if profile != "RuntimeDefault":
        raise Refusal(f"seccompProfile {profile} is not supported")
    if "seccomp" not in features:
        raise Refusal("seccompProfile RuntimeDefault is not available on this machine")
    # Who has no rights to give away keeps none that matter.
    return seccomp.default_profile(kept if "root" in features else [])


def _check_limits(config: ContainerConfig, features: frozenset[str], enforce_limits: bool) -> None:
    resources = config.resources
    for controller, limit in (("memory", resources.memory_limit_bytes), ("cpu", resources.cpu_quota)):
        if limit > 0 and enforce_limits and controller not in features:
            raise Refusal(f"the {controller} limit cannot be enforced: this machine gives no {controller} cgroup")


def _mounts(config: ContainerConfig, names: set[str]) -> list[Mount]:
    """Return the mounts to make; without a mount namespace only those that are there already can be had."""
    if "mount" in names:
        if any(mount.propagation is MountPropagation.BIDIRECTIONAL for mount in config.mounts):
            raise Refusal("mount propagation Bidirectional is not supported")
        return config.mounts
    if config.security.readonly_rootfs:
        raise Refusal("readOnlyRootFilesystem needs a mount namespace, which this machine does not allow")
    # These two are edged's own additions: the host's hosts file stays, termination messages are not read.
    dispensable = {"/etc/hosts", "/etc/resolv.conf", config.annotations.get(TERMINATION_PATH_ANNOTATION, "")}
    for mount in config.mounts:
        if mount.container_path in dispensable:
            continue
        is_there = os.path.realpath(mount.host_path) == os.path.realpath(mount.container_path)
        if not is_there or mount.readonly:
            raise Refusal(
                f"nothing can be mounted at {mount.container_path}: this machine does not allow mount namespaces"
            )
    return []
