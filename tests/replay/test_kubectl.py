"""The real kubectl against the embedded API prints what it printed at a real API server with an edge node."""

from __future__ import annotations

import asyncio
import difflib
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from kubeedge.apiserver.app import ApiServer, running
from kubeedge.kube import crds
from kubeedge.kube.kinds import LEASE
from tests.apiserver.kubectl import find
from tests.replay.edge_node import EdgeNode
from tests.replay.kubectl import Invocation, invocations, lines

COMMAND_TIMEOUT_S = 70
CONTEXT = "lab"

LEFT_OUT = {
    "apply --server-side -f cm.yaml": "server-side apply is not served yet",
    "apply --server-side --force-conflicts -f cm.yaml": "server-side apply is not served yet",
    "get configmap c1 -o yaml": "shows what server-side apply left in an annotation",
    "explain configmap": "descriptions of built-in types are not shipped",
    "explain pod.spec.restartPolicy": "descriptions of built-in types are not shipped",
    "explain device.spec": "the definitions are shipped without descriptions",
    "describe node e1": "the recorded node had been NotReady before",
    "rollout status deployment/web --timeout=3s": "the recorded node took longer to stop a pod",
    "events --types=Normal": "the order of events of one second is left to chance",
    "delete all --all": "the recorded garbage collector had not deleted the pod yet",
    "get svc,endpoints,endpointslices": "the recorded node still had pods that were stopping",
}

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c1}
data: {a: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: s1}
stringData: {p: x}
"""
BAD = """
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec: {nonsense: 1, containers: [{name: c}]}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: "busybox:1.36", command: [sleep, "1000"], ports: [{containerPort: 80}]}
"""
# What the recording's person did in an editor.
EDITOR = """#!/bin/sh
sed -i 's/a: "1"/a: "2"/' "$1"
"""


def prepare(folder: Path) -> None:
    """Write the files that the recorded commands name."""
    folder.mkdir()
    files = {
        "cm.yaml": CONFIG,
        "bad.yaml": BAD,
        "dep.yaml": DEPLOYMENT % 2,
        "dep2.yaml": DEPLOYMENT % 3,
        "kustomization.yaml": "namePrefix: k-\nresources: [cm.yaml]\n",
        "editor": EDITOR,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "editor").chmod(0o755)


def recorded_node() -> dict[str, Any]:
    """The edge node that the recorded cluster had."""
    shown = next(one for one in invocations() if one.command == "get node e1 -o yaml")
    node: dict[str, Any] = yaml.safe_load(shown.out)
    for field in ("machineID", "systemUUID"):  # YAML reads the digits as a number
        node["status"]["nodeInfo"][field] = "00000000000000000000000000000001"
    return node


class Shell:
    """Runs kubectl in a folder, with a kubeconfig whose context is called as recorded."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self._folder = folder
        config = yaml.safe_load(kubeconfig.read_text())
        config["contexts"][0]["name"] = config["current-context"] = CONTEXT
        own = folder / "kubeconfig"
        own.write_text(yaml.safe_dump(config))
        cache = {"KUBECACHEDIR": str(folder / "cache"), "KUBECTL_KUBERC": "false"}
        self._environment = os.environ | cache | {"KUBECONFIG": str(own), "EDITOR": str(folder / "editor")}

    async def run(self, command: str) -> tuple[int, str, str]:
        """(exit code, output, errors) of a recorded command; its arguments had no blanks, but for that of -p."""
        head, option, patch = command.partition(" -p ")
        arguments = [*head.split(), *(["-p", patch] if option else ())]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            find(),
            *arguments,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


def shown(text: str) -> list[str]:
    """What counts of an output: how often `rollout status` waits is a matter of speed."""
    kept: list[str] = []
    for line in lines(text.replace('"00000000000000000000000000000001"', "0" * 31 + "1")):
        if not line.startswith("Waiting for deployment"):
            kept.append(line)
    return kept


def differences(invocation: Invocation, code: int, out: str, err: str) -> list[str]:
    """How what kubectl did differs from the recording."""
    found = [] if code == invocation.code else [f"exit code {code}, recorded: {invocation.code}"]
    for recorded, actual in ((invocation.out, out), (invocation.err, err)):
        difference = difflib.unified_diff(shown(recorded), shown(actual), lineterm="", n=0)
        found += [line for line in difference if not line.startswith(("---", "+++", "@@"))]
    return found


@pytest.mark.timeout(240)
async def test_kubectl_prints_what_it_printed_at_a_real_server(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    prepare(folder)
    problems: dict[str, list[str]] = {}
    async with running(ApiServer(tmp_path / "apiserver")) as server:
        await crds.ensure_installed(server.api)
        other = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
        await server.api.create(LEASE, "kube-node-lease", orjson.dumps(other))
        node = EdgeNode(server.api, recorded_node())
        await node.register()
        shell = Shell(folder, server.kubeconfig)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(node.run())
            for invocation in invocations():
                found = differences(invocation, *await shell.run(invocation.command))
                if found and invocation.command not in LEFT_OUT:
                    problems[str(invocation)] = found
            playing.cancel()
    text = [f"{name}\n    " + "\n    ".join(found[:12]) for name, found in problems.items()]
    assert not problems, f"{len(problems)} commands differ:\n" + "\n".join(text)


def test_what_is_left_out_exists_and_is_little() -> None:
    commands = [invocation.command for invocation in invocations()]
    assert not set(LEFT_OUT) - set(commands)
    assert len(commands) - sum(command in LEFT_OUT for command in commands) >= 85
