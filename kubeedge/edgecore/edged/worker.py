"""One task a pod: observes, decides, acts, reports, and sleeps until something happens (spec 05 §5)."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from kubeedge.edgecore.edged import network, specification, status
from kubeedge.edgecore.edged.garbage import collect
from kubeedge.edgecore.edged.health import follow
from kubeedge.edgecore.edged.interruption import Interrupted, Interruptible
from kubeedge.edgecore.edged.launcher import Launcher, StartError
from kubeedge.edgecore.edged.machine import Memory, Plan, Start, Waiting, decide
from kubeedge.edgecore.edged.observation import Observed
from kubeedge.edgecore.edged.pod import TERMINAL_PHASES, Object, Pod
from kubeedge.edgecore.edged.provision import Provision
from kubeedge.edgecore.edged.runtime.interface import RuntimeCallError, RuntimeUnavailableError, SandboxConfig
from kubeedge.edgecore.edged.services import Services, field_path
from kubeedge.edgecore.edged.stopper import Stopper, all_of, remove_everything, stop_sandboxes
from kubeedge.kube.instants import unix_time
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"

_failures = Counter("kubeedge_edged_pod_failures_total", "Passes over a pod that failed", ("reason",))


class Ending(msgspec.Struct):
    """The pod is to end. grace_s None: the containers' own; verdict: what its status shall say of it."""

    why: str
    grace_s: int | None = None
    verdict: Object | None = None


