"""What the runtime has of one pod, as the state machine sees it."""

from __future__ import annotations

import msgspec

from kubeedge.edgecore.edged.runtime.interface import ContainerState, ContainerStatus, SandboxState, SandboxStatus


class ObservedContainer(msgspec.Struct, frozen=True):
    """One container: where it runs and how it is."""

    sandbox_id: str
    status: ContainerStatus

    @property
    def id(self) -> str:
        return self.status.id

    @property
    def name(self) -> str:
        return self.status.name

    @property
    def is_running(self) -> bool:
        return self.status.state is ContainerState.RUNNING

    @property
    def has_exited(self) -> bool:
        return self.status.state is ContainerState.EXITED

    @property
    def succeeded(self) -> bool:
        """It ended with code 0, and not because memory ran out."""
        return self.has_exited and self.status.exit_code == 0 and self.status.reason != "OOMKilled"


class Observed(msgspec.Struct):
    """All sandboxes and containers of one pod, newest first."""

    sandboxes: list[SandboxStatus] = msgspec.field(default_factory=list)
    containers: list[ObservedContainer] = msgspec.field(default_factory=list)

    def of(self, name: str) -> list[ObservedContainer]:
        """Return the containers of that name, newest first."""
        return [c for c in self.containers if c.name == name]

    def newest(self, name: str) -> ObservedContainer | None:
        """Return the latest container of that name."""
        return next((c for c in self.containers if c.name == name), None)

    @property
    def running(self) -> list[ObservedContainer]:
        """Return what may still run: an unknown state counts as running."""
        return [c for c in self.containers if c.status.state in (ContainerState.RUNNING, ContainerState.UNKNOWN)]

    @property
    def ready_sandboxes(self) -> list[SandboxStatus]:
        return [s for s in self.sandboxes if s.sandbox.state is SandboxState.READY]

    @property
    def sandbox(self) -> SandboxStatus | None:
        """Return the newest sandbox if it is ready."""
        if self.sandboxes and self.sandboxes[0].sandbox.state is SandboxState.READY:
            return self.sandboxes[0]
        return None

    @property
    def is_empty(self) -> bool:
        return not self.sandboxes and not self.containers

    @property
    def is_still(self) -> bool:
        """Nothing of the pod runs or can run any more."""
        return not self.running and not self.ready_sandboxes


def newest_first(observed: Observed) -> Observed:
    """Sort both lists by attempt, then by time: attempts only rise, while the clock of a device may be set back."""
    observed.sandboxes.sort(key=lambda s: (s.sandbox.attempt, s.sandbox.created_at), reverse=True)
    observed.containers.sort(key=lambda c: (c.status.attempt, c.status.created_at), reverse=True)
    return observed
