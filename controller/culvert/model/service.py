"""Services: a stable address in front of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from culvert.model.key import ObjectKey


class ServiceKind(StrEnum):
    """How clients reach a Service."""

    CLUSTER_IP = "ClusterIP"
    """By its own virtual addresses. NodePort and LoadBalancer Services have these too."""
    HEADLESS = "Headless"
    """By the addresses of its endpoints, found in DNS."""
    EXTERNAL_NAME = "ExternalName"
    """By another DNS name."""


class TrafficDistribution(StrEnum):
    """Which endpoints to prefer (Kubernetes, "Virtual IPs": traffic distribution)."""

    ANYWHERE = ""
    SAME_ZONE = "PreferSameZone"
    SAME_NODE = "PreferSameNode"


class ServicePort(msgspec.Struct, frozen=True):
    """One port of a Service.

    ``target_port`` is a number or a port name as written; the endpoint slices carry it resolved.
    ``protocol`` is ``TCP``, ``UDP`` or ``SCTP``.
    """

    port_host: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""
    target_port: int | str = 0


class Service(msgspec.Struct, frozen=True):
    """A Kubernetes Service.

    ``cluster_addresses`` are its virtual addresses in canonical text form, the primary family
    first; empty unless ``kind`` is ``CLUSTER_IP``.
    """

    namespace: str
    name: str
    kind: ServiceKind = ServiceKind.CLUSTER_IP
    cluster_addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    external_name: str = ""
    client_ip_affinity: bool = False
    affinity_timeout_seconds: int = 10800
    local_endpoints_only: bool = False
    traffic_distribution: TrafficDistribution = TrafficDistribution.ANYWHERE
    publish_not_ready_addresses: bool = False
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.name)