class PodWorker:
    """Keeps one pod as it is wanted. `update`, `removed` and `wake` may be called at any time from the loop.

    is_orphan: the API does not know it, it is only to be ended. rejection: reason and message why it is not taken.
    """

    def __init__(
        self, pod: Pod, services: Services, *, is_orphan: bool = False, rejection: tuple[str, str] | None = None
    ) -> None:
        self.pod = pod
        self._services = services
        self._launcher = Launcher(services)
        self._stopper = Stopper(services)
        self._memory = Memory(backoff_max_s=services.crash_backoff_max_s)
        self._messages: dict[str, str] = {}
        self._started_at = unix_time(pod.status.get("startTime"), services.now())
        self._status: Object = pod.status
        self._observed = Observed()
        self._wake = asyncio.Event()
        self._interruptible = Interruptible()
        self._provision = Provision(services, self._interruptible)
        self._ending: Ending | None = None
        self._is_orphan = is_orphan
        self._is_removed = is_orphan
        # A pod whose phase is terminal is over, but something of it may be left to be cleared away.
        self._is_over = False
        self._has_ended = pod.is_terminal or rejection is not None
        self._is_gone = False
        self._is_first_pass = True
        self._lost: dict[str, int] = {}
        if rejection is not None:
            self._status = status.rejected(pod, *rejection, services.now())
            services.reporter.tell(pod, self._status)
        if is_orphan:
            self._ending = Ending("orphan")
        elif pod.is_deleted:
            self._ending = Ending("deleted", pod.deletion_grace_s)

    @property
    def is_gone(self) -> bool:
        """Nothing of the pod is left on the node and nobody wants it."""
        return self._is_gone

    @property
    def is_active(self) -> bool:
        """It takes resources of the node."""
        return not self._is_over and not self._has_ended

    @property
    def current_status(self) -> Object:
        """The status that was last reported."""
        return self._status

    def update(self, pod: Pod) -> None:
        """Take a new version of the pod."""
        before, self.pod = self.pod, pod
        if pod.is_deleted:
            grace = pod.deletion_grace_s
            known = self._ending.grace_s if self._ending is not None else None
            # A later deletion can only shorten the grace.
            if self._ending is None or not before.is_deleted or known is None or grace < known:
                verdict = self._ending.verdict if self._ending is not None else None
                self._ending = Ending("deleted", grace if known is None else min(grace, known), verdict)
                self._interruptible.interrupt()
        elif before.spec != pod.spec:
            self._interruptible.interrupt()
        if before.spec != pod.spec or before.metadata.get("annotations") != pod.metadata.get("annotations"):
            self._retry_now()
        if before.labels != pod.labels or before.annotations != pod.annotations:
            self._provision.outdated()
        self.wake()

    def removed(self) -> None:
        """The API has no such pod any more: end it and leave nothing."""
        self._is_removed = True
        if self._ending is None:
            self._ending = Ending("removed")
            self._interruptible.interrupt()
        self.wake()

    def end(self, ending: Ending) -> None:
        """End the pod for a reason of the node's own (eviction)."""
        if self._ending is None:
            self._ending = ending
            self._interruptible.interrupt()
            self.wake()

    def objects_changed(self) -> None:
        """A ConfigMap or Secret that the pod uses is new, changed or gone."""
        self._retry_now()
        self._provision.outdated()
        self.wake()

    def wake(self) -> None:
        """Something may have changed: look again."""
        self._wake.set()

    def _retry_now(self) -> None:
        """What failed may go well now."""
        self._memory.retry_now()
        self._provision.retry_now()

    async def run(self) -> None:
        """Keep the pod until it is gone."""
        services = self._services
        while not self._is_gone:
            self._wake.clear()
            retry_s = services.retry_s * (1 + services.jitter() / 2)
            try:
                pause = await self._pass()
            except Interrupted:
                continue
            except RuntimeUnavailableError as error:
                _failures.inc("runtime")
                log.warning("pod waits for the runtime pod=%s reason=%s", self.pod.key, error)
                pause = retry_s
            except (RuntimeCallError, OSError) as error:
                _failures.inc("call")
                log.warning("pod not synced pod=%s reason=%s", self.pod.key, error)
                services.events.pod(self.pod, "Warning", "FailedSync", f"error syncing pod: {error}")
                pause = retry_s
            except Exception:
                # One pod that edged cannot cope with must not take the others with it.
                _failures.inc("unexpected")
                log.exception("pod not synced pod=%s", self.pod.key)
                pause = retry_s
            if not self._is_gone:
                await self._sleep(pause)

    async def _sleep(self, pause_s: float | None) -> None:
        try:
            async with asyncio.timeout(None if pause_s is None else max(pause_s, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _pass(self) -> float | None:
        """Do what is to be done now; return the seconds until the next look, None: only when woken."""
        self._interruptible.heed()
        if self._is_over:
            return await self._after_the_end()
        if self._ending is None and not self._has_ended:
            plan = await self._sync()
            if plan is not None:
                return self._pause(plan.wake_at)
        await self._end_all()
        return await self._after_the_end()

    # --- a pod that is to run

    async def _sync(self) -> Plan | None:
        """Bring the pod on until there is nothing to do; None when it has come to its end."""
        while True:
            if not await self._observe():
                return None
            plan = decide(
                self.pod,
                self._observed,
                self._memory,
                self._services.prober,
                self._lost,
                self._services.now(),
            )
            self._take_waiting(plan)
            self._publish()
            if plan.is_finished:
                self._has_ended = True
                return None
            if plan.has_actions and await self._execute(plan):
                continue
            await self._refresh_volumes()
            await collect(self._services, self.pod, self._observed, self._services.dead_containers_kept)
            return plan

    async def _observe(self) -> bool:
        """Read the pod's state; False when the pod is not to run any more."""
        self._observed = await self._services.watcher.observe(self.pod.uid)
        await follow(
            self._services, self.pod, self._observed, self._messages, self._status, self._probed, self._is_first_pass
        )
        self._is_first_pass = False
        for name, count in status.vanished(self.pod, self._observed, self._status).items():
            self._lost.setdefault(name, count)
        for name in [n for n in self._lost if self._observed.newest(n) is not None]:
            del self._lost[name]
        deadline = self._deadline_at()
        if self._ending is None and deadline is not None and self._services.now() >= deadline:
            verdict = {"phase": "Failed", "reason": "DeadlineExceeded", "message": DEADLINE_MESSAGE}
            self._services.events.pod(self.pod, "Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
            self._ending = Ending("deadline exceeded", None, verdict)
        return self._ending is None

    def _deadline_at(self) -> float | None:
        seconds = self.pod.spec.get("activeDeadlineSeconds")
        return None if seconds is None else self._started_at + float(seconds)

    def _probed(self) -> None:
        """A probe has changed what is known of a container: tell at once, act in the next pass."""
        if not self._is_over and self._ending is None:
            self._publish()
        self.wake()

    def _take_waiting(self, plan: Plan) -> None:
        for name, waiting in plan.waiting.items():
            if self._memory.waiting.get(name) != waiting:
                container = self.pod.container(name) or {"name": name}
                message = f"Back-off restarting failed container {name} in pod {self.pod.full_name}"
                self._services.events.pod(self.pod, "Warning", "BackOff", message, field_path(self.pod, container))
            self._memory.waiting[name] = waiting

    def _publish(self, *, is_over: bool = False) -> None:
        facts = status.Facts(
            runtime_name=self._services.watcher.runtime_name,
            host_ips=self._services.host_ips,
            health=self._services.prober,
            previous=self._status,
            now=self._services.now(),
            started_at=self._started_at,
            waiting=self._memory.waiting,
            messages=self._messages,
            is_over=is_over,
            verdict=self._ending.verdict if self._ending is not None else None,
        )
        self._status = status.build(self.pod, self._observed, facts)
        if not self._is_orphan:
            self._services.reporter.tell(self.pod, self._status)

    async def _execute(self, plan: Plan) -> bool:
        """Do what the plan says; False when it has to wait, the time is then in the plan."""
        if plan.kills:
            await self._interruptible(self._kill(plan))
        if plan.sandbox_attempt is None and not plan.starts:
            return True
        if not self._provision.blocked_s:
            config = self._sandbox_config(plan.sandbox_attempt)
            if await self._provision.set_up(self.pod, self._pod_ips(), is_running=bool(self._observed.running)):
                if plan.sandbox_attempt is None:
                    for start in plan.starts:
                        await self._start(start, config)
                    return True
                if await self._make_sandbox(config):
                    return True
        plan.wake(self._services.now() + self._provision.blocked_s)
        return False

    async def _kill(self, plan: Plan) -> None:
        ips = self._pod_ips()
        stops = [
            self._stopper.stop(self.pod, k.container, k.why, self.pod.grace_s if k.grace_s is None else k.grace_s, ips)
            for k in plan.kills
        ]
        await all_of(stops)
        for kill in plan.kills:
            self._memory.carried_out(kill)

    def _sandbox_config(self, attempt: int | None) -> SandboxConfig:
        sandbox = self._observed.sandbox
        if attempt is None:
            attempt = sandbox.sandbox.attempt if sandbox is not None else 0
        dns, problems = network.dns(self.pod, self._services.cluster_dns)
        for problem in problems:
            reason, _, message = problem.partition(": ")
            self._services.events.pod(self.pod, "Warning", reason, message)
        logs = str(self._services.folders.pod_logs(self.pod))
        return specification.sandbox_config(self.pod, attempt, dns, logs, self._services.sandbox_limits)

    async def _refresh_volumes(self) -> None:
        """Bring mounted ConfigMaps, Secrets and tokens up to date when it is time."""
        if self._provision.refresh_in_s > 0 or not self._observed.ready_sandboxes:
            return
        over = await self._provision.refresh(self.pod, self._pod_ips())
        if over:
            self._evict(over)

    def _evict(self, why: str) -> None:
        """End the pod at once because it takes more of the node than it may (spec 05 §5.6, §5.10)."""
        self._services.events.pod(self.pod, "Warning", "Evicted", why)
        log.warning("pod evicted pod=%s reason=%s", self.pod.key, why)
        self.end(Ending("evicted", 0, {"phase": "Failed", "reason": "Evicted", "message": why}))

    async def _make_sandbox(self, config: SandboxConfig) -> bool:
        services = self._services
        if self._observed.sandboxes:
            services.events.pod(
                self.pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
            )
            await stop_sandboxes(services, self._observed)
        try:
            sandbox_id = await services.runtime.run_sandbox(config)
        except RuntimeCallError as error:
            message = f"Failed to create pod sandbox: {error.message}"
            services.events.pod(self.pod, "Warning", "FailedCreatePodSandBox", message)
            log.warning("sandbox not created pod=%s reason=%s", self.pod.key, error.message)
            self._provision.block(services.retry_s)
            return False
        log.debug("sandbox created pod=%s id=%s attempt=%d", self.pod.key, sandbox_id, config.attempt)
        return True

    async def _start(self, start: Start, config: SandboxConfig) -> None:
        name = start.container["name"]
        sandbox = self._observed.sandbox
        if sandbox is None:
            return
        if start.failed_at is not None:
            self._memory.backoff(name).advance(start.failed_at, self._services.now())
        known = self._provision.changes
        try:
            await self._launcher.start(
                self.pod, start, sandbox.sandbox.id, config, self._pod_ips(), self._interruptible
            )
        except StartError as error:
            if error.reason:
                self._memory.waiting[name] = Waiting(error.reason, error.message)
            self._memory.retry_at[name] = error.retry_at if self._provision.changes == known else 0.0
            if error.container_id:
                await self._stop_after_hook(name, error.container_id)
            return
        self._memory.waiting.pop(name, None)
        self._memory.retry_at.pop(name, None)

    async def _stop_after_hook(self, name: str, container_id: str) -> None:
        self._observed = await self._services.watcher.observe(self.pod.uid)
        container = next((c for c in self._observed.containers if c.id == container_id), None)
        if container is not None and container.is_running:
            stop = self._stopper.stop(self.pod, container, "FailedPostStartHook", self.pod.grace_s, self._pod_ips())
            await self._interruptible(stop)

    def _pod_ips(self) -> list[str]:
        return status.pod_ips(self.pod, self._observed, self._services.host_ips)

    def _pause(self, wake_at: float | None) -> float:
        """Seconds until the earliest of all that is to happen by itself."""
        now = self._services.now()
        pause = self._provision.refresh_in_s or self._services.sync_frequency_s
        for at in (wake_at, self._deadline_at()):
            if at is not None:
                pause = min(pause, at - now)
        return max(pause, 0.0)

    # --- a pod that is to end

    async def _end_all(self) -> None:
        """Stop everything, take the volumes away and tell the last status."""
        services = self._services
        if self._ending is not None and self._ending.verdict is not None:
            # Nobody is to send it work any more, however long its end takes.
            self._publish()
        while True:
            self._interruptible.heed()
            self._observed = await services.watcher.observe(self.pod.uid)
            await follow(services, self.pod, self._observed, self._messages, self._status, self._probed, False)
            if self._observed.is_still:
                break
            grace = self._ending.grace_s if self._ending is not None else None
            grace = self.pod.grace_s if grace is None else grace
            try:
                await self._interruptible(
                    self._stopper.stop_all(self.pod, self._observed, max(grace, 1), self._pod_ips())
                )
            except Interrupted:
                continue
            await stop_sandboxes(services, self._observed)
        await asyncio.to_thread(services.folders.remove_pod, self.pod.uid)
        if self._status.get("phase") not in TERMINAL_PHASES:
            self._publish(is_over=True)
        self._is_over = True
        log.info("pod has ended pod=%s uid=%s phase=%s", self.pod.key, self.pod.uid, self._status.get("phase"))

    async def _after_the_end(self) -> float | None:
        services = self._services
        if self._is_removed:
            self._observed = await services.watcher.observe(self.pod.uid)
            await remove_everything(services, self._observed)
            self._observed = await services.watcher.observe(self.pod.uid)
            if not self._observed.is_empty:
                return services.retry_s
            await asyncio.to_thread(services.folders.remove_pod_logs, self.pod)
            self._is_gone = True
            return None
        if self.pod.is_deleted:
            services.reporter.nothing_is_left(self.pod)
        else:
            await collect(services, self.pod, self._observed, 0)
        return None
