"""Conditions of an object's status (Kubernetes API conventions, "Typical status properties"); pure.

``Accepted`` and ``ResolvedRefs`` follow from the object and the cluster alone. ``Programmed`` is a
matter of nodes: true only when every node that needs the object has said that its proxy has
acknowledged it and its maps hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

from culvert.model.outcome import ObjectOutcome, Reason


@dataclass(frozen=True, slots=True)
class NodeTally:
    """How far the nodes are with one generation of one object.

    ``needed`` nodes have something to hold for it, ``programmed`` of them do, ``rejected`` cannot;
    ``message`` says why the first of these cannot, or what else keeps some from it.
    """

    needed: int = 0
    programmed: int = 0
    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without the time of its last change."""

    type: str
    status: bool
    reason: str
    message: str
    observed_generation: int


def conditions(outcome: ObjectOutcome, tally: NodeTally) -> tuple[Condition, ...]:
    """Return the conditions of an object, always the same three in the same order."""
    programmed, reason, message = _programmed(outcome, tally)
    generation = outcome.generation
    return (
        Condition("Accepted", outcome.accepted, outcome.reason, outcome.message, generation),
        Condition(
            "ResolvedRefs",
            outcome.resolved_refs,
            outcome.resolved_refs_reason,
            outcome.resolved_refs_message,
            generation,
        ),
        Condition("Programmed", programmed, reason, message, generation),
    )


def _programmed(outcome: ObjectOutcome, tally: NodeTally) -> tuple[bool, str, str]:
    if not outcome.accepted:
        return False, Reason.NOT_ACCEPTED, "not accepted"
    if not outcome.programmed_by_design:
        return False, Reason.NOT_IMPLEMENTED, outcome.message
    if not tally.needed:
        if outcome.needed:
            return False, Reason.PENDING, "no node has reported yet"
        return False, Reason.NO_TARGET, "none of its targets exists"
    nodes = f"{tally.programmed}/{tally.needed} nodes"
    if tally.rejected:
        return False, Reason.REJECTED, f"{nodes}; {tally.message}"
    if tally.programmed < tally.needed:
        return False, Reason.PENDING, f"{nodes}; {tally.message}" if tally.message else nodes
    return True, Reason.PROGRAMMED, nodes
