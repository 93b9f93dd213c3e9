from __future__ import annotations

import dataclasses

import pytest
from culvert.model.conditions import NodeTally, conditions
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome

HELD = ObjectOutcome(
    kind="TrafficPolicy",
    key=ObjectKey("shop", "web"),
    generation=3,
    resource_names=(("type", "name"),),
)
CONFLICTED = dataclasses.replace(
    HELD, accepted=False, reason="Conflicted", message="Service web has an older one"
)
UNENFORCED = dataclasses.replace(
    HELD, programmed_by_design=False, message="not yet", resource_names=()
)
IDLE = dataclasses.replace(HELD, resource_names=())


@pytest.mark.parametrize(
    ("outcome", "tally", "status", "reason", "message"),
    [
        (HELD, NodeTally(3, 3), True, "Programmed", "3/3 nodes"),
        (HELD, NodeTally(3, 2), False, "Pending", "2/3 nodes"),
        (HELD, NodeTally(3, 2, 1, "no"), False, "Rejected", "2/3 nodes; no"),
        (HELD, NodeTally(3, 2, 0, "b: silent"), False, "Pending", "2/3 nodes; b: silent"),
        (HELD, NodeTally(), False, "Pending", "no node has reported yet"),
        (IDLE, NodeTally(), False, "NoTarget", "none of its targets exists"),
        (CONFLICTED, NodeTally(3, 3), False, "NotAccepted", "not accepted"),
        (UNENFORCED, NodeTally(3, 3), False, "NotImplemented", "not yet"),
    ],
)
def test_programmed_needs_every_node_and_an_effect(
    outcome: ObjectOutcome, tally: NodeTally, status: bool, reason: str, message: str
) -> None:
    programmed = conditions(outcome, tally)[2]
    assert (programmed.type, programmed.status) == ("Programmed", status)
    assert (programmed.reason, programmed.message) == (reason, message)


def test_conditions_say_which_generation_they_are_about() -> None:
    assert {one.observed_generation for one in conditions(HELD, NodeTally(1, 1))} == {3}


def test_policy_in_conflict_is_not_accepted() -> None:
    accepted, resolved, _ = conditions(CONFLICTED, NodeTally())
    assert (accepted.status, accepted.reason) == (False, "Conflicted")
    assert accepted.message == "Service web has an older one"
    assert resolved.status
