from __future__ import annotations

import pytest
from culvert.control import aggregate as aggregate_module
from culvert.control import reported_findings
from culvert.control.aggregate import SETTLING_SECONDS, Aggregate, Changes
from culvert.model.conditions import NodeTally
from culvert.model.report import (
    SILENT_SECONDS,
    NodeReport,
    ObjectId,
    ObjectReport,
    ObjectState,
    ReportedFinding,
)

PENDING, PROGRAMMED = ObjectState.PENDING, ObjectState.PROGRAMMED
REJECTED, UNNEEDED = ObjectState.REJECTED, ObjectState.UNNEEDED
WEB = ObjectId("TrafficPolicy", "shop", "web", "uid-1")
WRONG = ReportedFinding("CV1", "Service shop/web", "spec", "wrong", "mend it")


def web(how: ObjectState, generation: int = 1, message: str = "") -> ObjectReport:
    return ObjectReport(*WEB, generation, how, message)


def full(
    node: str, *objects: ObjectReport, findings: tuple[ReportedFinding, ...] = ()
) -> NodeReport:
    return NodeReport(node=node, session_id=node, sequence=1, objects=objects, findings=findings)


def aggregate_of(*reports: NodeReport) -> Aggregate:
    aggregate = Aggregate(0.0)
    for report in reports:
        assert aggregate.take(report, 0.0)
    return aggregate


def test_programmed_counts_nodes_that_need_it_and_leaves_out_those_that_do_not() -> None:
    aggregate = aggregate_of(
        full("a", web(PROGRAMMED)), full("b", web(PENDING)), full("c", web(UNNEEDED))
    )
    assert aggregate.tally(WEB, 1) == NodeTally(needed=2, programmed=1)


def test_node_that_has_not_heard_of_the_object_yet_counts_as_one_that_needs_it() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED)), full("b"))
    assert aggregate.tally(WEB, 1) == NodeTally(needed=2, programmed=1)


def test_object_that_no_node_needs_is_needed_by_none_though_some_have_not_spoken() -> None:
    aggregate = aggregate_of(full("a", web(UNNEEDED)), full("b"))
    assert aggregate.tally(WEB, 1) == NodeTally()


def test_what_was_said_of_an_older_generation_does_not_count_for_the_new_one() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED, 2)), full("b", web(PROGRAMMED, 1)))
    assert aggregate.tally(WEB, 2) == NodeTally(needed=2, programmed=1)
    aggregate = aggregate_of(full("b", web(PROGRAMMED, 1)), full("a", web(PROGRAMMED, 2)))
    assert aggregate.tally(WEB, 2) == NodeTally(needed=2, programmed=1)


@pytest.mark.parametrize("asked", [1, 3])
def test_generation_other_than_the_nodes_has_is_programmed_nowhere(asked: int) -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED, 2)))
    assert aggregate.tally(WEB, asked) == NodeTally(needed=1)


def test_object_made_anew_under_its_name_is_another() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED)))
    assert aggregate.tally(WEB._replace(uid="uid-2"), 1) == NodeTally()


def test_rejection_names_the_first_node_and_its_reason_until_that_is_over() -> None:
    aggregate = aggregate_of(
        full("b", web(REJECTED, message="bad route")), full("a", web(REJECTED, message="worse"))
    )
    assert aggregate.tally(WEB, 1) == NodeTally(2, 0, 2, "b: bad route")
    delta = NodeReport(node="b", session_id="b", sequence=2, base=1, objects=(web(PROGRAMMED),))
    assert aggregate.take(delta, 0.0)
    assert aggregate.tally(WEB, 1) == NodeTally(2, 1, 1, "a: worse")


def test_delta_of_an_unknown_node_session_or_base_is_not_taken() -> None:
    aggregate = aggregate_of(full("a", web(PENDING)))
    for report in (
        NodeReport(node="b", session_id="b", sequence=2, base=1),
        NodeReport(node="a", session_id="another", sequence=2, base=1),
        NodeReport(node="a", session_id="a", sequence=4, base=2),
    ):
        assert not aggregate.take(report, 0.0)


def test_delta_that_comes_after_one_that_was_lost_is_taken() -> None:
    aggregate = aggregate_of(full("a", web(PENDING)))
    delta = NodeReport(node="a", session_id="a", sequence=3, base=1, objects=(web(PROGRAMMED),))
    assert aggregate.take(delta, 0.0)
    assert aggregate.tally(WEB, 1) == NodeTally(1, 1)


def test_report_that_was_overtaken_changes_nothing() -> None:
    aggregate = aggregate_of(full("a", web(PENDING)))
    later = NodeReport(node="a", session_id="a", sequence=3, base=1, objects=(web(PROGRAMMED),))
    aggregate.take(later, 0.0)
    earlier = NodeReport(node="a", session_id="a", sequence=2, base=1, removed=(WEB,))
    assert aggregate.take(earlier, 0.0)
    assert aggregate.tally(WEB, 1) == NodeTally(1, 1)


