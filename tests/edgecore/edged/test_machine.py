"""The state machine of a pod, driven by arbitrary histories of a simulated runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from kubeedge.edgecore.edged import clock, labels
from kubeedge.edgecore.edged.backoff import INITIAL_S, MAXIMUM_S, RESET_AFTER_S, Backoff
from kubeedge.edgecore.edged.machine import Memory, Plan, Unhealthy, Waiting, decide
from kubeedge.edgecore.edged.observation import Observed, ObservedContainer, newest_first
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerState,
    ContainerStatus,
    Sandbox,
    SandboxState,
    SandboxStatus,
)

CREATED, RUNNING, EXITED, UNKNOWN = (
    ContainerState.CREATED,
    ContainerState.RUNNING,
    ContainerState.EXITED,
    ContainerState.UNKNOWN,
)


@dataclass
class Health:
    """Probes whose results a test sets; a container with a startup probe begins as not started."""

    unstarted: set[str] = field(default_factory=set)
    failed: dict[str, Unhealthy] = field(default_factory=dict)

    def is_started(self, container_id: str) -> bool:
        return container_id not in self.unstarted

    def is_ready(self, container_id: str) -> bool:
        return True

    def failure(self, container_id: str) -> Unhealthy | None:
        return self.failed.get(container_id)


class Simulation:
    """A runtime that does at once what it is told, and a clock."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.now = 1_000_000.0
        self.memory = Memory()
        self.health = Health()
        self.observed = Observed()
        self.started: list[tuple[str, int, float]] = []
        self._ids = 0

    def decide(self) -> Plan:
        plan = decide(self.pod, newest_first(self.observed), self.memory, self.health, {}, self.now)
        self.memory.waiting.update(plan.waiting)
        return plan

    def apply(self, plan: Plan) -> None:
        """Do what a worker does with a plan."""
        for kill in plan.kills:
            self.end(kill.container, 137)
            self.memory.carried_out(kill)
        if plan.sandbox_attempt is not None:
            for container in self.observed.running:
                self.end(container, 137)
            for sandbox in self.observed.sandboxes:
                sandbox.sandbox.state = SandboxState.NOT_READY
            self.make_sandbox(plan.sandbox_attempt)
            return
        for start in plan.starts:
            name = start.container["name"]
            if start.failed_at is not None:
                self.memory.backoff(name).advance(start.failed_at, self.now)
            self.memory.waiting.pop(name, None)
            self.start(name, start.restart_count)

    def settle(self) -> Plan:
        """Decide and act until there is nothing to do."""
        for _ in range(50):
            plan = self.decide()
            if plan.is_finished or not plan.has_actions:
                return plan
            self.apply(plan)
        raise AssertionError("the machine never comes to rest")

    def make_sandbox(self, attempt: int) -> None:
        self._ids += 1
        sandbox = Sandbox(f"s{self._ids}", "p", "default", "u", attempt, SandboxState.READY, self.ns(), {}, {})
        self.observed.sandboxes.append(SandboxStatus(sandbox, ["10.0.0.1"]))

    def start(self, name: str, attempt: int) -> ObservedContainer:
        self._ids += 1
        container = self.pod.container(name)
        assert container is not None
        sandbox = newest_first(self.observed).sandbox
        assert sandbox is not None
        id_ = f"c{self._ids}"
        status = ContainerStatus(
            id_,
            name,
            attempt,
            RUNNING,
            self.ns(),
            self.ns(),
            0,
            0,
            "i",
            "i",
            "",
            "",
            {},
            {labels.HASH: labels.container_hash(container)},
            [],
            "",
        )
        if "startupProbe" in container:
            self.health.unstarted.add(id_)
        made = ObservedContainer(sandbox.sandbox.id, status)
        self.observed.containers.append(made)
        self.started.append((name, attempt, self.now))
        return made

    def end(self, container: ObservedContainer, code: int, reason: str = "") -> None:
        self.put(container, state=EXITED, exit_code=code, finished_at=self.ns(), reason=reason)

    def put(self, container: ObservedContainer, **changes: Any) -> None:
        index = next(i for i, c in enumerate(self.observed.containers) if c.id == container.id)
        self.observed.containers[index] = replace(container, status=replace(container.status, **changes))

    def ns(self) -> int:
        return int(self.now * clock.NANOSECOND)

    def running(self) -> list[str]:
        return sorted(c.name for c in self.observed.containers if c.status.state in (RUNNING, UNKNOWN))


