"""Which policy is in force where.

A policy names its targets in its own namespace (GEP-713, direct attachment). Where two of a kind
name the same one, the older is in force, then the first by namespace and name; a policy for a port
goes over one for the whole Service without being in conflict with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from culvert.compile.traffic import NO_POLICY, ServicePolicy
from culvert.model.codes import POLICY_CONFLICT, POLICY_TARGET_NOT_FOUND
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.policy import Policy, TargetRef, TrafficPolicy
from culvert.model.service import Service
from culvert.model.traffic import NOTHING_SAID, TrafficOverrides

PolicyT = TypeVar("PolicyT", bound=Policy)

Slot = tuple[ObjectKey, str]
"""A Service, and the name of one of its ports; empty for the Service as a whole."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What became of one policy's targets.

    ``attached`` are those that it is in force for, ``missing`` say of each other why it does not
    exist, ``lost`` of each that belongs to another policy to which.
    """

    attached: tuple[Slot, ...] = ()
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficAttachments:
    """All TrafficPolicies against all Services."""

    by_service: Mapping[ObjectKey, ServicePolicy] = field(default_factory=dict)
    by_policy: Mapping[ObjectKey, Attachment] = field(default_factory=dict)

    def of(self, service: ObjectKey) -> ServicePolicy:
        """What holds for one Service."""
        return self.by_service.get(service, NO_POLICY)


def attach_traffic_policies(
    policies: Mapping[ObjectKey, TrafficPolicy], services: Mapping[ObjectKey, Service]
) -> TrafficAttachments:
    """Settle who is in force where. Equal arguments give equal answers, whatever their order."""
    if not policies:
        return TrafficAttachments()
    owners: dict[Slot, TrafficPolicy] = {}
    by_policy = {}
    for policy in sorted(policies.values(), key=by_age):
        by_policy[policy.key] = attach_targets("TrafficPolicy", policy, services, owners)
    whole: dict[ObjectKey, TrafficOverrides] = {}
    of_ports: dict[ObjectKey, dict[str, TrafficOverrides]] = {}
    for (service, port_name), policy in sorted(owners.items(), key=lambda item: item[0]):
        if port_name:
            of_ports.setdefault(service, {})[port_name] = policy.traffic
        else:
            whole[service] = policy.traffic
    by_service = {
        service: ServicePolicy(whole.get(service, NOTHING_SAID), of_ports.get(service, {}))
        for service in sorted({*whole, *of_ports})
    }
    return TrafficAttachments(by_service, by_policy)


def missing_targets(kind: str, policy: Policy, services: Mapping[ObjectKey, Service]) -> Attachment:
    """The targets of a policy of which several may be for the same target."""
    attached, missing, findings = [], [], []
    for index, target in enumerate(policy.targets):
        problem = _problem(policy, target, services)
        if problem:
            missing.append(problem)
            findings.append(_not_found(kind, policy, index, problem))
        else:
            attached.append((ObjectKey(policy.namespace, target.name), target.section_name))
    return Attachment(tuple(attached), tuple(missing), (), tuple(findings))


def attach_targets(
    kind: str,
    policy: PolicyT,
    services: Mapping[ObjectKey, Service],
    owners: dict[Slot, PolicyT],
) -> Attachment:
    """The targets of a policy of which only one may be for a target; takes those without an owner.

    Call it for the policies of a kind in order of ``by_age``.
    """
    attached: list[Slot] = []
    missing: list[str] = []
    lost: list[str] = []
    findings: list[Finding] = []
    for index, target in enumerate(policy.targets):
        problem = _problem(policy, target, services)
        if problem:
            missing.append(problem)
            findings.append(_not_found(kind, policy, index, problem))
            continue
        slot = (ObjectKey(policy.namespace, target.name), target.section_name)
        owner = owners.setdefault(slot, policy)
        if owner is policy:
            attached.append(slot)
            continue
        why = f"{_described(target)} has the older {kind} {owner.key}"
        lost.append(why)
        findings.append(
            Finding(
                POLICY_CONFLICT.id,
                f"{kind} {policy.key}",
                f"spec.targetRefs[{index}]",
                why,
                "put what both say into one of them",
            )
        )
    return Attachment(tuple(attached), tuple(missing), tuple(lost), tuple(findings))


def _problem(policy: Policy, target: TargetRef, services: Mapping[ObjectKey, Service]) -> str:
    """Why a target does not exist; empty where it does."""
    service = services.get(ObjectKey(policy.namespace, target.name))
    if service is None:
        return f"there is no Service {target.name} in namespace {policy.namespace}"
    if target.section_name and all(port.name != target.section_name for port in service.ports):
        return f"Service {target.name} has no port called {target.section_name}"
    return ""


def _not_found(kind: str, policy: Policy, index: int, problem: str) -> Finding:
    return Finding(
        POLICY_TARGET_NOT_FOUND.id,
        f"{kind} {policy.key}",
        f"spec.targetRefs[{index}]",
        problem,
        "create it, or correct the reference",
        Severity.WARNING,
    )


def _described(target: TargetRef) -> str:
    where = f"Service {target.name}"
    return f"port {target.section_name} of {where}" if target.section_name else where


def by_age(policy: Policy) -> tuple[int, ObjectKey]:
    """Sorts policies in the order of who is in force: the oldest first, then by name."""
    return policy.created_seconds, policy.key
