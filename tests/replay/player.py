"""Plays the edge's half of a recording against a cloud and compares what the cloud says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import orjson

from kubeedge.kube.kinds import CONFIG_MAP, DEVICE, DEVICE_MODEL, LEASE, NODE, SECRET
from tests.replay.recording import Step
from tests.replay.world import KINDS, Names, World

ANSWER_TIMEOUT_S = 10.0


def is_removal_in_two_steps(step: Step) -> bool:
    """Whether a push shows a pod whose grace was just cut to nothing: the embedded API removes it in the same write."""
    return (
        step.operation == "update"
        and isinstance(step.content, dict)
        and step.content.get("metadata", {}).get("deletionGracePeriodSeconds") == 0
    )


# What belongs to modules that are not part of this cloud yet. The edge's messages are sent all the same and must be
# accepted; the cloud's are not expected.
LATER: tuple[tuple[str, Callable[[Step], bool]], ...] = (
    # Sent by ours a moment earlier or later, and answered where upstream is silent (spec 04 §11 Q7).
    ("memberships of devices", lambda step: step.resource in ("membership", "membership/detail")),
    (
        "rules: Router",
        lambda step: step.source in ("bus", "servicebus", "router_eventbus", "router_servicebus"),
    ),
    ("MetaServer: DynamicController", lambda step: step.source in ("metaserver", "dynamiccontroller")),
    (
        "node jobs: TaskManager",
        lambda step: step.source == "taskmanager" or step.operation == "UpdateNodeActionStatus",
    ),
    ("removal of a pod in one write instead of two", is_removal_in_two_steps),
)

# Of metadata and content: given by a server for itself, or by controllers that are not part of this test.
_VOLATILE_METADATA = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
_FOREIGN_ANNOTATIONS = ("cloudcore", "node.alpha.kubernetes.io/ttl")


class Edge(Protocol):
    """An edge's end of a link."""

    async def connect(self) -> None:
        """Open a connection, closing the one before."""
        ...

    def send(self, envelope: bytes) -> None:
        """Send a message."""
        ...

    async def next(self, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Take the first message out of those that came that accept takes; wait for it."""
        ...


class Player:
    """Sends what the edge sent, with our ids, UIDs and versions, and checks every answer and push that was recorded."""

    def __init__(self, edge: Edge, world: World, names: Names, steps: list[Step]) -> None:
        self._edge = edge
        self._world = world
        self._names = names
        self._steps = steps
        # Ids of the cloud's messages as recorded -> ours.
        self._ids: dict[str, str] = {}
        self._later: set[str] = set()
        self._answered = {step.parent_id for step in steps if not step.is_from_edge and step.parent_id}
        self.left_out: dict[str, int] = {}
        self.compared = 0

    async def set_up(self) -> None:
        """Let exist what existed before the recording began."""
        for step in self._steps:
            # The first answer about the Node is an error when it exists.
            if isinstance(_object(step.content), dict) and step.resource.startswith("null/node/"):
                if step.content["Err"] is not None:
                    later = next(
                        each for each in self._steps if each.resource_version and each.resource == step.resource
                    )
                    await self._world.make(NODE, later.content)
                break
        for step in self._steps:
            if step.parent_id and not step.is_from_edge and "/lease/" in step.resource:
                # A Lease that the edge finds is from an earlier life of it.
                if step.content["Object"] is not None and self._asked(step).operation != "insert":
                    await self._world.make(LEASE, step.content["Object"])
                if step.content["Object"] is not None:
                    break
        made = set()
        for step in self._steps:
            kind = KINDS.get(step.resource.partition("/")[2].partition("/")[0])
            if kind not in (CONFIG_MAP, SECRET) or not step.parent_id or step.is_from_edge:
                continue
            if "ErrStatus" not in step.content and step.resource not in made:
                await self._world.make(kind, step.content)
                made.add(step.resource)

    async def play(self) -> None:
        """Play all of it."""
        for step in self._steps:
            await self.play_step(step)

    async def play_step(self, step: Step) -> None:
        """Play one message."""
        if step.envelope is None:
            await self._edge.connect()
            return
        reason = next((reason for reason, matches in LATER if matches(step)), None)
        if reason is not None or step.parent_id in self._later:
            if reason is not None:
                self.left_out[reason] = self.left_out.get(reason, 0) + 1
                self._later.add(step.id)
            if step.is_from_edge and step.operation != "response":
                self._send(step)
        elif step.is_from_edge:
            self._send(step)
        elif step.parent_id:
            await self._check_answer(step)
        else:
            await self._check_push(step)

    def is_left_out(self, message: dict[str, Any]) -> bool:
        """Tell whether what our cloud sent belongs to what is left out."""
        return (
            message["route"]["resource"] in ("membership", "membership/detail")
            or message["header"].get("parent_msg_id") in self._later
        )

    def _asked(self, answer: Step) -> Step:
        return next(step for step in self._steps if step.id == answer.parent_id)

    def _send(self, step: Step) -> None:
        envelope = orjson.loads(self._names.translate(orjson.dumps(step.envelope).decode()))
        if step.parent_id:
            envelope["header"]["parent_msg_id"] = self._ids.get(step.parent_id, step.parent_id)
        self._edge.send(orjson.dumps(envelope))

    async def _check_answer(self, step: Step) -> None:
        ours = await self._next(step, lambda message: message["header"].get("parent_msg_id") == step.parent_id)
        self._compare(step, ours)

    async def _check_push(self, step: Step) -> None:
        kind = KINDS[step.resource.split("/")[1]]
        if not self._is_echo(step):
            if step.operation == "delete":
                await self._world.unmake(kind, step.content)
            else:
                await self._world.make(kind, step.content)
            if kind is DEVICE_MODEL and step.operation == "insert":
                # It goes with the first device that needs it.
                device = next(each for each in self._steps if "/device/" in each.resource and not each.is_from_edge)
                await self._world.make(DEVICE, device.content)
        ours = await self._next(
            step,
            lambda message: (
                not message["header"].get("parent_msg_id")
                and message["route"]["resource"] == step.resource
                and message["route"]["operation"] == step.operation
            ),
        )
        self._compare(step, ours)

    def _is_echo(self, step: Step) -> bool:
        """Whether the edge itself caused the state that is pushed: an answer to it shows the same version."""
        return any(
            isinstance(each.content, dict)
            and isinstance(each.content.get("Object"), dict)
            and each.content["Object"]["metadata"].get("resourceVersion") == step.resource_version
            for each in self._steps
            if each.parent_id
        )

    async def _next(self, step: Step, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._edge.next(accept)
        except TimeoutError:
            raise AssertionError(f"the cloud never sent: {step}") from None

    def _compare(self, step: Step, ours: dict[str, Any]) -> None:
        assert step.envelope is not None
        self._ids[step.id] = ours["header"]["msg_id"]
        self._learn(step.content, ours["content"])
        recorded = orjson.loads(self._names.translate(orjson.dumps(step.envelope).decode()))
        found = list(differences(normal(recorded), normal(ours)))
        if found:
            raise AssertionError("\n".join([str(step), *found]))
        self.compared += 1

    def _learn(self, recorded: Any, ours: Any) -> None:
        for before, now in ((recorded, ours), (_object(recorded), _object(ours))):
            if isinstance(before, dict) and isinstance(now, dict) and before.get("metadata") and now.get("metadata"):
                self._names.learn(before, now)


def differences(recorded: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Give each place where two JSON values differ."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key in sorted(recorded.keys() | ours.keys()):
            yield from differences(recorded.get(key, "(absent)"), ours.get(key, "(absent)"), f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        for index, (one, other) in enumerate(zip(recorded, ours, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif recorded != ours:
        yield f"{path}: recorded {recorded!r}, ours {ours!r}"


def _object(content: Any) -> Any:
    return content.get("Object") if isinstance(content, dict) else None


def normal(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what differs between any two runs; that it is there or not remains."""
    header = {key: bool(value) for key, value in envelope["header"].items()}
    return {"header": header, "route": envelope["route"], "content": _normal(envelope["content"])}


def _normal(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    if set(content) == {"Object", "Err"}:
        return {"Object": _normal(content["Object"]), "Err": content["Err"]}
    content = dict(content)
    if isinstance(content.get("metadata"), dict):
        metadata = {key: value for key, value in content["metadata"].items() if key not in _VOLATILE_METADATA}
        annotations = {
            key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _FOREIGN_ANNOTATIONS
        }
        metadata.pop("annotations", None)
        if annotations:
            metadata["annotations"] = annotations
        if "deletionTimestamp" in metadata:
            metadata["deletionTimestamp"] = True
        content["metadata"] = metadata
    if content.get("kind") == "TokenRequest":
        content["status"] = {key: bool(value) for key, value in content["status"].items()}
    return content
