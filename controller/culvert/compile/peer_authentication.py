"""How connections to the pods of a node must come: PeerAuthentications against pods; pure.

For a port of a pod the most specific that says something is in force: of the policies for the pod
what they say of the port; what the policy for the pod says of all ports; that of its namespace;
that of the mesh, which is in the mesh's root namespace. Else nothing is said. Of two that are
equally specific the older is in force, then the first by namespace and name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from culvert.compile.policies import by_age
from culvert.model.codes import POLICY_CONFLICT
from culvert.model.endpoint import EndpointSlice
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.policy import MtlsMode, PeerAuthentication, TargetRef
from culvert.model.workload import Workload


@dataclass(frozen=True, slots=True)
class PodModes:
    """The modes of a pod: ``whole`` for every port, in host order, that is not in ``ports``.

    None: nothing is said.
    """

    whole: MtlsMode | None = None
    ports: Mapping[int, MtlsMode] = field(default_factory=dict)

    def of(self, port_host: int) -> MtlsMode | None:
        """The mode of one port."""
        return self.ports.get(port_host, self.whole)


@dataclass(frozen=True, slots=True)
class PeerModes:
    """``pods`` has the modes of every pod that was asked about.

    ``mesh`` is the mode of a pod of which nothing more specific is said.
    ``in_force`` are the policies that have a say in them. ``findings`` name those that have none
    for a pod because of an older one.
    """

    pods: Mapping[ObjectKey, PodModes] = field(default_factory=dict)
    in_force: frozenset[ObjectKey] = frozenset()
    findings: tuple[Finding, ...] = ()
    mesh: MtlsMode | None = None


def peer_modes(
    policies: Mapping[ObjectKey, PeerAuthentication],
    pods: Iterable[Workload],
    slices: Iterable[EndpointSlice],
    root_namespace: str,
) -> PeerModes:
    """Settle the modes of ``pods``. Equal arguments give equal answers, whatever their order."""
    by_namespace: dict[str, list[PeerAuthentication]] = {}
    for policy in sorted(policies.values(), key=by_age):
        by_namespace.setdefault(policy.namespace, []).append(policy)
    of_mesh = _first_general(by_namespace.get(root_namespace, ()))
    backing = _slices_of_targets(policies.values(), slices)
    modes = {}
    in_force: set[ObjectKey] = set()
    findings: set[Finding] = set()
    for pod in pods:
        own = by_namespace.get(pod.namespace, ())
        of_pod = _PodPolicies(pod, own, backing)
        general = [one for one in (_first_general(own), of_mesh) if one is not None]
        modes[pod.key] = of_pod.settle(general)
        in_force |= of_pod.in_force
        findings |= of_pod.findings
    mesh = of_mesh.mode if of_mesh else None
    return PeerModes(modes, frozenset(in_force), tuple(sorted(findings)), mesh)


def _first_general(policies: Iterable[PeerAuthentication]) -> PeerAuthentication | None:
    """The one for all pods of its namespace."""
    return next((one for one in policies if one.selector is None and not one.targets), None)


def _slices_of_targets(
    policies: Iterable[PeerAuthentication], slices: Iterable[EndpointSlice]
) -> Mapping[ObjectKey, Sequence[EndpointSlice]]:
    """The endpoint slices of the Services that policies are for."""
    wanted = {
        ObjectKey(policy.namespace, target.name) for policy in policies for target in policy.targets
    }
    found: dict[ObjectKey, list[EndpointSlice]] = {}
    for part in slices if wanted else ():
        if part.service_key in wanted:
            found.setdefault(part.service_key, []).append(part)
    return found


class _PodPolicies:
    """What the policies of its namespace say of one pod; ``policies`` are the oldest first."""

    def __init__(
        self,
        pod: Workload,
        policies: Iterable[PeerAuthentication],
        backing: Mapping[ObjectKey, Sequence[EndpointSlice]],
    ) -> None:
        self._pod = pod
        self._backing = backing
        self._policies = tuple(policies)
        self.in_force: set[ObjectKey] = set()
        self.findings: set[Finding] = set()

    def settle(self, general: Iterable[PeerAuthentication]) -> PodModes:
        """The pod's modes; ``general`` are the policies of its namespace and of the mesh."""
        winner: PeerAuthentication | None = None
        of_ports: dict[int, list[tuple[PeerAuthentication, MtlsMode]]] = {}
        for policy in self._policies:
            for port_host in self._single_ports(policy):
                mode = policy.port_modes.get(port_host, policy.mode)
                if mode is not None:
                    of_ports.setdefault(port_host, []).append((policy, mode))
            if not self._is_for(policy):
                continue
            if winner is not None:
                self._lost(policy, winner, "all its ports")
                continue
            winner = policy
            for port_host, mode in policy.port_modes.items():
                of_ports.setdefault(port_host, []).append((policy, mode))
        ports = {}
        for port_host, claims in of_ports.items():
            (first, ports[port_host]), *others = claims
            self.in_force.add(first.key)
            for policy, _ in others:
                if policy is not first:
                    self._lost(policy, first, f"port {port_host}")
        return PodModes(self._whole(winner, general), ports)

    def _whole(
        self, winner: PeerAuthentication | None, general: Iterable[PeerAuthentication]
    ) -> MtlsMode | None:
        candidates = [*general] if winner is None else [winner, *general]
        for policy in candidates:
            if policy.mode is not None:
                self.in_force.add(policy.key)
                return policy.mode
        return None

    def _is_for(self, policy: PeerAuthentication) -> bool:
        if policy.selector is not None:
            return policy.selector.items() <= self._pod.labels.items()
        return any(
            not target.section_name and self._parts(policy, target) for target in policy.targets
        )

    def _single_ports(self, policy: PeerAuthentication) -> list[int]:
        """Ports of the pod behind the single ports of Services that the policy is for."""
        return sorted(
            {
                port.port_host
                for target in policy.targets
                if target.section_name
                for part in self._parts(policy, target)
                for port in part.ports
                if port.name == target.section_name
            }
        )

    def _parts(self, policy: PeerAuthentication, target: TargetRef) -> list[EndpointSlice]:
        """The endpoint slices of a target that the pod is in."""
        return [
            part
            for part in self._backing.get(ObjectKey(policy.namespace, target.name), ())
            if any(
                address in self._pod.addresses
                for endpoint in part.endpoints
                for address in endpoint.addresses
            )
        ]

    def _lost(self, policy: PeerAuthentication, to: PeerAuthentication, what: str) -> None:
        self.findings.add(
            Finding(
                POLICY_CONFLICT.id,
                f"PeerAuthentication {policy.key}",
                "spec.selector" if policy.selector is not None else "spec.targetRefs",
                f"some of its pods have the older PeerAuthentication {to.key.name} for {what}",
                "put what both say into one of them",
                Severity.WARNING,
            )
        )
