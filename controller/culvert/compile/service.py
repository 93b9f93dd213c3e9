"""One Service: what it claims of the proxy and of the redirect maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from culvert.compile.clusters import compile_service_cluster
from culvert.compile.endpoints import compile_endpoints, rank_backends, select_backends
from culvert.compile.enrolment import ServiceEnrolment, enrol_service
from culvert.compile.names import (
    endpoints_name,
    http_cluster_name,
    ip_version,
    tcp_cluster_name,
)
from culvert.compile.protocol import Protocol, is_unknown_reserved
from culvert.compile.routes import compile_scope
from culvert.compile.targets import NO_TARGETS, Target, Targets
from culvert.compile.topology import Topology
from culvert.compile.traffic import NO_POLICY, ServicePolicy, settle_traffic
from culvert.model.codes import (
    DUPLICATE_SERVICE_PORT,
    EXTERNAL_NAME,
    NO_CLUSTER_ADDRESS,
    UNKNOWN_APP_PROTOCOL,
)
from culvert.model.desired import Resource
from culvert.model.endpoint import EndpointSlice
from culvert.model.finding import Finding, Severity
from culvert.model.node import Namespace
from culvert.model.redirect import (
    Destination,
    DestinationFlag,
    DestinationKey,
    ProxyListener,
    address16,
)
from culvert.model.service import Service, ServiceKind, ServicePort
from culvert.model.settings import Settings


@dataclass(frozen=True, slots=True)
class Claim:
    """One destination of a Service, with every Envoy resource that only it needs."""

    key: DestinationKey
    destination: Destination
    field: str
    """The part of the Service that claims it."""
    port_name: str = ""
    resources: tuple[Resource, ...] = ()


class LocalPort(NamedTuple):
    """A port of a pod of this node, and whether the Service says that it speaks HTTP.

    ``is_own``: the Service is of the pod's namespace.
    """

    address: str
    port_host: int
    is_http: bool
    is_own: bool


@dataclass(frozen=True, slots=True)
class ServicePart:
    """What one Service adds to a node.

    ``virtual`` are claims on its own addresses, ``endpoints`` (headless Services) on addresses
    that belong to its endpoints. ``local_ports`` are ports of this node's pods that it leads to.
    """

    subject: str
    virtual: tuple[Claim, ...] = ()
    endpoints: tuple[Claim, ...] = ()
    findings: tuple[Finding, ...] = ()
    local_ports: tuple[LocalPort, ...] = ()


@dataclass(frozen=True, slots=True)
class _Frame:
    """What every claim of a Service is made from."""

    service: Service
    enrolment: ServiceEnrolment
    slices: Sequence[EndpointSlice]
    topology: Topology
    settings: Settings
    policy: ServicePolicy
    targets: Targets

    def protocol(self, port: ServicePort) -> Protocol:
        return self.enrolment.protocols[port.port_host]

    @property
    def flags(self) -> DestinationFlag:
        return DestinationFlag.FAIL_OPEN if self.enrolment.fail_open else DestinationFlag.NONE


def compile_service(
    service: Service,
    slices: Sequence[EndpointSlice],
    namespace: Namespace | None,
    topology: Topology,
    settings: Settings,
    policy: ServicePolicy = NO_POLICY,
    targets: Targets = NO_TARGETS,
) -> ServicePart:
    """Compile one Service with the endpoint slices that belong to it, and the policies for it.

    ``targets`` say which of its endpoints are not reached directly.
    """
    subject = f"Service {service.key}"
    enrolment = enrol_service(service, namespace, settings)
    if not enrolment.captured:
        return ServicePart(subject, findings=enrolment.findings)
    frame = _Frame(service, enrolment, slices, topology, settings, policy, targets)
    ports, port_findings = _tcp_ports(frame)
    virtual: list[Claim] = []
    endpoints: list[Claim] = []
    for field, port in ports:
        if service.kind is ServiceKind.CLUSTER_IP:
            virtual += (
                _claim_address(frame, port, address, field) for address in service.cluster_addresses
            )
        elif service.kind is ServiceKind.HEADLESS:
            endpoints += _claim_endpoints(frame, port, field)
    findings = (*enrolment.findings, *_check_shape(service), *port_findings)
    local_ports = tuple(sorted(_local_ports(frame, [port for _, port in ports])))
    return ServicePart(subject, tuple(virtual), tuple(endpoints), findings, local_ports)


def _tcp_ports(frame: _Frame) -> tuple[list[tuple[str, ServicePort]], list[Finding]]:
    """The ports in force, each with its place in the Service, and what is wrong with the others."""
    subject = f"Service {frame.service.key}"
    ports = []
    findings = []
    seen: set[int] = set()
    for index, port in enumerate(frame.service.ports):
        if port.protocol != "TCP":
            continue
        field = f"spec.ports[{index}]"
        if port.port_host in seen:
            findings.append(
                Finding(
                    DUPLICATE_SERVICE_PORT.id,
                    subject,
                    f"{field}.port",
                    f"TCP port {port.port_host} is listed before",
                    "give each port its own number",
                )
            )
            continue
        seen.add(port.port_host)
        ports.append((field, port))
        if is_unknown_reserved(port.app_protocol) and not frame.protocol(port).is_http:
            findings.append(
                Finding(
                    UNKNOWN_APP_PROTOCOL.id,
                    subject,
                    f"{field}.appProtocol",
                    f"'{port.app_protocol}' is not known; the port is handled as opaque TCP",
                    "use http, grpc, kubernetes.io/h2c, kubernetes.io/ws or tcp",
                    Severity.WARNING,
                )
            )
    return ports, findings


def _check_shape(service: Service) -> list[Finding]:
    subject = f"Service {service.key}"
    if service.kind is ServiceKind.EXTERNAL_NAME:
        return [
            Finding(
                EXTERNAL_NAME.id,
                subject,
                "spec.type",
                f"traffic to {service.external_name or 'its name'} is not captured",
                "use a Service with endpoints if the mesh should carry it",
                Severity.WARNING,
            )
        ]
    if service.kind is ServiceKind.CLUSTER_IP and not service.cluster_addresses:
        return [
            Finding(
                NO_CLUSTER_ADDRESS.id,
                subject,
                "spec.clusterIP",
                "it has no address, so no connection can be recognised as going to it",
                "set spec.clusterIP, or let the cluster assign one",
            )
        ]
    return []


def _claim_address(frame: _Frame, port: ServicePort, address: str, field: str) -> Claim:
    service, settings = frame.service, frame.settings
    version = ip_version(address)
    protocol = frame.protocol(port)
    traffic = settle_traffic(
        settings, service, port, protocol, frame.enrolment.traffic, frame.policy
    )
    by_eds = endpoints_name(service.key, port.port_host, version)
    backends = select_backends(service, port, frame.slices, version)
    groups = rank_backends(service, backends, frame.topology, traffic.locality)
    assignment = compile_endpoints(by_eds, groups, frame.targets, is_http=protocol.is_http)
    name = (
        http_cluster_name(service.key, port.port_host, version)
        if protocol.is_http
        else tcp_cluster_name(address, port.port_host)
    )
    cluster = compile_service_cluster(name, by_eds, by_eds, protocol, traffic, settings)
    resources: tuple[Resource, ...] = (cluster, assignment)
    if protocol.is_http:
        scope = compile_scope(address, port.port_host, by_eds, name, traffic)
        resources = (*resources, scope)
    listener = ProxyListener.SERVICE_HTTP if protocol.is_http else ProxyListener.SERVICE_TCP
    return Claim(
        DestinationKey(address16(address), port.port_host),
        Destination(listener, frame.flags),
        field,
        port.name,
        resources,
    )


def _claim_endpoints(frame: _Frame, port: ServicePort, field: str) -> list[Claim]:
    """Every endpoint, ready or not: which of them DNS hands out is not for the proxy to judge.

    But for pods of other namespaces where policies hold: how they are reached is not for this
    Service to say.
    """
    is_http = frame.protocol(port).is_http
    addresses = {
        (endpoint.addresses[0], target.port_host)
        for part in frame.slices
        for target in part.ports
        if target.name == port.name and target.protocol == port.protocol
        for endpoint in part.endpoints
        if not _is_of_others(frame, endpoint.addresses[0], target.port_host)
    }
    claims = [
        Claim(
            DestinationKey(address16(address), port_host),
            Destination(_pod_listener(frame.targets.get(address), port_host, is_http), frame.flags),
            field,
            port.name,
        )
        for address, port_host in addresses
    ]
    return sorted(claims, key=lambda claim: claim.key)


def _is_of_others(frame: _Frame, address: str, port_host: int) -> bool:
    target = frame.targets.get(address)
    return (
        target is not None
        and target.hops(port_host)
        and target.pod.namespace != frame.service.key.namespace
    )


def _pod_listener(target: Target | None, port_host: int, is_http: bool) -> ProxyListener:
    if target is None or not target.hops(port_host):
        return ProxyListener.POD_HTTP if is_http else ProxyListener.POD_TCP
    if not target.is_local:
        return ProxyListener.POD_MESH
    return ProxyListener.POD_LOCAL_HTTP if is_http else ProxyListener.POD_LOCAL_TCP


def _local_ports(frame: _Frame, ports: Sequence[ServicePort]) -> set[LocalPort]:
    if not frame.targets:
        return set()
    found = set()
    for port in ports:
        is_http = frame.protocol(port).is_http
        for part in frame.slices:
            for of_slice in part.ports:
                if of_slice.name != port.name or of_slice.protocol != port.protocol:
                    continue
                for endpoint in part.endpoints:
                    target = frame.targets.get(endpoint.addresses[0])
                    if target is not None and target.is_local:
                        is_own = target.pod.namespace == frame.service.key.namespace
                        found.add(
                            LocalPort(endpoint.addresses[0], of_slice.port_host, is_http, is_own)
                        )
    return found
