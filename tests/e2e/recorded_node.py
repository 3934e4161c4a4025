"""The recorded node once more: a cloud and node e1 as real processes, the recorded pods, and what happened to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, Kind
from kubeedge.kube.kinds import CONFIG_MAP, EVENT, POD, SECRET, SERVICE_ACCOUNT
from tests.e2e.cri_requests import Requests
from tests.e2e.expectations import Expected
from tests.e2e.recording import GOLDEN, NODE_NAME, Object, Report, unseen
from tests.sites import EdgeNode, Site, until

NAMESPACE = "default"
POLL_S = 0.1
# What the steps may take on a busy machine.
STAGES_TIMEOUT_S = 75
STEP_TIMEOUT_S = 20
END_TIMEOUT_S = 45

NOTHERE: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nothere"}, "data": {"a": "x"}}
NEW_DATA = {"a": "ONE", "b": "TWO"}
NEW_LABEL = "changed"

_KINDS = {kind.kind: kind for kind in (CONFIG_MAP, SECRET, POD)}


@dataclass
class Seen:
    """What a container of p-plain saw of its volumes: content and mode of files by their path, and its environment."""

    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    pid: int = 0


@dataclass
class Run:
    """All that is known of a run.

    missing: the states that were waited for in vain, by pod. marks: when something was done, on the clock of the
    reports. left: what the deleted pods left on the machine. requests: what was asked of a container engine.
    """

    expected: Expected
    reports: dict[str, list[Report]] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    events: dict[str, list[Object]] = field(default_factory=dict)
    missing: dict[str, list[Object]] = field(default_factory=dict)
    before: Seen = field(default_factory=Seen)
    after: Seen = field(default_factory=Seen)
    marks: dict[str, float] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    requests: Requests | None = None

    def between(self, begin: str, end: str, pod: str) -> list[Report]:
        """Return the reports of a pod between two marks."""
        return [report for report in self.reports[pod] if self.marks[begin] <= report.t < self.marks[end]]


class RecordedNode:
    """Plays one run on a site."""

    def __init__(self, site: Site, expected: Expected) -> None:
        self.site = site
        self.run = Run(expected)
        self._expected = expected
        self._plain = expected.plain
        self._node: EdgeNode | None = None
        self._started_at = time.monotonic()

    @property
    def folder(self) -> Path:
        """Where the node has its files, from play on."""
        assert self._node is not None
        return self._node.folder

    async def play(self, endpoint: str = "", prepare: Callable[[Path], None] = lambda folder: None) -> Run:
        """Start everything, apply the documents, wait for the expected states, change, kill and delete.

        endpoint is that of a container engine, `process` without one. prepare gets the node's folder before its start.
        """
        try:
            await self.site.start_api()
            await self.site.start_cloudcore()
            async with self.site.node(NODE_NAME) as node:
                self._node = node
                edged = node.document["modules"]["edged"]
                edged["tailoredKubeletConfig"]["resolvConf"] = str(GOLDEN / "resolv.conf")
                if endpoint:
                    edged["tailoredKubeletConfig"]["containerRuntimeEndpoint"] = endpoint
                prepare(node.folder)
                await node.start()
                await until(lambda: self.site.is_ready(NODE_NAME), otherwise=lambda: node.program.last_words(40))
                await until(lambda: self.site.get(SERVICE_ACCOUNT, NAMESPACE, "default"))
                async with self._watching():
                    await self._scenario()
                await self._happened(lambda: not self._leftovers(), STEP_TIMEOUT_S)
                self.run.left = self._leftovers()
        finally:
            await self.site.clean_up()
        return self.run

    async def _scenario(self) -> None:
        self._mark("applied")
        for document in self._expected.documents:
            await self.site.create(_KINDS[document["kind"]], document)
        await self._happened(lambda: self._has_event("p-novol", "FailedMount"), STEP_TIMEOUT_S)
        await self._happened(lambda: self._waits_for("p-noenv", "CreateContainerConfigError"), STEP_TIMEOUT_S)
        self._mark("config map made")
        await self.site.create(CONFIG_MAP, NOTHERE)
        await self._happened(lambda: not self._missing(), STAGES_TIMEOUT_S)
        self.run.missing = self._missing()
        await self._change()
        await self._kill()
        await self._delete()

    async def _change(self) -> None:
        """As in run 2: another content of the ConfigMap, another label."""
        self.run.before = self._look()
        self._mark("changed")
        await self._patch(CONFIG_MAP, "conf", {"data": NEW_DATA})
        await self._patch(POD, self._plain, {"metadata": {"labels": {"app": NEW_LABEL}}})
        await self._happened(lambda: self._is_changed(self._look()), STEP_TIMEOUT_S)
        self.run.after = self._look()

    async def _kill(self) -> None:
        self._mark("killed")
        os.kill(self.processes("p-guaranteed")[0], signal.SIGKILL)
        await self._happened(lambda: self._restarts("p-guaranteed") == 1, STEP_TIMEOUT_S)

    async def _delete(self) -> None:
        for event in await self.site.objects(EVENT, NAMESPACE):
            self.run.events.setdefault(event["involvedObject"]["name"], []).append(event)
        self._mark("deleted")
        for pod in await self.site.objects(POD, NAMESPACE):
            await self.site.delete(POD, pod["metadata"]["name"])
        await self._happened(lambda: all(r[-1].event == "DELETED" for r in self.run.reports.values()), END_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch())
            yield
            watch.cancel()

    async def _watch(self) -> None:
        page = await self.site.api.list(POD, NAMESPACE)
        stream = self.site.api.watch(POD, NAMESPACE, resource_version=page.resource_version)
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                if event.type == "BOOKMARK":
                    continue
                pod = orjson.loads(event.object)
                report = Report(self._now(), event.type, pod["status"], pod["metadata"])
                self.run.reports.setdefault(pod["metadata"]["name"], []).append(report)
                self.run.pods[pod["metadata"]["name"]] = pod

    async def _happened(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Wait until condition() holds, or for so long: what did not happen is found in the run."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.site.check_running()
            assert self._node is not None
            self._node.program.check_running()
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(POLL_S)

    def _now(self) -> float:
        return time.monotonic() - self._started_at

    def _mark(self, name: str) -> None:
        self.run.marks[name] = self._now()

    def _missing(self) -> dict[str, list[Object]]:
        wanted = self._expected.stages
        found = {pod: unseen(stages, self.run.reports.get(pod, [])) for pod, stages in wanted.items()}
        return {pod: missing for pod, missing in found.items() if missing}

    async def _has_event(self, pod: str, reason: str) -> bool:
        return bool(await self.site.events(pod, reason))

    def _waits_for(self, pod: str, reason: str) -> bool:
        statuses = self.run.reports[pod][-1].status.get("containerStatuses", ())
        return any(status["state"].get("waiting", {}).get("reason") == reason for status in statuses)

    def _restarts(self, pod: str) -> int:
        statuses = self.run.reports[pod][-1].status.get("containerStatuses", ())
        return sum(status["restartCount"] for status in statuses if status["ready"])

    async def _patch(self, kind: Kind, name: str, patch: Object) -> None:
        await self.site.api.patch(kind, NAMESPACE, name, orjson.dumps(patch), STRATEGIC_MERGE_PATCH)

    def uid(self, pod: str) -> str:
        return str(self.run.pods[pod]["metadata"]["uid"])

    def processes(self, pod: str) -> list[int]:
        """Return the processes of a pod's containers, the oldest first; not that of its sandbox."""
        mark, found = f"pod{self.uid(pod)}", []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(folder.name)
                if mark in (folder / "cgroup").read_text() and (folder / "cmdline").read_bytes() != b"/pause\0":
                    found.append((int((folder / "stat").read_text().rpartition(")")[2].split()[19]), pid))
        return [pid for _, pid in sorted(found)]

    def _look(self) -> Seen:
        """Look into the container of p-plain."""
        pids = self.processes(self._plain)
        if not pids:
            return Seen()
        root = Path(f"/proc/{pids[0]}/root")
        seen = Seen(pid=pids[0])
        words = Path(f"/proc/{pids[0]}/environ").read_bytes().decode().split("\0")
        seen.environment = dict(word.split("=", 1) for word in words if word)
        for volume in ("e", "c", "one", "s", "d", "p", "x"):
            for folder, folders, names in os.walk(root / volume, followlinks=True):
                folders[:] = [name for name in folders if not name.startswith("..")]
                for path in (Path(folder) / name for name in names):
                    found = (path.read_text(), oct(path.stat().st_mode & 0o777))
                    seen.files[str(path.relative_to(root))] = found
        return seen

    def _is_changed(self, seen: Seen) -> bool:
        return seen.files.get("c/a", ("",))[0] == "ONE" and NEW_LABEL in seen.files.get("d/labels", ("",))[0]

    def _leftovers(self) -> list[str]:
        """Return what the pods have left on the machine."""
        uids = [pod["metadata"]["uid"] for pod in self.run.pods.values()]
        left = [str(path) for folder in ("kubelet/pods", "logs") for path in (self.folder / folder).glob("*")]
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        left += [line for line in mounts if any(uid in line for uid in uids)]
        # Groups of others come and go meanwhile, which os.walk does not mind.
        groups = (f"{parent}/{name}" for parent, names, _ in os.walk("/sys/fs/cgroup") for name in names)
        left += [group for group in groups if any(uid in group for uid in uids)]
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and any(uid in (folder / "cgroup").read_text() for uid in uids):
                    left.append(f"process {folder.name}")
        return left
