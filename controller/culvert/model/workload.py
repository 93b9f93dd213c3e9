"""Workloads: what runs, where, and at which addresses."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from culvert.model.key import ObjectKey


class Phase(StrEnum):
    """Where a pod is in its life (Kubernetes, "Pod Lifecycle")."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class ContainerPort(msgspec.Struct, frozen=True):
    """A port a container declares. Declaring is documentation: undeclared ports work as well."""

    port_host: int
    name: str = ""
    protocol: str = "TCP"


class Workload(msgspec.Struct, frozen=True):
    """A pod.

    ``addresses`` are its IPs in canonical text form, at most one per family; a pod with
    ``host_network`` has the addresses of its node.
    """

    namespace: str
    name: str
    uid: str
    node: str = ""
    addresses: tuple[str, ...] = ()
    phase: Phase = Phase.PENDING
    host_network: bool = False
    service_account: str = "default"
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    ports: tuple[ContainerPort, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.name)

    @property
    def has_own_addresses(self) -> bool:
        """Whether its addresses are its own now.

        A finished pod's addresses may already belong to another pod, and a ``host_network`` pod
        shares those of its node.
        """
        return not self.host_network and self.phase not in (Phase.SUCCEEDED, Phase.FAILED)