def make_pod(policy: str = "Always", inits: list[dict[str, Any]] | None = None, names: tuple[str, ...] = ("a",)) -> Pod:
    return Pod(
        {
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "spec": {
                "restartPolicy": policy,
                "initContainers": inits or [],
                "containers": [{"name": name, "image": "i"} for name in names],
            },
        }
    )


INIT = {"name": "i1", "image": "i"}
SIDECAR = {"name": "side", "image": "i", "restartPolicy": "Always"}


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens to a pod, its containers are never run twice and never against their restart policy."""

    @initialize(
        policy=st.sampled_from(["Always", "OnFailure", "Never"]),
        inits=st.sampled_from([[], [INIT], [SIDECAR], [INIT, SIDECAR], [SIDECAR, INIT, {"name": "i2", "image": "i"}]]),
        probed=st.booleans(),
        regulars=st.sampled_from([("a",), ("a", "b")]),
    )
    def begin(self, policy: str, inits: list[dict[str, Any]], probed: bool, regulars: tuple[str, ...]) -> None:
        if probed:
            inits = [{**c, "startupProbe": {}} if c.get("restartPolicy") else c for c in inits]
        self.sim = Simulation(make_pod(policy, inits, regulars))
        self.policy = policy
        self.is_finished = False
        self.images_changed = False

    @precondition(lambda self: not self.is_finished)
    @rule()
    def act_once(self) -> None:
        plan = self.sim.decide()
        killed = {kill.container.name for kill in plan.kills}
        assert not killed & {start.container["name"] for start in plan.starts}
        for start in plan.starts:
            self.check_start(start.container["name"], start.restart_count)
        if plan.is_finished:
            assert not plan.has_actions
            self.is_finished = True
        self.sim.apply(plan)

    def check_start(self, name: str, restart_count: int) -> None:
        sim = self.sim
        sandbox = sim.observed.sandbox
        assert sandbox is not None
        before = [c for c in sim.observed.of(name) if c.id not in sim.memory.replaced]
        ended = [c for c in before if c.has_exited]
        is_init = name in ("i1", "i2")
        if is_init:
            ended = [c for c in ended if c.sandbox_id == sandbox.sandbox.id]
            assert not any(c.succeeded for c in ended)
        if name != "side" and not self.images_changed:
            if self.policy == "Never":
                assert not ended
            elif self.policy == "OnFailure" and not is_init:
                assert not any(c.status.exit_code == 0 for c in ended[:1])
        assert restart_count > max((c.status.attempt for c in sim.observed.of(name)), default=-1)
        if name in ("a", "b"):
            self.check_initialized(sandbox.sandbox.id)

    def check_initialized(self, sandbox_id: str) -> None:
        sim = self.sim
        if any(c.name in ("a", "b") and c.sandbox_id == sandbox_id for c in sim.observed.containers):
            return
        for init in sim.pod.init_containers:
            newest = sim.observed.newest(init["name"])
            assert newest is not None
            assert newest.sandbox_id == sandbox_id
            if init.get("restartPolicy"):
                assert newest.is_running
                assert sim.health.is_started(newest.id)
            else:
                assert newest.succeeded

    @rule(seconds=st.sampled_from([0.5, 9, 11, 60, 301, 700]))
    def wait(self, seconds: float) -> None:
        self.sim.now += seconds

    @precondition(lambda self: self.sim.observed.running)
    @rule(data=st.data(), code=st.sampled_from([0, 0, 1, 137]), reason=st.sampled_from(["", "OOMKilled"]))
    def container_ends(self, data: st.DataObject, code: int, reason: str) -> None:
        self.sim.end(data.draw(st.sampled_from(self.sim.observed.running)), code, reason)

    @precondition(lambda self: self.sim.observed.running)
    @rule(data=st.data())
    def container_is_lost_sight_of(self, data: st.DataObject) -> None:
        self.sim.put(data.draw(st.sampled_from(self.sim.observed.running)), state=UNKNOWN)

    @precondition(lambda self: self.sim.observed.running)
    @rule(data=st.data(), probe=st.sampled_from(["liveness", "startup"]))
    def probe_fails(self, data: st.DataObject, probe: str) -> None:
        self.sim.health.failed[data.draw(st.sampled_from(self.sim.observed.running)).id] = Unhealthy(probe)

    @precondition(lambda self: self.sim.health.unstarted)
    @rule(data=st.data())
    def startup_probe_passes(self, data: st.DataObject) -> None:
        self.sim.health.unstarted.discard(data.draw(st.sampled_from(sorted(self.sim.health.unstarted))))

    @precondition(lambda self: self.sim.observed.sandboxes)
    @rule()
    def sandbox_dies_with_its_containers(self) -> None:
        for sandbox in self.sim.observed.sandboxes:
            sandbox.sandbox.state = SandboxState.NOT_READY
        for container in self.sim.observed.running:
            self.sim.end(container, 137)

    @rule()
    def remains_are_cleared_away(self) -> None:
        """As garbage collection does: the newest of each name stays."""
        newest = {c.name: c.id for c in reversed(newest_first(self.sim.observed).containers)}
        self.sim.observed.containers = [c for c in self.sim.observed.containers if newest[c.name] == c.id]

    @rule(image=st.sampled_from(["i", "j"]))
    def image_is_changed(self, image: str) -> None:
        containers = [{**c, "image": image} for c in self.sim.pod.containers]
        spec = {**self.sim.pod.spec, "containers": containers}
        self.images_changed = self.images_changed or image != "i"
        self.sim.pod = Pod({**self.sim.pod.data, "spec": spec})

    @invariant()
    def no_container_runs_twice(self) -> None:
        running = self.sim.running()
        assert len(running) == len(set(running))

    @invariant()
    def at_most_one_sandbox_is_ready(self) -> None:
        assert len(self.sim.observed.ready_sandboxes) <= 1


AnyHistory.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase


def test_crash_back_off_doubles_from_the_second_crash_to_five_minutes() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    pauses = []
    for _ in range(8):
        sim.now += 1
        sim.end(sim.observed.running[0], 1)
        plan = sim.settle()
        begun = sim.now
        if plan.wake_at is not None:
            sim.now = plan.wake_at - 0.1
            assert sim.settle().waiting["a"].reason == "CrashLoopBackOff"
            sim.now = plan.wake_at
            sim.settle()
        pauses.append(sim.now - begun)
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300]


@settings(max_examples=50, deadline=None)
@given(
    lives=st.lists(st.integers(1, 500), min_size=1, max_size=12),
    restarts=st.sets(st.tuples(st.integers(0, 11), st.booleans())),
    kept=st.integers(2, 5),
)
def test_restart_of_edged_changes_no_pause_of_a_container_that_crashes(
    lives: list[int], restarts: set[tuple[int, bool]], kept: int
) -> None:
    """With the dead container before the last one kept, as is the default, all can be read off the runtime."""
    assert pauses_of(lives, restarts, kept) == pauses_of(lives, set(), kept)


def pauses_of(lives: list[int], restarts: set[tuple[int, bool]], kept: int) -> list[float]:
    """Let a container crash after these lives (seconds).

    restarts: in which of them edged begins anew, while the container runs (False) or once it has crashed (True).
    """
    sim = Simulation(make_pod())
    sim.settle()
    pauses = []
    for number, life in enumerate(lives):
        sim.now += life
        if (number, False) in restarts:
            sim.memory = Memory()
            sim.settle()
        sim.end(sim.observed.running[0], 1)
        newest_first(sim.observed)
        del sim.observed.containers[kept:]
        if (number, True) in restarts:
            sim.memory = Memory()
        plan = sim.settle()
        pauses.append(0.0 if plan.wake_at is None else plan.wake_at - sim.now)
        sim.now = plan.wake_at or sim.now
        sim.settle()
    return pauses


def test_pause_after_a_restart_of_edged_follows_the_count_where_only_one_container_is_left() -> None:
    for count, pause in enumerate([0, 10, 20, 40, 80, 160, 300, 300]):
        sim = Simulation(make_pod())
        sim.make_sandbox(0)
        sim.end(sim.start("a", count), 1)
        plan = sim.settle()
        assert (0 if plan.wake_at is None else plan.wake_at - sim.now) == pause


def test_wall_clock_that_was_set_back_does_not_undo_the_back_off() -> None:
    sim = Simulation(make_pod())
    sim.make_sandbox(0)
    sim.end(sim.start("a", 4), 1)
    sim.now -= 3600
    sim.end(sim.start("a", 5), 1)
    assert sim.settle().wake_at == sim.now + INITIAL_S


def test_back_off_message_names_pause_container_and_pod() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    for _ in range(2):
        sim.end(sim.observed.running[0], 1)
        plan = sim.settle()
    assert plan.waiting["a"].message == "back-off 10s restarting failed container=a pod=p_default(u)"


def test_container_killed_for_its_probe_is_put_off_by_the_end_of_its_predecessor() -> None:
    """The numbers are those of the recorded p-live, which lives for 12 s each time."""
    sim = Simulation(make_pod())
    sim.settle()
    lives, pauses = 12.0, []
    for _ in range(6):
        sim.now += lives
        sim.health.failed[sim.observed.running[0].id] = Unhealthy("liveness")
        plan = sim.settle()
        pauses.append(0.0 if plan.wake_at is None else plan.wake_at - sim.now)
        sim.now = plan.wake_at or sim.now
        sim.settle()
    assert pauses == [0, 0, 0, 20, 40, 80]


def test_container_killed_for_its_probe_is_put_off_also_when_its_predecessors_are_cleared_away() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    for _ in range(3):
        sim.observed.containers = sim.observed.running
        sim.health.failed[sim.observed.running[0].id] = Unhealthy("liveness")
        plan = sim.settle()
    assert plan.waiting["a"].reason == "CrashLoopBackOff"


def test_container_that_ran_well_starts_with_the_shortest_pause_again() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    for _ in range(3):
        sim.end(sim.observed.running[0], 1)
        plan = sim.settle()
        sim.now = plan.wake_at or sim.now
        sim.settle()
    sim.now += RESET_AFTER_S + 1
    sim.end(sim.observed.running[0], 1)
    assert sim.settle().wake_at is None
    sim.end(sim.observed.running[0], 1)
    assert sim.settle().wake_at == sim.now + INITIAL_S


def test_init_containers_run_one_after_the_other() -> None:
    sim = Simulation(make_pod(inits=[INIT, {"name": "i2", "image": "i"}]))
    order = []
    for _ in range(3):
        sim.settle()
        order.append(sim.running())
        sim.end(sim.observed.running[0], 0)
    assert order == [["i1"], ["i2"], ["a"]]


def test_pod_waits_for_the_startup_of_its_sidecar() -> None:
    sim = Simulation(make_pod(inits=[{**SIDECAR, "startupProbe": {}}]))
    sim.settle()
    assert sim.running() == ["side"]
    sim.health.unstarted.clear()
    sim.settle()
    assert sim.running() == ["a", "side"]


def test_sidecar_is_restarted_beside_running_containers_even_under_never() -> None:
    sim = Simulation(make_pod("Never", inits=[SIDECAR]))
    sim.settle()
    side = sim.observed.newest("side")
    assert side is not None
    sim.end(side, 1)
    sim.settle()
    assert sim.running() == ["a", "side"]


def test_sidecar_does_not_keep_a_finished_pod_alive() -> None:
    sim = Simulation(make_pod("Never", inits=[SIDECAR]))
    sim.settle()
    main = sim.observed.newest("a")
    assert main is not None
    sim.end(main, 0)
    assert sim.settle().is_finished


def test_failed_init_container_ends_a_pod_that_is_never_restarted() -> None:
    sim = Simulation(make_pod("Never", inits=[INIT]))
    sim.settle()
    sim.end(sim.observed.running[0], 3)
    assert sim.settle().is_finished


def test_lost_sandbox_is_replaced_and_init_containers_run_again() -> None:
    sim = Simulation(make_pod(inits=[INIT]))
    sim.settle()
    sim.end(sim.observed.running[0], 0)
    sim.settle()
    assert sim.running() == ["a"]
    sim.observed.sandboxes[0].sandbox.state = SandboxState.NOT_READY
    for container in sim.observed.running:
        sim.end(container, 137)
    sim.settle()
    assert sim.running() == ["i1"]
    assert sim.observed.sandboxes[0].sandbox.attempt == 1


def test_pod_that_is_never_restarted_gets_no_second_sandbox() -> None:
    sim = Simulation(make_pod("Never"))
    sim.settle()
    sim.observed.sandboxes[0].sandbox.state = SandboxState.NOT_READY
    sim.end(sim.observed.running[0], 137)
    assert sim.settle().is_finished


@pytest.mark.parametrize(("policy", "is_finished"), [("Never", True), ("OnFailure", False), ("Always", False)])
def test_container_that_vanished_counts_as_failed(policy: str, is_finished: bool) -> None:
    sim = Simulation(make_pod(policy))
    plan = decide(sim.pod, sim.observed, sim.memory, sim.health, {"a": 2}, sim.now)
    assert plan.is_finished == is_finished
    if not is_finished:
        sim.apply(plan)
        plan = decide(sim.pod, sim.observed, sim.memory, sim.health, {"a": 2}, sim.now)
        assert [s.restart_count for s in plan.starts] == [3]


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_container_that_was_made_but_not_started_is_made_again_without_being_counted(policy: str) -> None:
    sim = Simulation(make_pod(policy))
    sim.make_sandbox(0)
    made = sim.start("a", 0)
    sim.put(made, state=CREATED, started_at=0)
    (start,) = sim.decide().starts
    assert (start.restart_count, start.unstarted, start.failed_at) == (0, made.id, None)


def test_container_whose_start_was_refused_counts() -> None:
    sim = Simulation(make_pod())
    sim.make_sandbox(0)
    made = sim.start("a", 0)
    sim.put(made, state=CREATED, started_at=0)
    sim.memory.waiting["a"] = Waiting("RunContainerError", "no")
    (start,) = sim.decide().starts
    assert (start.restart_count, start.unstarted) == (1, made.id)


def test_container_of_another_image_is_replaced() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    sim.pod = Pod({**sim.pod.data, "spec": {**sim.pod.spec, "containers": [{"name": "a", "image": "other"}]}})
    plan = sim.decide()
    assert [k.why for k in plan.kills] == ["Container a definition changed, will be restarted"]
    sim.apply(plan)
    sim.settle()
    assert [(name, attempt) for name, attempt, _ in sim.started] == [("a", 0), ("a", 1)]


def test_container_of_a_go_edge_is_left_running() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    sim.put(sim.observed.running[0], annotations={labels.HASH: "42f056bf"})
    assert not sim.settle().has_actions
    assert len(sim.started) == 1


def test_failed_probe_kills_with_the_grace_of_the_probe() -> None:
    sim = Simulation(make_pod())
    sim.settle()
    sim.health.failed[sim.observed.running[0].id] = Unhealthy("liveness", 7)
    (kill,) = sim.decide().kills
    assert (kill.why, kill.grace_s) == ("Container a failed liveness probe, will be restarted", 7)


def test_start_that_failed_is_not_tried_before_its_time() -> None:
    sim = Simulation(make_pod())
    sim.make_sandbox(0)
    sim.memory.retry_at["a"] = sim.now + 10
    plan = sim.decide()
    assert (plan.starts, plan.wake_at) == ([], sim.now + 10)
    sim.memory.retry_now()
    assert len(sim.decide().starts) == 1


@pytest.mark.parametrize("failures", [0, 1, 5, 50])
def test_back_off_stays_within_its_limits(failures: int) -> None:
    backoff = Backoff()
    now = 0.0
    for _ in range(failures):
        now = max(now, backoff.ends_at(now))
        backoff.advance(now, now)
    assert backoff.delay_s == (min(INITIAL_S * 2 ** (failures - 1), MAXIMUM_S) if failures else 0)
