"""When probes run and what follows from their results: one heap of due times for all containers of the node."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Callable

import msgspec

from kubeedge.edgecore.edged.machine import Unhealthy
from kubeedge.edgecore.edged.pod import Object
from kubeedge.edgecore.edged.probes import checks
from kubeedge.edgecore.edged.probes.checks import Outcome, Result, Target
from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

STARTUP, LIVENESS, READINESS = "startup", "liveness", "readiness"
TYPES = ((STARTUP, "startupProbe"), (LIVENESS, "livenessProbe"), (READINESS, "readinessProbe"))

DEFAULT_PERIOD_S = 10.0
DEFAULT_FAILURE_THRESHOLD = 3
DEFAULT_SUCCESS_THRESHOLD = 1
# A probe that could not be run is tried again at once, this often in all.
TRIES = 3
# Probes under way at the same time; a node with slow commands gets later probes, not more processes.
MAX_RUNNING = 32

_runs = Counter("kubeedge_edged_probe_runs_total", "Runs of container probes", ("type", "outcome"))

Notify = Callable[[], None]
Report = Callable[[str, Result], None]


class _Probe(msgspec.Struct):
    type: str
    body: Object
    period_s: float
    successes: int = 0
    failures: int = 0


class _Container(msgspec.Struct):
    """What is known of one container. notify wakes the pod, report(type, result) makes an event of a bad result."""

    target: Target
    grace_s: int | None
    notify: Notify
    report: Report
    probes: dict[str, _Probe] = msgspec.field(default_factory=dict)
    is_started: bool = False
    is_ready: bool = False
    failure: Unhealthy | None = None
    only_readiness: bool = False


class Prober:
    """Runs the probes of every container that is watched, and answers for their health (machine.Health)."""

    def __init__(self, execute: checks.Exec, *, jitter: Callable[[], float] = random.random) -> None:
        self._execute = execute
        self._jitter = jitter
        self._containers: dict[str, _Container] = {}
        self._due: list[tuple[float, int, str, str]] = []
        self._sequence = 0
        self._wake = asyncio.Event()

    def is_started(self, container_id: str) -> bool:
        known = self._containers.get(container_id)
        return known is None or known.is_started

    def is_ready(self, container_id: str) -> bool:
        known = self._containers.get(container_id)
        return known is None or known.is_ready

    def failure(self, container_id: str) -> Unhealthy | None:
        known = self._containers.get(container_id)
        return None if known is None else known.failure

    def is_watched(self, container_id: str) -> bool:
        """Tell whether probes of that container were asked for."""
        return container_id in self._containers

    def watch(
        self,
        target: Target,
        running_for_s: float,
        notify: Notify,
        report: Report,
        *,
        was_started: bool = False,
        was_ready: bool = False,
        is_adopted: bool = False,
    ) -> None:
        """Begin to probe a container that runs since running_for_s seconds.

        was_started, was_ready: what was last told of this very container, for one that was running before edged was;
        its first probes are spread over their period.
        """
        found = [(type_, target.container[key]) for type_, key in TYPES if target.container.get(key)]
        known = _Container(target, None, notify, report)
        for type_, body in found:
            known.probes[type_] = _Probe(type_, body, float(body.get("periodSeconds") or DEFAULT_PERIOD_S))
        known.is_started = STARTUP not in known.probes or was_started
        known.is_ready = READINESS not in known.probes or was_ready
        self._containers[target.container_id] = known
        loop_now = asyncio.get_running_loop().time()
        for probe in known.probes.values():
            if probe.type == STARTUP and known.is_started:
                continue
            delay = float(probe.body.get("initialDelaySeconds") or 0) - running_for_s
            if is_adopted:
                delay = max(delay, self._jitter() * probe.period_s)
            self._push(loop_now + max(delay, 0.0), target.container_id, probe.type)

    def stop_killing(self, container_id: str) -> None:
        """The pod is being deleted: only readiness is still of interest."""
        known = self._containers.get(container_id)
        if known is not None:
            known.only_readiness = True
            known.failure = None

    def forget(self, container_id: str) -> None:
        """The container has ended."""
        self._containers.pop(container_id, None)

    def _push(self, at: float, container_id: str, type_: str) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (at, self._sequence, container_id, type_))
        if self._due[0][1] == self._sequence:
            self._wake.set()

    async def run(self) -> None:
        """Run probes as they come due, until cancelled."""
        loop = asyncio.get_running_loop()
        limit = asyncio.Semaphore(MAX_RUNNING)
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                pause = self._due[0][0] - loop.time() if self._due else None
                if pause is None or pause > 0:
                    try:
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
                    continue
                _, _, container_id, type_ = heapq.heappop(self._due)
                known = self._containers.get(container_id)
                if known is None:
                    continue
                await limit.acquire()
                task = group.create_task(self._probe(container_id, known, known.probes[type_]))
                task.add_done_callback(lambda _: limit.release())

    async def _probe(self, container_id: str, known: _Container, probe: _Probe) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        is_blocked = probe.type != STARTUP and not known.is_started
        is_void = probe.type != READINESS and (known.only_readiness or known.failure is not None)
        if not is_blocked and not is_void:
            result = await self._run(known, probe)
            if result is not None and self._containers.get(container_id) is known:
                self._take(known, probe, result)
        if self._containers.get(container_id) is not known or is_void:
            return
        if probe.type == STARTUP and known.is_started:
            return
        self._push(max(started_at + probe.period_s, loop.time()), container_id, probe.type)

    async def _run(self, known: _Container, probe: _Probe) -> Result | None:
        result = None
        for _ in range(TRIES):
            try:
                result = await checks.run(probe.body, known.target, self._execute)
            except RuntimeUnavailableError:
                return None
            if result.outcome is not Outcome.ERROR:
                break
        if result is not None:
            _runs.inc(probe.type, result.outcome.value)
        return result

    def _take(self, known: _Container, probe: _Probe, result: Result) -> None:
        if result.outcome is Outcome.ERROR:
            # It says nothing of the container: told, not counted.
            known.report(probe.type, result)
            return
        if result.is_success:
            probe.successes += 1
            probe.failures = 0
            if result.outcome is Outcome.WARNING:
                known.report(probe.type, result)
            if probe.successes >= int(probe.body.get("successThreshold") or DEFAULT_SUCCESS_THRESHOLD):
                self._passed(known, probe)
            return
        probe.failures += 1
        probe.successes = 0
        known.report(probe.type, result)
        if probe.failures >= int(probe.body.get("failureThreshold") or DEFAULT_FAILURE_THRESHOLD):
            self._failed(known, probe)

    def _passed(self, known: _Container, probe: _Probe) -> None:
        if probe.type == STARTUP and not known.is_started:
            known.is_started = True
            for other in known.probes.values():
                # What waited for the start is due now.
                if other.type != STARTUP:
                    self._hasten(known.target.container_id, other)
            known.notify()
        elif probe.type == READINESS and not known.is_ready:
            known.is_ready = True
            known.notify()

    def _failed(self, known: _Container, probe: _Probe) -> None:
        if probe.type == READINESS:
            if known.is_ready:
                known.is_ready = False
                known.notify()
            return
        if known.failure is None and not known.only_readiness:
            grace = probe.body.get("terminationGracePeriodSeconds")
            known.failure = Unhealthy(probe.type, None if grace is None else int(grace))
            known.notify()

    def _hasten(self, container_id: str, probe: _Probe) -> None:
        for index, (_, _, id_, type_) in enumerate(self._due):
            if id_ == container_id and type_ == probe.type:
                del self._due[index]
                heapq.heapify(self._due)
                break
        else:
            return
        self._push(asyncio.get_running_loop().time(), container_id, probe.type)
