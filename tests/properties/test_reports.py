"""Whatever is lost, late or forgotten: what was acknowledged last is what the controller knows."""

from __future__ import annotations

from collections.abc import Mapping

from culvert.control.aggregate import Aggregate
from culvert.model.conditions import NodeTally
from culvert.model.report import (
    SILENT_SECONDS,
    NodeReport,
    ObjectId,
    ObjectReport,
    ObjectState,
    ReportedFinding,
)
from culvert.reports.session import NodeState, ReportSession
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

NODES = ("a", "b", "c")
OBJECTS = [ObjectId("TrafficPolicy", "n", name, "u") for name in ("x", "y")]
FINDINGS = [ReportedFinding(code, "s", "", "m", "r") for code in ("CV1", "CV2")]

GENERATION = 2
"""Of all objects in the cluster; nodes may not have seen it yet."""

object_maps = st.dictionaries(
    st.sampled_from(OBJECTS), st.tuples(st.integers(1, GENERATION), st.sampled_from(ObjectState))
)
states = st.builds(
    lambda objects, findings: NodeState(
        {key: ObjectReport(*key, *state) for key, state in objects.items()}, frozenset(findings)
    ),
    object_maps,
    st.sets(st.sampled_from(FINDINGS)),
)
nodes = st.sampled_from(NODES)


def tally_of(known: Mapping[str, NodeState], key: ObjectId) -> NodeTally:
    """The tally by its definition."""
    reports = [state.objects.get(key) for state in known.values()]
    spoken = [one for one in reports if one and one.generation == GENERATION]
    held = [one.state for one in spoken if one.state is not ObjectState.UNNEEDED]
    needed = len(held) and len(held) + len(known) - len(spoken)
    rejected = held.count(ObjectState.REJECTED)
    return NodeTally(needed, held.count(ObjectState.PROGRAMMED), rejected)


class Reporting(RuleBasedStateMachine):
    """Agents and one controller, and a network between them that may fail at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.aggregate = Aggregate(0.0)
        self.sessions = {name: ReportSession(name, f"{name}-0") for name in NODES}
        self.restarts = 0
        # What the controller has taken, with no deltas in between.
        self.known: dict[str, NodeState] = {}
        self.late: list[NodeReport] = []

    @rule(node=nodes, state=states)
    def report_and_be_answered(self, node: str, state: NodeState) -> None:
        session = self.sessions[node]
        if not self.aggregate.take(session.next_report(state), 0.0):
            session.refused(send_full=True)
            assert self.aggregate.take(session.next_report(state), 0.0)
        session.acknowledged()
        self.known[node] = state

    @rule(node=nodes, state=states)
    def report_and_have_it_lost(self, node: str, state: NodeState) -> None:
        self.late.append(self.sessions[node].next_report(state))
        self.sessions[node].unanswered()

    @rule(node=nodes, state=states)
    def report_and_have_its_answer_lost(self, node: str, state: NodeState) -> None:
        if self.aggregate.take(self.sessions[node].next_report(state), 0.0):
            self.known[node] = state
        self.sessions[node].unanswered()

    @rule(node=nodes)
    def restart_agent(self, node: str) -> None:
        self.restarts += 1
        self.sessions[node] = ReportSession(node, f"{node}-{self.restarts}")
        self.late = [report for report in self.late if report.node != node]

    @rule()
    def change_leader(self) -> None:
        self.aggregate = Aggregate(0.0)
        self.known, self.late = {}, []

    @rule(node=nodes)
    def delete_node(self, node: str) -> None:
        self.aggregate.retain_nodes(set(NODES) - {node})
        self.known.pop(node, None)
        self.late = [report for report in self.late if report.node != node]

    @rule(node=nodes, state=states)
    def report_before_those_that_were_lost_arrive(self, node: str, state: NodeState) -> None:
        self.report_and_be_answered(node, state)
        for report in self.late:
            if report.node == node:
                assert self.aggregate.take(report, 0.0)

    @rule()
    def fall_silent(self) -> None:
        self.aggregate.expire(SILENT_SECONDS + 1)
        self.known = {name: NodeState() for name in self.known}
        self.late = []

    @invariant()
    def the_sum_is_that_of_what_was_taken(self) -> None:
        for key in OBJECTS:
            have = self.aggregate.tally(key, GENERATION)
            want = tally_of(self.known, key)
            assert (have.programmed, have.rejected) == (want.programmed, want.rejected)
            assert have.needed == want.needed or not want.needed
        having = {
            finding: sorted(name for name, state in self.known.items() if finding in state.findings)
            for finding in FINDINGS
        }
        assert self.aggregate.findings() == sorted(one for one in FINDINGS if having[one])
        for finding, names in having.items():
            assert self.aggregate.nodes_with(finding, 2) == names[:2]


Reporting.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
TestReporting = Reporting.TestCase


@given(states)
def test_a_session_has_no_news_of_what_was_acknowledged(state: NodeState) -> None:
    session = ReportSession("a", "s")
    session.next_report(state)
    session.acknowledged()
    assert not session.has_news(state)
