"""What the API says of the installed parts, cut down to what is judged."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """The part of ``metav1.ObjectMeta`` that is read."""

    name: str = ""
    labels: dict[str, str] = {}
    generation: int = 0
    resource_version: str = ""


class Counts(msgspec.Struct, frozen=True, rename="camel"):
    """``status`` of a DaemonSet or a Deployment; a field that is 0 may be missing."""

    observed_generation: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0


class Size(msgspec.Struct, frozen=True):
    """``spec`` of a Deployment."""

    replicas: int = 1


class Workloads(msgspec.Struct, frozen=True):
    """A DaemonSet or a Deployment."""

    metadata: Metadata
    status: Counts = Counts()
    spec: Size = Size()


class Waiting(msgspec.Struct, frozen=True):
    """Why a container does not run."""

    reason: str = ""
    message: str = ""


class ContainerState(msgspec.Struct, frozen=True):
    """Exactly one of the states of a container is there; only these two are read."""

    waiting: Waiting | None = None
    terminated: Waiting | None = None


class ContainerStatus(msgspec.Struct, frozen=True):
    """One container of a pod."""

    name: str = ""
    ready: bool = False
    state: ContainerState = ContainerState()


class Condition(msgspec.Struct, frozen=True):
    """A condition of a pod."""

    type: str
    status: str
    message: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """``status`` of a pod."""

    phase: str = ""
    conditions: list[Condition] = []
    init_container_statuses: list[ContainerStatus] = []
    container_statuses: list[ContainerStatus] = []


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """``spec`` of a pod."""

    node_name: str = ""


class Pod(msgspec.Struct, frozen=True):
    """A pod of the mesh itself."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


@dataclass(frozen=True, slots=True)
class Leadership:
    """The controller's Lease; ``renewed``: it changed while it was watched."""

    holder: str
    renewed: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that was read. ``kinds`` are plural names in ``culvert.dev/v1alpha1``.

    The parts are None where the chart did not make them.
    """

    namespace: str
    kinds: frozenset[str] = frozenset()
    agent: Workloads | None = None
    proxy: Workloads | None = None
    controller: Workloads | None = None
    leadership: Leadership | None = None
    pods: tuple[Pod, ...] = ()
