"""The part of each Kubernetes object that the mesh reads, field names as in the API reference.

Fields that are not listed are ignored; a listed field of another type is an error that names it.
Null means absent, as the API server treats it.
"""

from __future__ import annotations

import msgspec


class Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Base of all wire shapes."""


class Metadata(Wire, frozen=True):
    """``metadata``."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class NamespaceObject(Wire, frozen=True):
    """``v1 Namespace``."""

    metadata: Metadata


class NodeAddress(Wire, frozen=True):
    """``status.addresses[]`` of a Node."""

    address: str
    type: str | None = None


class NodeStatus(Wire, frozen=True):
    """``status`` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None


class NodeObject(Wire, frozen=True):
    """``v1 Node``."""

    metadata: Metadata
    status: NodeStatus | None = None


class ContainerPortObject(Wire, frozen=True):
    """``spec.containers[].ports[]`` of a Pod."""

    container_port: int
    name: str | None = None
    protocol: str | None = None


class Container(Wire, frozen=True):
    """``spec.containers[]`` of a Pod."""

    ports: tuple[ContainerPortObject, ...] | None = None


class PodSpec(Wire, frozen=True):
    """``spec`` of a Pod."""

    node_name: str | None = None
    host_network: bool | None = None
    service_account_name: str | None = None
    containers: tuple[Container, ...] | None = None


class PodIp(Wire, frozen=True):
    """``status.podIPs[]`` of a Pod."""

    ip: str


class PodStatus(Wire, frozen=True):
    """``status`` of a Pod."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: tuple[PodIp, ...] | None = msgspec.field(default=None, name="podIPs")


class PodObject(Wire, frozen=True):
    """``v1 Pod``."""

    metadata: Metadata
    spec: PodSpec | None = None
    status: PodStatus | None = None


class ServicePortObject(Wire, frozen=True):
    """``spec.ports[]`` of a Service."""

    port: int
    name: str | None = None
    protocol: str | None = None
    app_protocol: str | None = None
    target_port: int | str | None = None


class ClientIpConfig(Wire, frozen=True):
    """``spec.sessionAffinityConfig.clientIP`` of a Service."""

    timeout_seconds: int | None = None


class AffinityConfig(Wire, frozen=True):
    """``spec.sessionAffinityConfig`` of a Service."""

    client_ip: ClientIpConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Wire, frozen=True):
    """``spec`` of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_name: str | None = None
    ports: tuple[ServicePortObject, ...] | None = None
    session_affinity: str | None = None
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    publish_not_ready_addresses: bool | None = None


class ServiceObject(Wire, frozen=True):
    """``v1 Service``."""

    metadata: Metadata
    spec: ServiceSpec


class EndpointConditions(Wire, frozen=True):
    """``endpoints[].conditions`` of an EndpointSlice."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(Wire, frozen=True):
    """``endpoints[].targetRef`` of an EndpointSlice."""

    kind: str | None = None
    name: str | None = None
    namespace: str | None = None


class EndpointObject(Wire, frozen=True):
    """``endpoints[]`` of an EndpointSlice."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetRef | None = None


class EndpointPortObject(Wire, frozen=True):
    """``ports[]`` of an EndpointSlice."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class EndpointSliceObject(Wire, frozen=True):
    """``discovery.k8s.io/v1 EndpointSlice``."""

    metadata: Metadata
    address_type: str
    endpoints: tuple[EndpointObject, ...] | None = None
    ports: tuple[EndpointPortObject, ...] | None = None
