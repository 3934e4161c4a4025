"""What to do next for a pod: a pure function of the wanted pod, what the runtime has and what was learnt before.

Nothing here waits, reads a clock or touches a runtime. `decide` never starts a container that may still run, and
never restarts one that the pod's restart policy leaves dead (spec 05 §5.3, §5.5).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Protocol

import msgspec

from kubeedge.edgecore.edged import clock, labels
from kubeedge.edgecore.edged.backoff import INITIAL_S, MAXIMUM_S, Backoff
from kubeedge.edgecore.edged.observation import Observed, ObservedContainer
from kubeedge.edgecore.edged.pod import Object, Pod, is_sidecar
from kubeedge.edgecore.edged.runtime.interface import ContainerState


class Role(enum.Enum):
    """Place of a container in its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    REGULAR = "regular"
    EPHEMERAL = "ephemeral"


class Waiting(msgspec.Struct, frozen=True):
    """Why a container does not run, as `state.waiting` shows it."""

    reason: str
    message: str = ""


class Unhealthy(msgspec.Struct, frozen=True):
    """A probe has failed often enough: kill the container. grace_s is the probe's own grace, if it has one."""

    probe: str
    grace_s: int | None = None


class Health(Protocol):
    """What probes have found out about containers, by container id."""

    def is_started(self, container_id: str) -> bool:
        """Its startup probe has passed, or it has none."""
        ...

    def is_ready(self, container_id: str) -> bool:
        """Its readiness probe passes, or it has none."""
        ...

    def failure(self, container_id: str) -> Unhealthy | None:
        """Its liveness or startup probe has failed for good."""
        ...


class Memory(msgspec.Struct):
    """What is remembered of a pod between two decisions; containers are named, times are seconds of Unix time.

    backoffs: how long a container that crashes is left alone. waiting: why its last start failed. retry_at: not to be
    tried before. killed: id of the container that was last killed to be started anew. replaced: ids of containers that
    were killed because their specification changed. backoff_max_s: the longest pause after a crash. has_recalled: the
    clocks go on from before edged was started.
    """

    backoffs: dict[str, Backoff] = msgspec.field(default_factory=dict)
    waiting: dict[str, Waiting] = msgspec.field(default_factory=dict)
    retry_at: dict[str, float] = msgspec.field(default_factory=dict)
    killed: dict[str, str] = msgspec.field(default_factory=dict)
    replaced: set[str] = msgspec.field(default_factory=set)
    backoff_max_s: float = MAXIMUM_S
    has_recalled: bool = False

    def backoff(self, name: str) -> Backoff:
        """Return the clock of a container."""
        longest = self.backoff_max_s
        return self.backoffs.setdefault(name, Backoff(min(INITIAL_S, longest), longest))

    def recall(self, observed: Observed) -> None:
        """Set the clocks by what the runtime still has, once: a restart of edged is no reason to try at once."""
        if self.has_recalled:
            return
        self.has_recalled = True
        for newest in (observed.newest(name) for name in {c.name for c in observed.containers}):
            if newest is None or not newest.status.attempt:
                continue
            tried_at = newest.status.created_at / clock.NANOSECOND
            before = [c for c in observed.of(newest.name) if c is not newest and c.has_exited]
            waited_s = tried_at - _ended_at(before[0]) if before else math.inf
            self.backoff(newest.name).recall(newest.status.attempt, waited_s, tried_at)

    def carried_out(self, kill: Kill) -> None:
        """Note that a container was killed as planned."""
        self.killed[kill.container.name] = kill.container.id
        if kill.is_replacement:
            self.replaced.add(kill.container.id)

    def retry_now(self) -> None:
        """Let everything be tried at once whose cause may be gone; crashes keep their back-off."""
        self.retry_at.clear()


class Kill(msgspec.Struct, frozen=True):
    """Stop this container. why is the text of the event; grace_s None means the pod's."""

    container: ObservedContainer
    why: str
    grace_s: int | None = None
    is_replacement: bool = False


class Start(msgspec.Struct, frozen=True):
    """Make and start this container. failed_at is when its predecessor ended, None if there is none or it went well.

    unstarted is the id of a predecessor that was made and, as far as is known, not started: it has to go before.
    """

    container: Object
    role: Role
    restart_count: int
    failed_at: float | None
    unstarted: str = ""


