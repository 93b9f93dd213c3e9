"""Endpoints of a Service port: which ones, and which first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint as EndpointMessage,
)
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from culvert.compile.internal import INBOUND_HTTP, INBOUND_TCP, inbound_endpoint, tunnel_endpoint
from culvert.compile.packing import resource
from culvert.compile.sockets import socket_address
from culvert.compile.targets import NO_TARGETS, Target, Targets
from culvert.compile.tls import server_name_of
from culvert.compile.topology import Topology
from culvert.model.address import packed_address
from culvert.model.desired import Resource
from culvert.model.endpoint import Endpoint, EndpointSlice
from culvert.model.service import Service, ServicePort
from culvert.model.traffic import Locality


@dataclass(frozen=True, slots=True)
class Backend:
    """One address and port that may take a Service port's connections."""

    address: str
    port_host: int
    endpoint: Endpoint

    @property
    def order(self) -> tuple[int, bytes, int]:
        """Numeric order of the address, then port."""
        packed = packed_address(self.address)
        return len(packed), packed, self.port_host


def select_backends(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], ip_version: int
) -> tuple[Backend, ...]:
    """The backends of one family that are fit for traffic, in order of address.

    As kube-proxy does: those that are ready; where none is, those that still serve while they
    terminate. All of them where the Service publishes addresses that are not ready. An address
    that several slices hold counts once, as ready if it is in any.
    """
    found: dict[tuple[str, int], Backend] = {}
    for part in slices:
        if part.ip_version != ip_version:
            continue
        target = next(
            (p for p in part.ports if p.name == port.name and p.protocol == port.protocol), None
        )
        if target is None:
            continue
        for endpoint in part.endpoints:
            backend = Backend(endpoint.addresses[0], target.port_host, endpoint)
            known = found.get((backend.address, backend.port_host))
            if known is None or (endpoint.ready and not known.endpoint.ready):
                found[backend.address, backend.port_host] = backend
    backends = sorted(found.values(), key=lambda backend: backend.order)
    if service.publish_not_ready_addresses:
        return tuple(backends)
    ready = tuple(backend for backend in backends if backend.endpoint.ready)
    return ready or tuple(
        backend for backend in backends if backend.endpoint.serving and backend.endpoint.terminating
    )


def rank_backends(
    service: Service, backends: Sequence[Backend], topology: Topology, locality: Locality
) -> tuple[tuple[Backend, ...], ...]:
    """Group backends by preference, most preferred first; no group is empty.

    Traffic goes to the first group alone. A Service that allows local endpoints only has no
    groups where none is local: its connections then fail on this node, as Kubernetes says.
    """
    if service.local_endpoints_only:
        backends = [b for b in backends if topology.is_on_node(b.endpoint)]
    match locality:
        case Locality.ANY:
            groups: list[list[Backend]] = [list(backends)]
        case Locality.ZONE:
            groups = [[], []]
            for backend in backends:
                groups[0 if topology.is_in_zone(backend.endpoint) else 1].append(backend)
        case Locality.NODE:
            groups = [[], [], []]
            for backend in backends:
                on_node = topology.is_on_node(backend.endpoint)
                in_zone = topology.is_in_zone(backend.endpoint)
                groups[0 if on_node else 1 if in_zone else 2].append(backend)
    return tuple(tuple(group) for group in groups if group)


def compile_endpoints(
    name: str,
    groups: Sequence[Sequence[Backend]],
    targets: Targets = NO_TARGETS,
    *,
    is_http: bool = False,
) -> Resource:
    """The load assignment of one Service port and family, one priority per group.

    An endpoint that ``targets`` has a hop for is inside the proxy.
    """
    return resource(
        name,
        ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[
                LocalityLbEndpoints(
                    priority=priority,
                    lb_endpoints=[_lb_endpoint(b, targets.get(b.address), is_http) for b in group],
                )
                for priority, group in enumerate(groups)
            ],
        ),
    )


def _lb_endpoint(backend: Backend, target: Target | None, is_http: bool) -> LbEndpoint:
    address, port_host = backend.address, backend.port_host
    if target is not None and target.hops(port_host):
        if target.is_local:
            return inbound_endpoint(INBOUND_HTTP if is_http else INBOUND_TCP, address, port_host)
        server_name = server_name_of(target.principal)
        return tunnel_endpoint(address, port_host, target.tunnel, target.principals, server_name)
    return LbEndpoint(endpoint=EndpointMessage(address=socket_address(address, port_host)))
