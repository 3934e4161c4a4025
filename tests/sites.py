"""A cloud and its nodes as real processes, and what a test wants to see of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import yaml

from kubeedge.demo import configuration, site
from kubeedge.demo.configuration import NODE_NAME
from kubeedge.demo.program import Program
from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.edgecore.edged.runtime.process.client import Client
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, Kind
from kubeedge.kube.kinds import EVENT, NODE, POD, SECRET
from kubeedge.pki.authority import Authority

Object = dict[str, Any]

WAIT_S = 30.0
POLL_S = 0.05
END_TIMEOUT_S = 30.0
DESTROY_TIMEOUT_S = 10


async def until(
    condition: Callable[[], Any | Awaitable[Any]], timeout_s: float = WAIT_S, otherwise: Callable[[], str] = lambda: ""
) -> Any:
    """Wait until condition() is true and return what it gave; an API that is away counts as not yet.

    Raises AssertionError with the text of otherwise().
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        with contextlib.suppress(ApiUnavailableError, ApiError):
            found = condition()
            found = await found if inspect.isawaitable(found) else found
            if found:
                return found
        if loop.time() > deadline:
            raise AssertionError(f"not so within {timeout_s:g} s: {otherwise()}")
        await asyncio.sleep(POLL_S)


class Log:
    """What a program has written since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    @property
    def text(self) -> str:
        """All of it."""
        if not self._path.exists():
            return ""
        return self._path.read_bytes()[self._start :].decode("utf-8", "replace")

    def lines(self, *words: str) -> list[str]:
        """Return the lines that hold all these words."""
        return [line for line in self.text.splitlines() if all(word in line for word in words)]

    async def says(self, *words: str, timeout_s: float = WAIT_S) -> str:
        """Wait for a line that holds all these words and return it."""
        found: list[str] = await until(lambda: self.lines(*words), timeout_s, lambda: f"{words} is not in\n{self.text}")
        return found[0]


async def ended(program: Program, timeout_s: float = END_TIMEOUT_S) -> int:
    """Wait for the end of a program that ends by itself and return its exit code."""
    async with asyncio.timeout(timeout_s):
        await program.ended()
    assert program._process is not None
    assert program._process.returncode is not None
    return program._process.returncode


class Samples(dict[str, float]):
    """The metrics of one process, by name and labels as in the exposition."""

    def __init__(self, page: str) -> None:
        for line in page.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                self[name] = float(value)

    def of(self, name: str, *labels: str) -> float:
        """Return the sum of the series of a name whose labels hold all these texts, `status="403"` for example."""
        return sum(
            value
            for series, value in self.items()
            if series.partition("{")[0] == name and all(label in series for label in labels)
        )


class EdgeNode:
    """One more node of a site: an edgecore with a folder of its own."""

    def __init__(
        self,
        world: Site,
        name: str,
        token: str = "",
        *,
        folder: Path | None = None,
        database: Path | None = None,
        has_pods: bool = True,
    ) -> None:
        """token is the one to join with. Without pods it has no runtime either, and no metrics to look at."""
        self.name = name
        self.folder = folder or world.folder / f"node{len(world.nodes)}-{name}"
        self.ports = replace(world.ports, edged=configuration.free_ports().edged)
        (self.folder / "certs").mkdir(parents=True, mode=0o711)
        self.document = configuration.edgecore(self.folder, self.ports, token)
        self.document["modules"]["edged"]["hostnameOverride"] = name
        self.document["modules"]["edged"]["enable"] = has_pods
        self.database = database or self.folder / "edgecore.db"
        self.document["database"]["dataSource"] = str(self.database)
        self.path = self.folder / "edgecore.yaml"
        self.program = Program(name, "kubeedge.edgecore", ["--config", str(self.path)], world.folder / f"{name}.log")

    async def start(self) -> Log:
        """Start it and return what it says from now on. It may be up before it has joined."""
        if not self.path.exists():
            self.path.write_text(yaml.safe_dump(self.document), encoding="utf-8")
        log = self.log()
        await self.program.start()
        return log

    def log(self) -> Log:
        """Return what it says from now on."""
        return Log(self.program.log_path)

    async def metrics(self) -> Samples:
        """Return what it counts; nothing while it is away."""
        return Samples(await site._page(self.ports.edged, "/metrics"))

    async def clean_up(self) -> None:
        """End it with its containers."""
        await self.program.stop()
        with contextlib.suppress(RuntimeUnavailableError):
            async with asyncio.timeout(DESTROY_TIMEOUT_S):
                await Client(self.folder / "containers").destroy()


class Site(site.Site):
    """The demo's cloud and edge, with more nodes where a test wants them."""

    def __init__(self, folder: Path, endpoint: str = "", *, has_devices: bool = False) -> None:
        """See the demo's Site."""
        super().__init__(folder, endpoint, has_devices=has_devices)
        self.nodes: list[EdgeNode] = []
        self._authority: Authority | None = None

    async def start(self) -> None:
        """Start all three programs and wait until the node is Ready."""
        await self.start_api()
        await self.start_cloudcore()
        await self.start_edgecore()
        await until(lambda: self.is_ready(NODE_NAME), otherwise=lambda: self.edgecore.last_words(40))

    async def clean_up(self, keep: bool = False) -> None:
        """See the demo's Site."""
        for node in self.nodes:
            await node.clean_up()
        await super().clean_up(keep)

    @asynccontextmanager
    async def node(self, name: str, token: str | None = None, **options: Any) -> AsyncIterator[EdgeNode]:
        """Make one more node, with a good token unless another is given; it ends with the context."""
        node = EdgeNode(self, name, await self._join_token() if token is None else token, **options)
        self.nodes.append(node)
        try:
            yield node
        finally:
            await node.clean_up()

    async def is_ready(self, name: str) -> bool:
        """Tell whether a node is Ready."""
        conditions = (await self.get(NODE, "", name)).get("status", {}).get("conditions", ())
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    async def authority(self) -> Authority:
        """Return the cloud's CA with its key, as only its administrator has it."""
        if self._authority is None:
            data = (await self.get(SECRET, "kubeedge", "casecret"))["data"]
            certificate, key = (base64.b64decode(data[name]) for name in ("cadata", "cakeydata"))
            self._authority = Authority.from_der(certificate, key)
        return self._authority

    async def cloud_metrics(self) -> Samples:
        """Return what cloudcore counts."""
        return Samples(await site._page(self.ports.monitor, "/metrics"))

    async def edge_metrics(self) -> Samples:
        """Return what edgecore counts."""
        return Samples(await site._page(self.ports.edged, "/metrics"))

    def cloud_log(self) -> Log:
        """Return what cloudcore says from now on."""
        return Log(self.cloudcore.log_path)

    def edge_log(self) -> Log:
        """Return what edgecore says from now on."""
        return Log(self.edgecore.log_path)

    async def create(self, kind: Kind, body: Object, namespace: str = "default") -> Object:
        """Create an object."""
        made: Object = orjson.loads(await self.api.create(kind, namespace, orjson.dumps(body)))
        return made

    async def patch(self, kind: Kind, name: str, changes: Object, namespace: str = "default") -> Object:
        """Merge changes into an object and return it."""
        patched: Object = orjson.loads(await self.api.patch(kind, namespace, name, orjson.dumps(changes), MERGE_PATCH))
        return patched

    async def delete(self, kind: Kind, name: str, namespace: str = "default") -> None:
        """Delete an object if it is there."""
        with contextlib.suppress(ApiError):
            await self.api.delete(kind, namespace, name)

    async def pod(self, name: str) -> Object:
        """Return a pod of the namespace default."""
        return await self.get(POD, "default", name)

    async def pod_is(self, name: str, condition: Callable[[Object], Any], timeout_s: float = WAIT_S) -> Object:
        """Wait until condition(pod) holds and return the pod."""
        seen: list[Object] = []

        async def holds() -> bool:
            seen[:] = [await self.pod(name)]
            return bool(condition(seen[0]))

        def otherwise() -> str:
            return orjson.dumps(seen[0]["status"] if seen else {}, option=orjson.OPT_INDENT_2).decode()

        await until(holds, timeout_s, otherwise)
        return seen[0]

    async def gone(self, kind: Kind, name: str, timeout_s: float = WAIT_S) -> None:
        """Wait until an object of the namespace default is gone."""

        async def is_gone() -> bool:
            return all(one["metadata"]["name"] != name for one in await self.objects(kind, "default"))

        await until(is_gone, timeout_s, lambda: f"{kind.plural} {name} is still there")

    async def events(self, name: str, reason: str = "") -> list[Object]:
        """Return the events of a pod, the oldest first."""
        found = [
            event
            for event in await self.objects(EVENT, "default")
            if event["involvedObject"].get("name") == name and event["reason"] == (reason or event["reason"])
        ]
        return sorted(found, key=lambda event: event["firstTimestamp"])

    async def event(self, name: str, reason: str, *words: str, timeout_s: float = WAIT_S) -> Object:
        """Wait for an event of a pod whose message holds all these words."""
        seen: list[Object] = []

        async def has_come() -> list[Object]:
            seen[:] = await self.events(name)
            return [one for one in seen if one["reason"] == reason and all(word in one["message"] for word in words)]

        found = await until(has_come, timeout_s, lambda: "\n".join(f"{e['reason']}: {e['message']}" for e in seen))
        event: Object = found[0]
        return event

    def output(self, pod: str, container: str = "main") -> list[str]:
        """Return the lines that a container of a pod has written, in all its lives."""
        lines = []
        for path in sorted((self._edge / "logs").glob(f"default_{pod}_*/{container}/*.log"), key=_number):
            lines += [line.split(" ", 3)[3] for line in path.read_text(encoding="utf-8").splitlines()]
        return lines

    async def describe(self, pod: str) -> str:
        """Return what `kubectl describe pod` prints."""
        return await self.kubectl("describe", "pod", pod)


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else -1


