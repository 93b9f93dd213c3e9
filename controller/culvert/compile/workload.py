"""One pod: what it adds to the redirect maps of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from culvert.compile.enrolment import enrol_pod
from culvert.compile.targets import principal_of
from culvert.model.finding import Finding
from culvert.model.node import Namespace
from culvert.model.redirect import (
    ANY_PORT,
    Address16,
    Destination,
    DestinationKey,
    LocalFlag,
    Pod,
    PodFlag,
    ProxyListener,
    address16,
)
from culvert.model.settings import Settings
from culvert.model.workload import Workload

_TO = {listener: Destination(listener) for listener in ProxyListener}


@dataclass(frozen=True, slots=True)
class WorkloadPart:
    """What one pod adds to a node.

    ``addresses`` are those it holds now; ``destinations`` how others reach them; ``subject``, by
    which findings call it, ``cgroup_id``, ``pod`` and ``local`` are set only on the node it runs
    on, the last two only of a pod in the mesh.
    """

    subject: str
    addresses: tuple[Address16, ...] = ()
    destinations: tuple[tuple[DestinationKey, Destination], ...] = ()
    cgroup_id: int | None = None
    pod: tuple[int, Pod] | None = None
    local: tuple[tuple[Address16, LocalFlag], ...] = ()
    findings: tuple[Finding, ...] = ()


def compile_workload(
    workload: Workload,
    namespace: Namespace | None,
    node_name: str,
    cgroup_id: int | None,
    settings: Settings,
    identity_numbers: Mapping[str, int],
) -> WorkloadPart:
    """Compile one pod. Findings about it are left to the node it runs on.

    ``identity_numbers`` are those of ``World``.
    """
    is_local = workload.node == node_name
    subject = f"Pod {workload.key}" if is_local else ""
    enrolment = enrol_pod(workload, namespace, settings)
    findings = enrolment.findings if is_local else ()
    own_cgroup_id = cgroup_id if is_local else None
    if not workload.has_own_addresses:
        return WorkloadPart(subject, cgroup_id=own_cgroup_id, findings=findings)
    addresses = tuple(address16(address) for address in workload.addresses)
    if not enrolment.enrolled:
        return WorkloadPart(subject, addresses, cgroup_id=own_cgroup_id, findings=findings)
    destinations = [
        (DestinationKey(address, port), _TO[listener])
        for address in addresses
        for port, listener in (
            (ANY_PORT, ProxyListener.POD_TCP),
            *((p, ProxyListener.DIRECT) for p in sorted(enrolment.excluded_inbound_ports)),
        )
    ]
    if not is_local:
        return WorkloadPart(subject, addresses, tuple(destinations))
    flags = PodFlag.CAPTURED | (PodFlag.FAIL_OPEN if enrolment.fail_open else PodFlag.NONE)
    pod = Pod(
        flags,
        addresses,
        enrolment.excluded_outbound_ports,
        enrolment.excluded_cidrs,
        _identity_number(workload, settings, identity_numbers),
    )
    local_flag = LocalFlag.ACCELERATED if enrolment.accelerated else LocalFlag.NONE
    return WorkloadPart(
        subject,
        addresses,
        tuple(destinations),
        own_cgroup_id,
        None if own_cgroup_id is None else (own_cgroup_id, pod),
        tuple((address, local_flag) for address in addresses),
        findings,
    )


def _identity_number(
    workload: Workload, settings: Settings, identity_numbers: Mapping[str, int]
) -> int:
    if not identity_numbers:
        return 0
    return identity_numbers.get(principal_of(workload, settings), 0)
