"""A Service's annotations about its traffic, checked against the Service itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from culvert.compile.annotations import registry
from culvert.compile.annotations.parsed import Problem
from culvert.compile.annotations.reader import Reader
from culvert.compile.annotations.registry import Annotation
from culvert.compile.protocol import Protocol, port_protocol
from culvert.model.codes import ANNOTATION_WITHOUT_EFFECT, INVALID_MESH_LABEL
from culvert.model.service import Service, ServiceKind, ServicePort
from culvert.model.traffic import (
    AffinityKind,
    SessionAffinity,
    TrafficOverrides,
)


def read_protocols(reader: Reader, service: Service) -> Mapping[int, Protocol]:
    """What each TCP port speaks. Where a number is listed twice, the first port counts."""
    asked: Mapping[str, Protocol] = reader.read(registry.PROTOCOL) or {}
    protocols: dict[int, Protocol] = {}
    used = set()
    for port in _tcp_ports(service):
        names = [name for name in (str(port.port_host), port.name) if name in asked]
        used.update(names)
        # By number is the more exact of the two.
        protocols.setdefault(port.port_host, asked[names[0]] if names else port_protocol(port))
    for name in asked:
        if name not in used:
            reader.report(
                INVALID_MESH_LABEL,
                registry.PROTOCOL,
                Problem(
                    f"the Service has no TCP port '{name}'",
                    "write the number or the name of one of its ports",
                ),
            )
    return protocols


def read_traffic(
    reader: Reader, service: Service, protocols: Mapping[int, Protocol]
) -> TrafficOverrides:
    """What the annotations say of traffic, with a finding for what can have no effect."""
    traffic = TrafficOverrides(
        request_timeout_seconds=reader.read(registry.REQUEST_TIMEOUT),
        idle_timeout_seconds=reader.read(registry.IDLE_TIMEOUT),
        connect_timeout_seconds=reader.read(registry.CONNECT_TIMEOUT),
        retry_attempts=reader.read(registry.RETRIES),
        retry_on=reader.read(registry.RETRY_ON),
        per_try_timeout_seconds=reader.read(registry.PER_TRY_TIMEOUT),
        load_balancer=reader.read(registry.LOAD_BALANCING),
        session_affinity=reader.read(registry.SESSION_AFFINITY),
        locality=reader.read(registry.LOCALITY),
        access_log=reader.read(registry.ACCESS_LOG),
    )
    _report_what_has_no_effect(reader, service, protocols, traffic)
    return traffic


def _report_what_has_no_effect(
    reader: Reader,
    service: Service,
    protocols: Mapping[int, Protocol],
    traffic: TrafficOverrides,
) -> None:
    if service.kind is not ServiceKind.CLUSTER_IP:
        problem = Problem(
            f"connections to a Service of kind {service.kind} do not name the Service",
            "give the Service a cluster IP, or remove the annotation",
        )
        for annotation in _present(reader, registry.TRAFFIC):
            reader.report(ANNOTATION_WITHOUT_EFFECT, annotation, problem)
        return
    opaque = sorted(port for port, protocol in protocols.items() if not protocol.is_http)
    if not opaque:
        return
    problem = Problem(
        f"requests are not seen on TCP port {', '.join(map(str, opaque))}",
        f"name HTTP ports in {registry.PROTOCOL.name}, or remove the annotation",
    )
    wants_requests = _present(reader, registry.HTTP_ONLY)
    if traffic.session_affinity and _is_of_requests(traffic.session_affinity):
        wants_requests.append(registry.SESSION_AFFINITY)
    # A Service with both kinds of ports may well mean those that speak HTTP alone.
    if len(opaque) == len(protocols):
        for annotation in wants_requests:
            reader.report(ANNOTATION_WITHOUT_EFFECT, annotation, problem)


def _present(reader: Reader, among: Iterable[Annotation[Any]]) -> list[Annotation[Any]]:
    return [annotation for annotation in among if reader.has(annotation)]


def _is_of_requests(affinity: SessionAffinity) -> bool:
    return affinity.kind in (AffinityKind.COOKIE, AffinityKind.HEADER)


def _tcp_ports(service: Service) -> Iterator[ServicePort]:
    return (port for port in service.ports if port.protocol == "TCP")
