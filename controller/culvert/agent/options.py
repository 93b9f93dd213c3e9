"""What an agent is told from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from culvert.leader.connection import ControllerAccess
from culvert.model.settings import Settings


@dataclass(frozen=True, slots=True)
class KubernetesAccess:
    """How to reach the API. ``kubeconfig`` None: $KUBECONFIG, else the pod's service account."""

    kubeconfig: Path | None = None


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Everything an agent is told from outside.

    The world comes from the Kubernetes API if ``kubernetes`` is set, else from ``manifests``.
    ``pods_cgroup`` and ``proxy_cgroup`` are cgroup v2 directories, ``bpf_root`` one in bpffs that
    belongs to this agent alone, ``state_directory`` an ordinary one.
    """

    node: str
    manifests: tuple[Path, ...]
    pods_cgroup: Path
    proxy_cgroup: Path
    cgroup_root: Path
    bpf_root: Path
    xds_socket: Path
    status_socket: Path
    state_directory: Path
    settings: Settings = field(default_factory=Settings)
    without: frozenset[str] = frozenset()
    kubernetes: KubernetesAccess | None = None
    http_address: tuple[str, int] | None = None
    """Where health and metrics are served besides ``status_socket``; the port is in host order."""
    ca_socket: Path | None = None
    """Where certificates are asked for, in a mesh without Kubernetes; else at the controller."""
    controller: ControllerAccess | None = None
    """Where to report, and the certificate authority; only for a world from the Kubernetes API."""


def pod_levels(cgroup_root: Path, pods_cgroup: Path) -> tuple[int, int]:
    """First and last level at which a pod's cgroup may be, the root being level 0.

    A pod is at most two levels (its QoS class) below the pods' cgroup.
    """
    depth = len(pods_cgroup.resolve().relative_to(cgroup_root.resolve()).parts)
    return depth + 1, depth + 3
