"""What is known of a pod that runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from culvert.rig.podspec import PodTemplate
from culvert.rig.rollout import PodHave, PodKey


class ContainerPhase(StrEnum):
    """As in a container status."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """One container. ``reason`` explains waiting, ``exit_code`` belongs to terminated."""

    name: str
    phase: ContainerPhase = ContainerPhase.WAITING
    ready: bool = False
    restarts: int = 0
    exit_code: int = 0
    reason: str = "ContainerCreating"
    message: str = ""
    started: bool = False
    """It runs, and its startup probe, if any, has succeeded."""
    started_at: str = ""
    finished_at: str = ""


@dataclass(frozen=True, slots=True)
class PodStatus:
    """A pod, at one moment. Times are RFC 3339, UTC."""

    namespace: str
    name: str
    uid: str
    owner: str
    node_name: str
    zone: str
    template: PodTemplate
    created: str
    host_ips: tuple[str, ...]
    ips: tuple[str, ...] = ()
    """IPv4 first; empty until the pod has a network."""
    containers: tuple[ContainerStatus, ...] = ()
    init_containers: tuple[ContainerStatus, ...] = ()
    terminating_since: str = ""
    problem: str = ""
    """Why it could not be made."""

    @property
    def key(self) -> PodKey:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def terminating(self) -> bool:
        """Whether it is being stopped."""
        return bool(self.terminating_since)

    @property
    def ready(self) -> bool:
        """Whether all its containers are ready; a terminating pod can still be."""
        return bool(self.ips and self.containers) and all(c.ready for c in self.containers)

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed, as Kubernetes defines them."""
        phases = {c.phase for c in self.containers}
        if not self.ips or not phases:
            return "Pending"
        if self.init_failed:
            return "Failed"
        if phases == {ContainerPhase.TERMINATED}:
            return "Failed" if any(c.exit_code for c in self.containers) else "Succeeded"
        if phases == {ContainerPhase.WAITING} and not any(c.restarts for c in self.containers):
            return "Pending"
        return "Running"

    @property
    def init_failed(self) -> bool:
        """Whether an init container has ended in failure and is not tried again."""
        return any(c.phase is ContainerPhase.TERMINATED and c.exit_code
                   for c in self.init_containers)  # fmt: skip

    def have(self) -> PodHave:
        """Return what the rollout needs of it."""
        return PodHave(
            self.namespace,
            self.name,
            self.owner,
            self.template.revision,
            self.node_name,
            self.ready,
            self.terminating,
        )