class Plan(msgspec.Struct):
    """Kills come first, then the sandbox, then the starts in order; after that the pod is observed anew.

    sandbox_attempt: make a sandbox with that number, after everything of the old ones was stopped. wake_at: look again
    at that time even if nothing happens. is_finished: nothing of this pod will ever run again, tear it down.
    """

    kills: list[Kill] = msgspec.field(default_factory=list)
    sandbox_attempt: int | None = None
    starts: list[Start] = msgspec.field(default_factory=list)
    waiting: dict[str, Waiting] = msgspec.field(default_factory=dict)
    wake_at: float | None = None
    is_finished: bool = False

    def wake(self, at: float) -> None:
        """Look again at that time, or earlier."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at

    @property
    def has_actions(self) -> bool:
        return bool(self.kills or self.starts or self.sandbox_attempt is not None)


def wants_restart(policy: str, container: ObservedContainer) -> bool:
    """Tell whether a container in this state is to be started (again) under that restart policy."""
    if not container.has_exited:
        return not container.is_running
    if policy == "OnFailure":
        return container.status.exit_code != 0
    return policy == "Always"


def policy_of(pod: Pod, container: Object, role: Role) -> str:
    """Return the restart policy that holds for one container of the pod."""
    match role:
        case Role.SIDECAR:
            return "Always"
        case Role.EPHEMERAL:
            return "Never"
        case Role.INIT:
            # An init container that ended well is done, whatever the pod's policy.
            return "Never" if pod.restart_policy == "Never" else "OnFailure"
        case Role.REGULAR:
            return pod.restart_policy


def role_of(pod: Pod, name: str) -> Role:
    """Return the place of the container of that name; one that the pod does not know counts as regular."""
    for container in pod.init_containers:
        if container.get("name") == name:
            return Role.SIDECAR if is_sidecar(container) else Role.INIT
    if any(c.get("name") == name for c in pod.ephemeral_containers):
        return Role.EPHEMERAL
    return Role.REGULAR


def decide(
    pod: Pod, observed: Observed, memory: Memory, health: Health, vanished: Mapping[str, int], now: float
) -> Plan:
    """Say what to do next for a pod that is to run.

    vanished holds the restart counts of containers that were reported as started and of which the runtime has no trace
    any more: under the policy Never they are not started again. now is Unix time in seconds.
    """
    memory.recall(observed)
    step = _Step(pod, observed, memory, health, vanished, now)
    step.run()
    return step.plan


class _Step:
    """One decision in the making."""

    def __init__(
        self, pod: Pod, observed: Observed, memory: Memory, health: Health, vanished: Mapping[str, int], now: float
    ) -> None:
        self.pod = pod
        self.observed = observed
        self.memory = memory
        self.health = health
        self.vanished = vanished
        self.now = now
        self.plan = Plan()

    def run(self) -> None:
        attempt = self._sandbox_attempt()
        if attempt is not None:
            self._renew_sandbox(attempt)
            return
        for container in self.pod.ephemeral_containers:
            newest = self.observed.newest(container["name"])
            is_new = newest is None and container["name"] not in self.vanished
            if is_new or (newest is not None and newest.status.state is ContainerState.CREATED):
                self._start(container, Role.EPHEMERAL, newest)
        if self._init_containers():
            self._regular_containers()

    def _sandbox_attempt(self) -> int | None:
        """Return the number of the sandbox to make, None when the present one will do."""
        sandboxes = self.observed.sandboxes
        if not sandboxes:
            return 0
        newest = self.observed.sandbox
        following = sandboxes[0].sandbox.attempt + 1
        if newest is None or len(self.observed.ready_sandboxes) > 1:
            return following
        if not self.pod.host_network and newest.network == "POD" and not newest.ips:
            return following
        return None

    def _renew_sandbox(self, attempt: int) -> None:
        names = [c["name"] for c in self.pod.containers]
        if self.pod.restart_policy == "Never":
            was_started = (attempt > 0 and self.observed.containers) or any(n in self.vanished for n in names)
            self.plan.is_finished = bool(was_started)
        elif self.pod.restart_policy == "OnFailure":
            newest = [self.observed.newest(name) for name in names]
            self.plan.is_finished = all(c is not None and c.succeeded for c in newest)
        if self.plan.is_finished:
            return
        for container in self.observed.running:
            self._kill(container, f"Stopping container {container.name}")
        self.plan.sandbox_attempt = attempt

    def _init_containers(self) -> bool:
        """Bring the init containers on; True when the regular ones may run."""
        inits = self.pod.init_containers
        here = [self._in_sandbox(c["name"]) for c in inits]
        regulars_ran = any(self._in_sandbox(c["name"]) for c in self.pod.containers)
        last_seen = max((i for i, seen in enumerate(here) if seen is not None), default=-1)
        for index, container in enumerate(inits):
            newest = here[index]
            if is_sidecar(container):
                is_done = self._sidecar(container, newest)
            elif regulars_ran or (newest is None and index < last_seen):
                # A later container can only have run because this one had ended well; its remains were cleared away.
                is_done = True
            else:
                is_done = self._init_container(container, newest)
            if not is_done and not regulars_ran:
                return False
        return True

    def _init_container(self, container: Object, newest: ObservedContainer | None) -> bool:
        if newest is not None and newest.succeeded:
            return True
        if newest is not None and newest.is_running:
            return False
        if newest is not None and newest.status.state is ContainerState.UNKNOWN:
            self._kill(newest, f"Init container {newest.name} is in an unknown state, try killing it before restart")
        elif newest is not None and newest.has_exited and self.pod.restart_policy == "Never":
            self.plan.is_finished = True
        else:
            self._start(container, Role.INIT, newest)
        return False

    def _sidecar(self, container: Object, newest: ObservedContainer | None) -> bool:
        if newest is not None and newest.is_running and not self._must_go(container, newest):
            return self.health.is_started(newest.id)
        if newest is None or not newest.is_running:
            self._start_unless_unknown(container, Role.SIDECAR, newest)
        return False

    def _regular_containers(self) -> None:
        lives = False
        for container in self.pod.containers:
            name = container["name"]
            newest = self.observed.newest(name)
            if newest is None:
                if name in self.vanished and self.pod.restart_policy == "Never":
                    continue
                self._start(container, Role.REGULAR, None)
                lives = True
            elif newest.is_running:
                lives = True
                self._must_go(container, newest)
            elif newest.id in self.memory.replaced or wants_restart(self.pod.restart_policy, newest):
                lives = True
                self._start_unless_unknown(container, Role.REGULAR, newest)
        if not lives:
            # Sidecars do not keep a pod alive: they end with it.
            self.plan = Plan(is_finished=True)

    def _must_go(self, container: Object, running: ObservedContainer) -> bool:
        """Kill a running container that is outdated or unhealthy."""
        name = running.name
        if labels.is_outdated(container, running.status.annotations):
            self._kill(running, f"Container {name} definition changed, will be restarted", is_replacement=True)
            return True
        unhealthy = self.health.failure(running.id)
        if unhealthy is not None:
            why = f"Container {name} failed {unhealthy.probe} probe"
            if policy_of(self.pod, container, role_of(self.pod, name)) != "Never":
                why += ", will be restarted"
            self._kill(running, why, grace_s=unhealthy.grace_s)
            return True
        return False

    def _start_unless_unknown(self, container: Object, role: Role, newest: ObservedContainer | None) -> None:
        if newest is not None and newest.status.state is ContainerState.UNKNOWN:
            self._kill(newest, f"Container {newest.name} is in an unknown state, try killing it before restart")
        else:
            self._start(container, role, newest)

    def _start(self, container: Object, role: Role, newest: ObservedContainer | None) -> None:
        name = container["name"]
        exited = [c for c in self.observed.of(name) if c.has_exited]
        failed_at = self._failed_at(name, exited)
        if failed_at is not None:
            backoff = self.memory.backoff(name)
            if backoff.ends_at(failed_at) > self.now:
                pause = clock.short_duration(backoff.delay_s)
                message = f"back-off {pause} restarting failed container={name} pod={self.pod.full_name}"
                self.plan.waiting[name] = Waiting("CrashLoopBackOff", message)
                self.plan.wake(backoff.ends_at(_ended_at(exited[0])))
                return
        retry_at = self.memory.retry_at.get(name, 0.0)
        if retry_at > self.now:
            self.plan.wake(retry_at)
            return
        last = self.observed.newest(name) if newest is None else newest
        if last is None:
            self.plan.starts.append(Start(container, role, self.vanished.get(name, -1) + 1, failed_at))
        elif last.status.state is ContainerState.CREATED:
            # Whoever made it died or was broken off; that is no restart. One whose start was refused counts.
            count = last.status.attempt + (name in self.memory.waiting)
            self.plan.starts.append(Start(container, role, count, failed_at, last.id))
        else:
            self.plan.starts.append(Start(container, role, last.status.attempt + 1, failed_at))

    def _failed_at(self, name: str, exited: list[ObservedContainer]) -> float | None:
        """Return when that ended by which the back-off of a container is judged; exited: its dead, the newest first.

        A container that was killed to be started anew is judged by its predecessor, as Kubernetes does, which decides
        about kill and start at once. When it has to wait then, its own end counts.
        """
        if not exited:
            return None
        newest = exited[0]
        if newest.id == self.memory.killed.get(name) and name not in self.memory.waiting:
            if len(exited) > 1:
                return _ended_at(exited[1])
            if not newest.status.attempt:
                return None
        return _ended_at(newest)

    def _kill(
        self, container: ObservedContainer, why: str, grace_s: int | None = None, is_replacement: bool = False
    ) -> None:
        self.plan.kills.append(Kill(container, why, grace_s, is_replacement))

    def _in_sandbox(self, name: str) -> ObservedContainer | None:
        """Return the newest container of that name if it belongs to the present sandbox."""
        sandbox = self.observed.sandbox
        newest = self.observed.newest(name)
        if newest is None or sandbox is None or newest.sandbox_id != sandbox.sandbox.id:
            return None
        return newest


def _ended_at(container: ObservedContainer) -> float:
    """Return when an exited container ended, in seconds of Unix time."""
    return (container.status.finished_at or container.status.created_at) / clock.NANOSECOND