def pod(name: str, *containers: Object, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """Return a pod for the site's node; its containers get the image `host` where they name none."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "nodeName": NODE_NAME,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"image": "host:1", **one} for one in containers],
            **spec,
        },
    }


def shell(script: str, name: str = "main", **fields: Any) -> Object:
    """Return a container that runs a script of the host's shell."""
    return {"name": name, "command": ["sh", "-c", script], **fields}


# Runs until it is asked to end.
SLEEPER = "trap 'exit 0' TERM; sleep 1000 & wait"


def container_status(pod: Object, name: str = "main", kind: str = "containerStatuses") -> Object:
    """Return the status of a container of a pod, empty when there is none yet."""
    return next((one for one in pod["status"].get(kind, ()) if one["name"] == name), {})


def state(pod: Object, name: str = "main", kind: str = "containerStatuses") -> tuple[str, str]:
    """Return the state of a container and its reason: ("waiting", "CrashLoopBackOff")."""
    for word, fields in container_status(pod, name, kind).get("state", {}).items():
        return word, fields.get("reason", "")
    return "", ""


def is_running(pod: Object) -> bool:
    """Tell whether the pod is Running and all its containers are ready."""
    statuses: Iterable[Object] = pod["status"].get("containerStatuses", ())
    return pod["status"].get("phase") == "Running" and all(one.get("ready") for one in statuses)


def seconds(text: str) -> list[int]:
    """Return the whole seconds that a text names (`10s`, `2m40s`)."""
    found = re.findall(r"\b(?:(\d+)m)?(\d+)s\b", text)
    return [60 * int(minutes or 0) + int(rest) for minutes, rest in found]
