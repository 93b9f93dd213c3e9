"""What became of PeerAuthentications, as far as it can be told without knowing any pod; pure."""

from __future__ import annotations

from collections.abc import Mapping

from culvert.compile.policies import Attachment, Slot, attach_targets, by_age
from culvert.model.codes import POLICY_CONFLICT, POLICY_NOT_IMPLEMENTED
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome, Reason
from culvert.model.policy import PeerAuthentication
from culvert.model.service import Service


def attach_peer_authentications(
    policies: Mapping[ObjectKey, PeerAuthentication], services: Mapping[ObjectKey, Service]
) -> dict[ObjectKey, Attachment]:
    """Which policies are for the very same as an older one, by policy.

    Two of which the one is for some of the other's pods are told apart where the pods are.
    """
    by_slot: dict[Slot, PeerAuthentication] = {}
    by_pods: dict[tuple[str, frozenset[tuple[str, str]] | None], PeerAuthentication] = {}
    attachments = {}
    for policy in sorted(policies.values(), key=by_age):
        if policy.targets:
            attachments[policy.key] = attach_targets(
                "PeerAuthentication", policy, services, by_slot
            )
            continue
        labels = None if policy.selector is None else frozenset(policy.selector.items())
        owner = by_pods.setdefault((policy.namespace, labels), policy)
        attachments[policy.key] = Attachment() if owner is policy else _lost(policy, owner)
    return attachments


def _lost(policy: PeerAuthentication, owner: PeerAuthentication) -> Attachment:
    what = f"namespace {policy.namespace}"
    if policy.selector is not None:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(policy.selector.items()))
        what = f"the selector {labels}"
    why = f"{what} has the older PeerAuthentication {owner.key}"
    finding = Finding(
        POLICY_CONFLICT.id,
        f"PeerAuthentication {policy.key}",
        "" if policy.selector is None else "spec.selector",
        why,
        "put what both say into one of them",
    )
    return Attachment(lost=(why,), findings=(finding,))


def is_accepted(attachment: Attachment) -> bool:
    """Whether a policy can have a say: not everything that it is for has an older one."""
    return bool(attachment.attached) or not attachment.lost


def peer_outcome(
    policy: PeerAuthentication, attachment: Attachment, *, enforced: bool, needed: bool
) -> ObjectOutcome:
    """The verdict on one policy; ``needed``: it has a say in the pods of this node."""
    accepted = is_accepted(attachment)
    lost = "; ".join(attachment.lost)
    return ObjectOutcome(
        kind="PeerAuthentication",
        key=policy.key,
        uid=policy.uid,
        generation=policy.generation,
        accepted=accepted,
        reason=Reason.ACCEPTED if accepted else Reason.CONFLICTED,
        message=lost or ("" if enforced else "valid; not enforced: the mesh has no identities"),
        resolved_refs=not attachment.missing,
        resolved_refs_reason=(
            Reason.TARGET_NOT_FOUND if attachment.missing else Reason.RESOLVED_REFS
        ),
        resolved_refs_message="; ".join(attachment.missing),
        programmed_by_design=enforced,
        carried_by_everything=needed,
    )


def not_enforced(policy: PeerAuthentication) -> Finding:
    """What is said of a policy in a mesh without identities."""
    return Finding(
        POLICY_NOT_IMPLEMENTED.id,
        f"PeerAuthentication {policy.key}",
        "",
        "it is not enforced: the mesh has no identities",
        "give the mesh a certificate authority; until then do not rely on it",
        Severity.WARNING,
    )
