"""The promises of the demo, proved one after the other (`ci/demo --check`)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Concatenate

from kubeedge.demo.configuration import NODE_NAME
from kubeedge.demo.containers import RunningContainer, started_ticks
from kubeedge.demo.device import DeviceSteps
from kubeedge.demo.kubectl import KubectlError
from kubeedge.demo.program import ProgramError
from kubeedge.demo.site import EXAMPLES, Site
from kubeedge.demo.watcher import STEP_TIMEOUT_S, StepError
from kubeedge.kube.api import ApiError, ApiUnavailableError
from kubeedge.kube.kinds import CONFIG_MAP, LEASE, NODE, OBJECT_SYNC, POD

NAMESPACE = "default"
SELECTOR = "app=hello"
NEW_GREETING = "Good morning from the cloud"

# The promise: a node is Ready again so soon after cloudcore came back.
BACK_TIMEOUT_S = 10
# How long containers are watched while the cloud is away.
OFFLINE_S = 2.0


class Check(DeviceSteps):
    """Walks through the steps in order and counts. say takes one line of text."""

    def __init__(self, site: Site, say: Callable[[str], None]) -> None:
        super().__init__(site)
        self._say = say
        self._passed = 0
        self._failed = 0

    async def run(self) -> bool:
        """Go through all steps; return whether all passed. After a failed one the rest cannot mean anything."""
        for title, step in STEPS:
            started = time.monotonic()
            try:
                detail = await step(self)
            except (StepError, ProgramError, KubectlError, ApiError, ApiUnavailableError, TimeoutError) as error:
                self._failed += 1
                self._say(f"FAIL  {title}  ({time.monotonic() - started:.1f} s)\n      {error or 'time-out'}")
                break
            self._passed += 1
            detail = f"  {detail}" if detail else ""
            self._say(f"pass  {title}  ({time.monotonic() - started:.1f} s){detail}")
        not_reached = len(STEPS) - self._passed - self._failed
        self._failed += not_reached
        if not_reached:
            self._say(f"      {not_reached} further checks were not reached")
        self._say(f"{self._passed} passed, {self._failed} failed")
        return not self._failed

    # The steps, in order. Each returns what is worth to be shown beside the time.

    async def start(self) -> str:
        """Embedded API and cloudcore run"""
        await self._site.start_api()
        await self._site.start_cloudcore()
        return ""

    async def node_is_ready(self) -> str:
        """Node Ready"""
        await self._site.start_edgecore()
        await self._until(self._node_ready, "the node is not Ready")
        return ""

    async def deployment_runs(self) -> str:
        """Deployment of 2 pods Running on the edge"""
        await self._site.kubectl("apply", "-f", str(EXAMPLES))
        await self._until(lambda: self._pods_running(2), "no 2 pods are Running on the edge node")
        await self._site.kubectl("rollout", "status", "deployment/hello", f"--timeout={STEP_TIMEOUT_S}s")
        await self._until(lambda: self._all_say("Hello from the edge"), "the pods do not greet")
        return ""

    async def config_map_changes(self) -> str:
        """ConfigMap change visible in the running pod"""
        before = await self._containers()
        patch = f'{{"data":{{"greeting":"{NEW_GREETING}"}}}}'
        await self._site.kubectl("patch", "configmap", "hello", "--patch", patch)
        await self._until(lambda: self._all_say(NEW_GREETING), "the pods do not show the new text")
        await self._check_same(before, "a container was restarted for it")
        return ""

    async def pod_is_replaced(self) -> str:
        """kubectl delete pod replaced"""
        victim = (await self._pods())[0]["metadata"]["name"]
        await self._site.kubectl("delete", "pod", victim)
        await self._until(lambda: self._replaced(victim), f"{victim} is still there, or nothing took its place")
        return ""

    async def pods_outlive_the_cloud(self) -> str:
        """cloudcore killed with SIGKILL: pods go on"""
        before = await self._containers()
        await self._site.cloudcore.kill()
        await self._watch_containers(before)
        return f"{len(before)} containers watched for {OFFLINE_S:.0f} s"

    async def pods_outlive_edgecore(self) -> str:
        """edgecore restarted while offline: pods still there, containers not restarted"""
        before = await self._containers()
        await self._site.edgecore.stop()
        await self._watch_containers(before)
        await self._site.start_edgecore()
        await self._until(self._edgecore_is_back, "edgecore does not take its containers over")
        await self._watch_containers(before)
        return ""

    async def dead_container_is_restarted(self) -> str:
        """container that dies offline is restarted"""
        victim = (await self._containers())[0]
        os.kill(victim.pid, signal.SIGKILL)
        await self._until(lambda: self._restarted(victim), "it stays dead")
        return ""

    async def node_is_back(self) -> str:
        """cloudcore back: node Ready in at most 10 s"""
        await self._site.kubectl("scale", "deployment/hello", "--replicas=3")
        renewed = await self._lease_time()
        started = time.monotonic()
        await self._site.start_cloudcore()

        async def is_back() -> bool:
            return await self._lease_time() > renewed and await self._node_ready()

        await self._until(is_back, "the node does not report", BACK_TIMEOUT_S - (time.monotonic() - started))
        return ""

    async def deployment_catches_up(self) -> str:
        """Deployment scaled meanwhile is caught up"""
        await self._until(lambda: self._pods_running(3), "no 3 pods are Running on the edge node")
        await self._site.kubectl("rollout", "status", "deployment/hello", f"--timeout={STEP_TIMEOUT_S}s")
        return ""

    async def acked_objects_are_recorded(self) -> str:
        """all acked objects in ObjectSync"""
        missing: list[str] = []

        async def are_recorded() -> bool:
            missing[:] = await self._not_recorded()
            return not missing

        await self._until(are_recorded, lambda: "not recorded as they are: " + ", ".join(missing))
        return f"{len(await self._objects_of_the_node())} objects"

    # What is looked at.

    async def _node_ready(self) -> bool:
        node = await self._site.get(NODE, "", NODE_NAME)
        return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", ()))

    async def _lease_time(self) -> datetime:
        lease = await self._site.get(LEASE, "kube-node-lease", NODE_NAME)
        return datetime.fromisoformat(lease["spec"]["renewTime"])

    async def _pods(self) -> list[dict[str, Any]]:
        return await self._site.objects(POD, NAMESPACE, SELECTOR)

    async def _pods_running(self, count: int) -> bool:
        pods = await self._pods()
        return len(pods) == count and all(
            pod["spec"].get("nodeName") == NODE_NAME and pod["status"].get("phase") == "Running" for pod in pods
        )

    async def _replaced(self, victim: str) -> bool:
        names = [pod["metadata"]["name"] for pod in await self._pods()]
        return victim not in names and await self._pods_running(2) and len(await self._containers()) == 2

    async def _containers(self) -> list[RunningContainer]:
        return [one for one in await self._site.containers.running() if one.pod.startswith("hello-")]

    async def _all_say(self, text: str) -> bool:
        containers = await self._containers()
        return len(containers) == 2 and all(text in _last_line(one) for one in containers)

    async def _watch_containers(self, before: list[RunningContainer]) -> None:
        """See that the same processes run on and write on."""
        sizes = [one.log_path.stat().st_size for one in before]
        await asyncio.sleep(OFFLINE_S)
        await self._check_same(before, "a container ended or was restarted")
        if any(one.log_path.stat().st_size <= size for one, size in zip(before, sizes, strict=True)):
            raise StepError("a container does not write any more")

    async def _check_same(self, before: list[RunningContainer], otherwise: str) -> None:
        now = await self._containers()
        if set(now) != set(before) or not all(_lives(one) for one in before):
            raise StepError(f"{otherwise}: {before} became {now}")

    async def _edgecore_is_back(self) -> bool:
        pods = [pod for pod in await self._site.edge_pods() if pod["metadata"]["name"].startswith("hello-")]
        return len(pods) == 2 and all(pod.get("status", {}).get("phase") == "Running" for pod in pods)

    async def _restarted(self, victim: RunningContainer) -> bool:
        now = await self._containers()
        return any(one.pod == victim.pod and one.id != victim.id and _lives(one) for one in now)

    async def _objects_of_the_node(self) -> dict[str, tuple[str, str]]:
        """Return what the node must have acked: name of its ObjectSync -> (object, resource version)."""
        pods = await self._pods()
        config_maps = [await self._site.get(CONFIG_MAP, NAMESPACE, name) for name in ("hello", "kube-root-ca.crt")]
        found = {}
        for kind, objects in (("pod", pods), ("configmap", config_maps)):
            for one in objects:
                metadata = one["metadata"]
                found[f"{NODE_NAME}.{metadata['uid']}"] = (f"{kind}/{metadata['name']}", metadata["resourceVersion"])
        return found

    async def _not_recorded(self) -> list[str]:
        recorded = {
            sync["metadata"]["name"]: sync.get("status", {}).get("objectResourceVersion")
            for sync in await self._site.objects(OBJECT_SYNC, NAMESPACE)
        }
        wanted = await self._objects_of_the_node()
        return [f"{name} {recorded.get(sync)} != {version}" for sync, (name, version) in wanted.items()
                if recorded.get(sync) != version]  # fmt: skip


def _last_line(container: RunningContainer) -> str:
    try:
        lines = container.log_path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _lives(container: RunningContainer) -> bool:
    """Tell whether the same process is still there."""
    try:
        return started_ticks(container.pid) == container.ticks
    except OSError:
        return False


_Step = Callable[Concatenate[Check, ...], Awaitable[str]]


def _titled(*steps: _Step) -> list[tuple[str, _Step]]:
    """Pair each step with the line that its docstring is."""
    return [(step.__doc__ or step.__name__, step) for step in steps]


STEPS = _titled(
    Check.start,
    Check.node_is_ready,
    Check.deployment_runs,
    Check.config_map_changes,
    Check.pod_is_replaced,
    Check.device_is_reported,
    Check.register_reaches_the_cloud,
    Check.desired_value_reaches_the_register,
    Check.pods_outlive_the_cloud,
    Check.device_changes_offline,
    Check.pods_outlive_edgecore,
    Check.dead_container_is_restarted,
    Check.node_is_back,
    Check.deployment_catches_up,
    Check.offline_report_arrives,
    Check.acked_objects_are_recorded,
    Check.device_is_removed,
)
