"""Who takes part: what the labels and annotations of a pod or a Service come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from culvert.compile.annotations import registry
from culvert.compile.annotations.reader import Reader
from culvert.compile.annotations.registry import On
from culvert.compile.annotations.service import read_protocols, read_traffic
from culvert.compile.protocol import Protocol
from culvert.model.finding import Finding
from culvert.model.node import Namespace
from culvert.model.redirect import Address16
from culvert.model.service import Service
from culvert.model.settings import Settings
from culvert.model.traffic import TrafficOverrides
from culvert.model.workload import Workload


@dataclass(frozen=True, slots=True)
class PodEnrolment:
    """What holds for one pod.

    ``excluded_cidrs`` holds (network address, prefix length in bits of the 128-bit form).
    """

    enrolled: bool
    fail_open: bool
    accelerated: bool
    excluded_outbound_ports: frozenset[int]
    excluded_inbound_ports: frozenset[int]
    excluded_cidrs: frozenset[tuple[Address16, int]]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ServiceEnrolment:
    """What holds for one Service.

    ``protocols`` maps a port's number to what it speaks, for every TCP port; ``traffic`` is what
    its annotations say.
    """

    captured: bool
    fail_open: bool
    protocols: Mapping[int, Protocol]
    traffic: TrafficOverrides
    findings: tuple[Finding, ...]


def enrol_pod(workload: Workload, namespace: Namespace | None, settings: Settings) -> PodEnrolment:
    """Read a pod's labels and annotations. Each invalid item falls back to its default alone."""
    reader = Reader(On.POD, str(workload.key), workload.labels, workload.annotations)
    own = reader.read(registry.MESH)
    inherited = _namespace_choice(namespace) is True
    return PodEnrolment(
        enrolled=(inherited if own is None else own)
        and not workload.host_network
        and workload.namespace not in settings.excluded_namespaces,
        fail_open=_or_default(reader.read(registry.FAIL_MODE), settings.fail_open),
        accelerated=_or_default(reader.read(registry.ACCELERATION), settings.acceleration)
        and settings.acceleration_allowed,
        excluded_outbound_ports=reader.read(registry.EXCLUDE_OUTBOUND_PORTS) or frozenset(),
        excluded_inbound_ports=reader.read(registry.EXCLUDE_INBOUND_PORTS) or frozenset(),
        excluded_cidrs=reader.read(registry.EXCLUDE_OUTBOUND_CIDRS) or frozenset(),
        findings=tuple(reader.findings),
    )


def enrol_service(
    service: Service, namespace: Namespace | None, settings: Settings
) -> ServiceEnrolment:
    """Read a Service's labels and annotations.

    Services are captured unless they, or their namespace, say otherwise: it is the client that
    is enrolled.
    """
    reader = Reader(On.SERVICE, str(service.key), service.labels, service.annotations)
    own = reader.read(registry.MESH)
    inherited = _namespace_choice(namespace) is not False
    protocols = read_protocols(reader, service)
    return ServiceEnrolment(
        captured=(inherited if own is None else own)
        and service.namespace not in settings.excluded_namespaces,
        # The settings' default is applied to the pods that connect.
        fail_open=_or_default(reader.read(registry.FAIL_MODE), False),
        protocols=protocols,
        traffic=read_traffic(reader, service, protocols),
        findings=tuple(reader.findings),
    )


def check_namespace(namespace: Namespace) -> tuple[Finding, ...]:
    """What is wrong with a namespace's own labels."""
    reader = Reader(On.NAMESPACE, namespace.name, namespace.labels, {})
    reader.read(registry.MESH)
    return tuple(reader.findings)


def _namespace_choice(namespace: Namespace | None) -> bool | None:
    text = namespace.labels.get(registry.MESH.name) if namespace else None
    return None if text is None else registry.MESH.parse(text).value


def _or_default(value: bool | None, default: bool) -> bool:
    return default if value is None else value
