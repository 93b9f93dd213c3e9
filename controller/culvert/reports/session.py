"""What to report next; pure.

After its first report a node says only what has changed. A report that was not answered may have
been taken or not. What it was about is in doubt until a later report is acknowledged, and each of
those says it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from culvert.model.report import NodeReport, ObjectId, ObjectReport, ReportedFinding


@dataclass(frozen=True, slots=True)
class NodeState:
    """Everything a node has to say at one moment."""

    objects: Mapping[ObjectId, ObjectReport] = field(default_factory=lambda: MappingProxyType({}))
    findings: frozenset[ReportedFinding] = frozenset()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A report on its way, and the state that it brings the controller to."""

    report: NodeReport
    state: NodeState


class ReportSession:
    """One run of an agent, as far as reports go.

    One report is on its way at a time: ``next_report`` gives it, and one of ``acknowledged``,
    ``refused`` and ``unanswered`` says what became of it.
    """

    def __init__(self, node: str, session_id: str) -> None:
        self._node = node
        self._session_id = session_id
        self._sequence = 0
        self._base = 0
        self._known = NodeState()
        self._doubtful_objects: frozenset[ObjectId] = frozenset()
        self._doubtful_findings: frozenset[ReportedFinding] = frozenset()
        self._sent: _Sent | None = None

    def has_news(self, state: NodeState) -> bool:
        """Whether a report of ``state`` would say anything."""
        if self._base == 0 or self._doubtful_objects or self._doubtful_findings:
            return True
        return state.objects != self._known.objects or state.findings != self._known.findings

    def next_report(self, state: NodeState) -> NodeReport:
        """Return the report that brings the controller to ``state``; empty where it is there."""
        assert self._sent is None, "one at a time"
        self._sequence += 1
        report = self._delta(state) if self._base else self._full(state)
        self._sent = _Sent(report, state)
        return report

    def acknowledged(self) -> None:
        """The controller has taken the report."""
        sent = self._take_sent()
        self._base = sent.report.sequence
        self._known = sent.state
        self._doubtful_objects = frozenset()
        self._doubtful_findings = frozenset()

    def refused(self, *, send_full: bool = False) -> None:
        """The controller has not taken it; with ``send_full`` as it knows nothing to add it to."""
        self._take_sent()
        if send_full:
            self._base = 0

    def unanswered(self) -> None:
        """Nobody knows whether the controller has taken it."""
        report = self._take_sent().report
        self._doubtful_objects |= {one.id for one in report.objects}.union(report.removed)
        self._doubtful_findings |= {*report.findings, *report.resolved}

    def _take_sent(self) -> _Sent:
        assert self._sent is not None, "nothing is on its way"
        sent, self._sent = self._sent, None
        return sent

    def _full(self, state: NodeState) -> NodeReport:
        return NodeReport(
            node=self._node,
            session_id=self._session_id,
            sequence=self._sequence,
            objects=tuple(state.objects.values()),
            findings=tuple(sorted(state.findings)),
        )

    def _delta(self, state: NodeState) -> NodeReport:
        objects, known = state.objects, self._known
        doubtful_findings = self._doubtful_findings
        return NodeReport(
            node=self._node,
            session_id=self._session_id,
            sequence=self._sequence,
            base=self._base,
            objects=tuple(
                report
                for key, report in objects.items()
                if known.objects.get(key) != report or key in self._doubtful_objects
            ),
            removed=tuple(sorted((known.objects.keys() | self._doubtful_objects) - objects.keys())),
            findings=tuple(sorted(state.findings - (known.findings - doubtful_findings))),
            resolved=tuple(sorted((known.findings | doubtful_findings) - state.findings)),
        )
