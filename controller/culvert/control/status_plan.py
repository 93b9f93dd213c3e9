"""What an object's status should say, and whether that has to be written; pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from culvert.control.status_object import SeenCondition, StatusObject
from culvert.model.conditions import Condition, NodeTally, conditions
from culvert.model.outcome import ObjectOutcome, Reason

API_VERSION = "culvert.dev/v1alpha1"
MAX_MESSAGE_CHARACTERS = 1024
"""The schemas allow 32,768; nobody reads so much."""


def plan_status(
    seen: StatusObject,
    outcome: ObjectOutcome,
    tally: NodeTally,
    *,
    settled: bool,
    now_rfc3339: str,
) -> dict[str, Any] | None:
    """Return what to apply to the object's status; None where it says so already.

    ``settled``: the nodes have had the time to report to this controller. Until then what is said
    of them about this generation stays, and where nothing is said, the object is not called
    programmed: those that have not reported may need it too. None as well where ``outcome``
    is about another version of the object than ``seen``: one of the two is about to be followed by
    a newer one.
    """
    if outcome.uid and (outcome.uid, outcome.generation) != (seen.uid, seen.generation):
        return None
    wanted = conditions(replace(outcome, generation=seen.generation), tally)
    if not settled:
        wanted = tuple(
            _before_all_reported(one)
            for one in wanted
            if one.type != "Programmed" or _is_unsaid(seen, one)
        )
    written = [_written(seen.condition(one.type), one, now_rfc3339) for one in wanted]
    have = [seen.condition(one.type) for one in wanted]
    if written == have:
        return None
    kept = [one for one in seen.conditions if one.type not in {want.type for want in wanted}]
    metadata = {"name": seen.key.name, "uid": seen.uid}
    if seen.key.namespace:
        metadata["namespace"] = seen.key.namespace
    return {
        "apiVersion": API_VERSION,
        "kind": seen.kind,
        # With its uid: an object made anew under the same name is another, and a conflict.
        "metadata": metadata,
        "status": {
            "conditions": [_body(one) for one in (*written, *kept) if one.type in _OURS],
        },
    }


_OURS = ("Accepted", "ResolvedRefs", "Programmed")


def _is_unsaid(seen: StatusObject, wanted: Condition) -> bool:
    have = seen.condition(wanted.type)
    return have is None or have.observed_generation != seen.generation


def _before_all_reported(wanted: Condition) -> Condition:
    if wanted.type != "Programmed" or not wanted.status:
        return wanted
    message = f"{wanted.message}; waiting for the reports of all others"
    return replace(wanted, status=False, reason=Reason.PENDING, message=message)


def _written(have: SeenCondition | None, want: Condition, now_rfc3339: str) -> SeenCondition:
    status = "True" if want.status else "False"
    unchanged = have is not None and have.status == status
    return SeenCondition(
        type=want.type,
        status=status,
        reason=want.reason,
        message=want.message[:MAX_MESSAGE_CHARACTERS],
        observed_generation=want.observed_generation,
        last_transition_time=have.last_transition_time if have and unchanged else now_rfc3339,
    )


def _body(condition: SeenCondition) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": condition.last_transition_time,
    }
