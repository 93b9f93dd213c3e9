"""Labels and annotations: what their owners asked of the mesh for a pod or a Service.

========================================  ==================  =====================================
``culvert.dev/mesh`` (label)              enabled, disabled   pods, Services, namespaces; the
                                                              object's own wins over its namespace
``culvert.dev/fail-mode``                 open, closed        pods, Services
``culvert.dev/acceleration``              enabled, disabled   pods
``culvert.dev/exclude-outbound-ports``    80,443              pods
``culvert.dev/exclude-inbound-ports``     80,443              pods
``culvert.dev/exclude-outbound-cidrs``    10.0.0.0/8,fd00::1  pods
========================================  ==================  =====================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_network

from culvert.model.codes import INVALID_MESH_LABEL, UNKNOWN_ANNOTATION
from culvert.model.finding import Finding, Severity
from culvert.model.node import Namespace
from culvert.model.redirect import Address16, address16
from culvert.model.service import Service
from culvert.model.settings import Settings
from culvert.model.workload import Workload

PREFIX = "culvert.dev/"
MESH = PREFIX + "mesh"
FAIL_MODE = PREFIX + "fail-mode"
ACCELERATION = PREFIX + "acceleration"
EXCLUDE_OUTBOUND_PORTS = PREFIX + "exclude-outbound-ports"
EXCLUDE_INBOUND_PORTS = PREFIX + "exclude-inbound-ports"
EXCLUDE_OUTBOUND_CIDRS = PREFIX + "exclude-outbound-cidrs"

_LABELS = (MESH,)
_POD_ANNOTATIONS = (
    FAIL_MODE,
    ACCELERATION,
    EXCLUDE_OUTBOUND_PORTS,
    EXCLUDE_INBOUND_PORTS,
    EXCLUDE_OUTBOUND_CIDRS,
)
_SERVICE_ANNOTATIONS = (FAIL_MODE,)


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
    """What holds for one Service."""

    captured: bool
    fail_open: bool
    findings: tuple[Finding, ...]


def enrol_pod(workload: Workload, namespace: Namespace | None, settings: Settings) -> PodEnrolment:
    """Read a pod's labels and annotations. Each invalid item falls back to its default alone."""
    reader = _Reader(f"Pod {workload.key}", workload.labels, workload.annotations)
    reader.report_unknown(_POD_ANNOTATIONS)
    own = reader.label_choice(MESH, "enabled", "disabled")
    inherited = _namespace_choice(namespace) is True
    return PodEnrolment(
        enrolled=(inherited if own is None else own)
        and not workload.host_network
        and workload.namespace not in settings.excluded_namespaces,
        fail_open=_or_default(reader.choice(FAIL_MODE, "open", "closed"), settings.fail_open),
        accelerated=_or_default(
            reader.choice(ACCELERATION, "enabled", "disabled"), settings.acceleration
        ),
        excluded_outbound_ports=frozenset(reader.ports(EXCLUDE_OUTBOUND_PORTS)),
        excluded_inbound_ports=frozenset(reader.ports(EXCLUDE_INBOUND_PORTS)),
        excluded_cidrs=frozenset(reader.cidrs(EXCLUDE_OUTBOUND_CIDRS)),
        findings=tuple(reader.findings),
    )


def enrol_service(
    service: Service, namespace: Namespace | None, settings: Settings
) -> ServiceEnrolment:
    """Read a Service's labels and annotations.

    Services are captured unless they, or their namespace, say otherwise: it is the client that
    is enrolled.
    """
    reader = _Reader(f"Service {service.key}", service.labels, service.annotations)
    reader.report_unknown(_SERVICE_ANNOTATIONS)
    own = reader.label_choice(MESH, "enabled", "disabled")
    inherited = _namespace_choice(namespace) is not False
    return ServiceEnrolment(
        captured=(inherited if own is None else own)
        and service.namespace not in settings.excluded_namespaces,
        # The settings' default is applied to the pods that connect.
        fail_open=_or_default(reader.choice(FAIL_MODE, "open", "closed"), False),
        findings=tuple(reader.findings),
    )


