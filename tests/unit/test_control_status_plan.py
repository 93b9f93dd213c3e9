from __future__ import annotations

from dataclasses import replace
from typing import Any

from culvert.control.status_object import SeenCondition, StatusObject
from culvert.control.status_plan import MAX_MESSAGE_CHARACTERS, plan_status
from culvert.model.conditions import NodeTally
from culvert.model.key import ObjectKey
from culvert.model.outcome import ObjectOutcome

KEY = ObjectKey("shop", "slow")
NEW = StatusObject("TrafficPolicy", KEY, "u1", 1, ())
OUTCOME = ObjectOutcome("TrafficPolicy", KEY, "u1", 1, resource_names=(("type", "name"),))
BEFORE, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
ALL, SOME = NodeTally(3, 3), NodeTally(3, 2)


def plan(
    seen: StatusObject,
    tally: NodeTally,
    outcome: ObjectOutcome = OUTCOME,
    *,
    settled: bool = True,
    now: str = NOW,
) -> dict[str, Any] | None:
    return plan_status(seen, outcome, tally, settled=settled, now_rfc3339=now)


def applied(seen: StatusObject, body: dict[str, Any] | None) -> StatusObject:
    """The object after the write."""
    assert body is not None
    read = [
        SeenCondition(
            one["type"],
            one["status"],
            one["reason"],
            one["message"],
            one["observedGeneration"],
            one["lastTransitionTime"],
        )
        for one in body["status"]["conditions"]
    ]
    return replace(seen, conditions=tuple(read))


def written(tally: NodeTally = ALL) -> StatusObject:
    return applied(NEW, plan(NEW, tally, now=BEFORE))


def condition(body: dict[str, Any] | None, type_: str) -> dict[str, Any]:
    assert body is not None
    return next(one for one in body["status"]["conditions"] if one["type"] == type_)


def types(body: dict[str, Any] | None) -> list[str]:
    assert body is not None
    return [one["type"] for one in body["status"]["conditions"]]


def test_new_object_gets_every_condition_and_is_named_by_its_uid() -> None:
    body = plan(NEW, ALL)
    assert types(body) == ["Accepted", "ResolvedRefs", "Programmed"]
    assert body is not None
    assert body["metadata"] == {"name": "slow", "namespace": "shop", "uid": "u1"}
    assert condition(body, "Programmed")["message"] == "3/3 nodes"


def test_object_of_the_cluster_is_written_without_a_namespace() -> None:
    key = ObjectKey("", "default")
    seen = StatusObject("MeshConfig", key, "u1", 1, ())
    body = plan(seen, ALL, replace(OUTCOME, kind="MeshConfig", key=key))
    assert body is not None
    assert body["metadata"] == {"name": "default", "uid": "u1"}


def test_status_that_says_so_already_is_not_written() -> None:
    assert plan(written(), ALL) is None


def test_time_of_a_condition_is_that_of_its_last_change_of_status() -> None:
    body = plan(written(NodeTally(3, 1)), SOME)
    assert condition(body, "Programmed")["lastTransitionTime"] == BEFORE, "another count alone"
    body = plan(written(SOME), ALL)
    assert condition(body, "Programmed")["lastTransitionTime"] == NOW
    assert condition(body, "Accepted")["lastTransitionTime"] == BEFORE


def test_verdict_on_another_version_of_the_object_says_nothing() -> None:
    assert plan(replace(NEW, generation=2), ALL) is None
    assert plan(replace(NEW, uid="u2"), ALL) is None


def test_object_that_cannot_be_read_is_told_about_its_present_version() -> None:
    unread = ObjectOutcome("TrafficPolicy", KEY, accepted=False, reason="Invalid", message="no")
    body = plan(replace(NEW, generation=7), NodeTally(), unread)
    assert condition(body, "Accepted")["status"] == "False"
    assert condition(body, "Accepted")["observedGeneration"] == 7


def test_new_leader_takes_back_nothing_that_was_said_of_this_generation() -> None:
    assert plan(written(), NodeTally(), settled=False) is None
    body = plan(written(), NodeTally(), replace(OUTCOME, message="different"), settled=False)
    assert types(body) == ["Accepted", "ResolvedRefs", "Programmed"]
    assert condition(body, "Programmed")["status"] == "True"


def test_new_leader_does_not_leave_an_older_generation_programmed() -> None:
    seen = replace(written(), generation=2)
    body = plan(seen, NodeTally(), replace(OUTCOME, generation=2), settled=False)
    assert condition(body, "Programmed")["status"] == "False"
    assert condition(body, "Programmed")["observedGeneration"] == 2


def test_new_leader_says_programmed_of_nothing_before_it_has_heard_the_nodes() -> None:
    for seen in (NEW, replace(written(), generation=2)):
        outcome = replace(OUTCOME, generation=seen.generation)
        body = plan(seen, NodeTally(1, 1), outcome, settled=False)
        programmed = condition(body, "Programmed")
        assert (programmed["status"], programmed["reason"]) == ("False", "Pending")
        assert programmed["message"] == "1/1 nodes; waiting for the reports of all others"
        assert condition(body, "Accepted")["status"] == "True"
        told = applied(seen, body)
        assert plan(told, NodeTally(2, 2), outcome, settled=False) is None
        assert condition(plan(told, ALL, outcome), "Programmed")["status"] == "True"


def test_new_leader_tells_at_once_why_an_object_is_not_programmed() -> None:
    rejected = condition(plan(NEW, NodeTally(1, 0, 1, "a: no"), settled=False), "Programmed")
    assert (rejected["reason"], rejected["message"]) == ("Rejected", "0/1 nodes; a: no")


def test_conditions_of_others_are_left_to_them() -> None:
    seen = replace(NEW, conditions=(SeenCondition("Theirs", "True"),))
    assert "Theirs" not in types(plan(seen, ALL))


def test_long_message_is_cut_and_not_written_again_and_again() -> None:
    long = NodeTally(1, 0, 1, "x" * 5000)
    body = plan(NEW, long)
    assert len(condition(body, "Programmed")["message"]) == MAX_MESSAGE_CHARACTERS
    assert plan(applied(NEW, body), long) is None