def test_full_report_of_a_restarted_agent_replaces_what_the_node_said() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED), findings=(WRONG,)))
    aggregate.take(NodeReport(node="a", session_id="new", sequence=1), 0.0)
    assert aggregate.tally(WEB, 1) == NodeTally()
    assert aggregate.findings() == []
    assert aggregate.object_count == 0


def test_full_report_that_says_the_same_changes_nothing() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED), findings=(WRONG,)))
    aggregate.drain_changes()
    again = NodeReport(
        node="a", session_id="new", sequence=1, objects=(web(PROGRAMMED),), findings=(WRONG,)
    )
    aggregate.take(again, 0.0)
    assert aggregate.drain_changes() == Changes()


def test_silent_node_is_unknown_not_programmed_and_has_to_say_everything_again() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED), findings=(WRONG,)), full("b"))
    aggregate.take(
        NodeReport(node="b", session_id="b", sequence=2, base=1, objects=(web(PROGRAMMED),)),
        SILENT_SECONDS,
    )
    aggregate.drain_changes()
    aggregate.expire(SILENT_SECONDS + 1)
    assert aggregate.silent_nodes() == ["a"]
    assert aggregate.tally(WEB, 1) == NodeTally(2, 1, 0, "a: no report for 200 s")
    assert aggregate.drain_changes() == Changes(frozenset({WEB}), findings=True)
    heartbeat = NodeReport(node="a", session_id="a", sequence=2, base=1)
    assert not aggregate.take(heartbeat, SILENT_SECONDS + 2)
    again = NodeReport(node="a", session_id="a", sequence=3, objects=(web(PROGRAMMED),))
    assert aggregate.take(again, SILENT_SECONDS + 3)
    assert aggregate.tally(WEB, 1) == NodeTally(2, 2)


def test_however_many_nodes_fall_silent_at_once_all_are_found_in_the_end() -> None:
    names = [f"node-{number}" for number in range(500)]
    aggregate = aggregate_of(*(full(name, web(PROGRAMMED)) for name in names))
    for _ in range(5):
        aggregate.expire(SILENT_SECONDS + 1)
    assert aggregate.silent_nodes() == sorted(names)
    assert aggregate.object_count == 0


def test_node_that_left_the_cluster_counts_no_more_and_its_place_is_given_away_clean() -> None:
    aggregate = aggregate_of(full("a", web(PROGRAMMED), findings=(WRONG,)), full("b", web(PENDING)))
    aggregate.retain_nodes({"b"})
    assert aggregate.tally(WEB, 1) == NodeTally(1, 0)
    assert aggregate.findings() == []
    aggregate.take(full("c"), 0.0)
    assert aggregate.tally(WEB, 1) == NodeTally(2, 0)
    assert not aggregate.take(NodeReport(node="a", session_id="a", sequence=2, base=1), 0.0)


def test_finding_is_told_once_and_its_nodes_by_name_in_whatever_order_they_report() -> None:
    aggregate = aggregate_of(*(full(name, findings=(WRONG,)) for name in "bca"), full("d"))
    assert aggregate.findings() == [WRONG]
    assert aggregate.nodes_with(WRONG, 2) == ["a", "b"]
    assert aggregate.nodes_with(WRONG, 9) == ["a", "b", "c"]
    resolved = NodeReport(node="a", session_id="a", sequence=2, base=1, resolved=(WRONG,))
    aggregate.take(resolved, 0.0)
    assert aggregate.nodes_with(WRONG, 2) == ["b", "c"]


def test_changes_are_those_since_one_last_asked() -> None:
    aggregate = aggregate_of(full("a", web(PENDING), findings=(WRONG,)))
    assert aggregate.drain_changes() == Changes(frozenset({WEB}), findings=True)
    assert aggregate.drain_changes() == Changes()
    aggregate.take(full("b"), 0.0)
    assert aggregate.drain_changes() == Changes(frozenset({WEB}))
    aggregate.take(full("c", findings=(WRONG,)), 0.0)
    assert aggregate.drain_changes().findings, "it may have to be told on another node"


def test_counting_is_settled_once_every_node_of_the_cluster_or_its_time_has_come() -> None:
    aggregate = aggregate_of(full("a"))
    assert not aggregate.is_settled(0.0)
    aggregate.retain_nodes({"a", "b"})
    assert not aggregate.is_settled(0.0)
    assert aggregate.is_settled(SETTLING_SECONDS)
    aggregate.take(full("b"), 0.0)
    assert aggregate.is_settled(0.0)


def test_objects_and_findings_that_one_node_makes_up_have_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aggregate_module, "MAX_OBJECTS", 2)
    monkeypatch.setattr(reported_findings, "MAX_FINDINGS", 1)
    objects = tuple(
        ObjectReport("TrafficPolicy", "n", str(number), "u", 1, PENDING) for number in range(5)
    )
    findings = tuple(ReportedFinding(str(number), "s", "", "m", "r") for number in range(5))
    aggregate = aggregate_of(full("a", *objects, findings=findings))
    assert (aggregate.object_count, aggregate.objects_ignored) == (2, 3)
    assert (len(aggregate.findings()), aggregate.findings_ignored) == (1, 4)
