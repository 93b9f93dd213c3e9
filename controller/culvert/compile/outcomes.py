"""What became of each object of ``culvert.dev``: what its owner is told, and what must carry it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from culvert.compile.packing import ENDPOINT_TYPE
from culvert.compile.policies import Attachment, Slot, TrafficAttachments, missing_targets
from culvert.compile.service import Claim
from culvert.compile.strict import StrictPart
from culvert.compile.unreadable import with_unreadable
from culvert.model.codes import POLICY_NOT_IMPLEMENTED, POLICY_WITHOUT_EFFECT
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome, Reason
from culvert.model.policy import MESH_CONFIG_NAME, MeshConfig, Policy, TrafficPolicy
from culvert.model.service import Service, ServiceKind
from culvert.model.world import World

Claims = Mapping[ObjectKey, Sequence[tuple[str, Claim]]]
"""By Service: the name of the port and the claim, for every claim on an address of its own.

A Service that claims nothing, as it is not in the mesh, is not there; one whose claims have all
gone to others is, without any.
"""

_NOT_YET = "valid; the mesh does not enforce it"


def judge(
    world: World,
    attachments: TrafficAttachments,
    claims: Claims,
    strict: StrictPart,
) -> tuple[tuple[ObjectOutcome, ...], tuple[Finding, ...]]:
    """Outcomes in order of kind, namespace and name, and what is wrong with the policies."""
    outcomes: list[ObjectOutcome] = [*strict.outcomes]
    findings: list[Finding] = [*strict.findings]
    kind = "AuthorizationPolicy"
    for _, one in sorted(world.authorization_policies.items()):
        found = missing_targets(kind, one, world.services)
        findings += found.findings
        if world.settings.identity:
            outcomes.append(_enforced(kind, one, found))
        else:
            outcomes.append(_unenforced(kind, one, found))
            findings.append(_not_implemented(kind, one))
    if world.mesh_config is not None:
        outcomes.append(_of_mesh_config(world.mesh_config))
    for key, policy in sorted(world.traffic_policies.items()):
        attachment = attachments.by_policy[key]
        outcome, without_effect = _of_traffic_policy(policy, attachment, world.services, claims)
        outcomes.append(outcome)
        findings += (*attachment.findings, *without_effect)
    ordered = sorted(with_unreadable(outcomes, world.findings), key=lambda one: (one.kind, one.key))
    return tuple(ordered), tuple(findings)


def _of_traffic_policy(
    policy: TrafficPolicy,
    attachment: Attachment,
    services: Mapping[ObjectKey, Service],
    claims: Claims,
) -> tuple[ObjectOutcome, list[Finding]]:
    carried: list[Claim] = []
    idle: list[str] = []
    findings = []
    for slot in attachment.attached:
        of_slot = _claims_of(slot, claims)
        carried += of_slot
        if not of_slot:
            why = _why_without_effect(slot, services, captured=slot[0] in claims)
            idle.append(why)
            findings.append(_without_effect(policy, slot, why))
    accepted = bool(carried) or not (attachment.lost or idle)
    outcome = ObjectOutcome(
        kind="TrafficPolicy",
        key=policy.key,
        uid=policy.uid,
        generation=policy.generation,
        accepted=accepted,
        reason=_reason(attachment, accepted),
        message="; ".join((*attachment.lost, *idle)),
        resolved_refs=not attachment.missing,
        resolved_refs_reason=(
            Reason.TARGET_NOT_FOUND if attachment.missing else Reason.RESOLVED_REFS
        ),
        resolved_refs_message="; ".join(attachment.missing),
        resource_names=_shaped_by(policy, carried),
        destinations=tuple(sorted({claim.key for claim in carried})),
    )
    return outcome, findings


def _claims_of(slot: Slot, claims: Claims) -> list[Claim]:
    service, port_name = slot
    return [claim for name, claim in claims.get(service, ()) if port_name in ("", name)]


def _shaped_by(policy: TrafficPolicy, carried: Iterable[Claim]) -> tuple[tuple[str, str], ...]:
    # Endpoints come and go; only a policy that has a say in them should have to wait for them.
    with_endpoints = policy.traffic.locality is not None
    names = {
        (resource.type_url, resource.name)
        for claim in carried
        for resource in claim.resources
        if with_endpoints or resource.type_url != ENDPOINT_TYPE
    }
    return tuple(sorted(names))


def _reason(attachment: Attachment, accepted: bool) -> str:
    if accepted:
        return Reason.ACCEPTED
    return Reason.CONFLICTED if attachment.lost else Reason.UNSUPPORTED_TARGET


def _why_without_effect(slot: Slot, services: Mapping[ObjectKey, Service], captured: bool) -> str:
    key, port_name = slot
    service = services[key]
    if service.kind is ServiceKind.EXTERNAL_NAME:
        return f"traffic to Service {key.name} is not captured: it is an ExternalName"
    if service.kind is ServiceKind.HEADLESS:
        return f"Service {key.name} is headless: its clients choose the endpoint themselves"
    ports = [port for port in service.ports if port_name in ("", port.name)]
    what = f"port {port_name} of Service {key.name}" if port_name else f"Service {key.name}"
    if all(port.protocol != "TCP" for port in ports):
        return f"{what} has nothing to do with TCP"
    if not service.cluster_addresses:
        return f"Service {key.name} has no cluster IP yet"
    if not captured:
        return f"Service {key.name} is not in the mesh"
    return f"another Service has the address of {what}"


def _without_effect(policy: TrafficPolicy, slot: Slot, why: str) -> Finding:
    names = [(target.name, target.section_name) for target in policy.targets]
    index = names.index((slot[0].name, slot[1]))
    return Finding(
        POLICY_WITHOUT_EFFECT.id,
        f"TrafficPolicy {policy.key}",
        f"spec.targetRefs[{index}]",
        why,
        "name a Service with cluster IPs that is in the mesh",
        Severity.WARNING,
    )


def _enforced(kind: str, policy: Policy, found: Attachment) -> ObjectOutcome:
    return ObjectOutcome(
        kind=kind,
        key=policy.key,
        uid=policy.uid,
        generation=policy.generation,
        resolved_refs=not found.missing,
        resolved_refs_reason=Reason.TARGET_NOT_FOUND if found.missing else Reason.RESOLVED_REFS,
        resolved_refs_message="; ".join(found.missing),
        carried_by_everything=True,
    )


def _unenforced(kind: str, policy: Policy, found: Attachment) -> ObjectOutcome:
    return ObjectOutcome(
        kind=kind,
        key=policy.key,
        uid=policy.uid,
        generation=policy.generation,
        message=_NOT_YET,
        resolved_refs=not found.missing,
        resolved_refs_reason=Reason.TARGET_NOT_FOUND if found.missing else Reason.RESOLVED_REFS,
        resolved_refs_message="; ".join(found.missing),
        programmed_by_design=False,
    )


def _not_implemented(kind: str, policy: Policy) -> Finding:
    return Finding(
        POLICY_NOT_IMPLEMENTED.id,
        f"{kind} {policy.key}",
        "",
        "it is not enforced: the mesh checks it and does nothing more",
        "do not rely on it; its condition Programmed says when it is enforced",
        Severity.WARNING,
    )


def _of_mesh_config(config: MeshConfig) -> ObjectOutcome:
    return ObjectOutcome(
        kind="MeshConfig",
        key=ObjectKey("", MESH_CONFIG_NAME),
        uid=config.uid,
        generation=config.generation,
        carried_by_everything=True,
    )
