"""Namespaces and nodes: the places that workloads live in."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

ZONE_LABEL = "topology.kubernetes.io/zone"
"""The well-known label of a node's zone (Kubernetes, "Well-Known Labels")."""


class Namespace(msgspec.Struct, frozen=True):
    """A Kubernetes namespace."""

    name: str
    labels: Mapping[str, str] = {}


class Node(msgspec.Struct, frozen=True):
    """A Kubernetes node."""

    name: str
    labels: Mapping[str, str] = {}
    addresses: tuple[str, ...] = ()

    @property
    def zone(self) -> str:
        """The node's zone, empty where it has none."""
        return self.labels.get(ZONE_LABEL, "")