def check_namespace(namespace: Namespace) -> tuple[Finding, ...]:
    """What is wrong with a namespace's own labels."""
    reader = _Reader(f"Namespace {namespace.name}", namespace.labels, {})
    reader.report_unknown(())
    reader.label_choice(MESH, "enabled", "disabled")
    return tuple(reader.findings)


def _namespace_choice(namespace: Namespace | None) -> bool | None:
    value = namespace.labels.get(MESH) if namespace else None
    return {"enabled": True, "disabled": False}.get(value or "")


def _or_default(value: bool | None, default: bool) -> bool:
    return default if value is None else value


class _Reader:
    """Reads one object's labels and annotations, collecting findings."""

    def __init__(
        self, subject: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> None:
        self.findings: list[Finding] = []
        self._subject = subject
        self._labels = labels
        self._annotations = annotations

    def label_choice(self, name: str, true: str, false: str) -> bool | None:
        return self._choice(f"metadata.labels[{name}]", self._labels.get(name), true, false)

    def choice(self, name: str, true: str, false: str) -> bool | None:
        return self._choice(
            f"metadata.annotations[{name}]", self._annotations.get(name), true, false
        )

    def ports(self, name: str) -> Iterator[int]:
        for item in self._items(name):
            if item.isascii() and item.isdigit() and 0 < int(item) < 65536:
                yield int(item)
            else:
                self._invalid(
                    f"metadata.annotations[{name}]",
                    f"'{item}' is not a port",
                    "write port numbers from 1 to 65535, separated by commas",
                )

    def cidrs(self, name: str) -> Iterator[tuple[Address16, int]]:
        for item in self._items(name):
            try:
                network = ip_network(item, strict=False)
            except ValueError:
                self._invalid(
                    f"metadata.annotations[{name}]",
                    f"'{item}' is not an address or CIDR",
                    "write addresses or CIDRs such as 10.0.0.0/8, separated by commas",
                )
                continue
            mapped_bits = 96 if network.version == 4 else 0
            yield address16(str(network.network_address)), mapped_bits + network.prefixlen

    def report_unknown(self, known_annotations: Iterable[str]) -> None:
        known = tuple(known_annotations)
        for name in sorted(self._annotations):
            if name.startswith(PREFIX) and name not in known:
                remedy = _suggestion(name, known) if name not in _LABELS else "make it a label"
                self._unknown(f"metadata.annotations[{name}]", "annotation", remedy)
        for name in sorted(self._labels):
            if name.startswith(PREFIX) and name not in _LABELS:
                remedy = (
                    _suggestion(name, _LABELS) if name not in known else "make it an annotation"
                )
                self._unknown(f"metadata.labels[{name}]", "label", remedy)

    def _choice(self, field: str, value: str | None, true: str, false: str) -> bool | None:
        if value is None or value in (true, false):
            return None if value is None else value == true
        self._invalid(field, f"'{value}' is not a value of it", f"write {true} or {false}")
        return None

    def _items(self, name: str) -> Iterator[str]:
        for item in self._annotations.get(name, "").split(","):
            if item.strip():
                yield item.strip()

    def _invalid(self, field: str, message: str, remedy: str) -> None:
        self.findings.append(
            Finding(INVALID_MESH_LABEL.id, self._subject, field, message, remedy, Severity.WARNING)
        )

    def _unknown(self, field: str, what: str, remedy: str) -> None:
        self.findings.append(
            Finding(
                UNKNOWN_ANNOTATION.id,
                self._subject,
                field,
                f"this {what} means nothing here",
                remedy,
                Severity.WARNING,
            )
        )


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, tuple(known), n=1)
    return f"did you mean {close[0]}?" if close else "remove it"
