from __future__ import annotations

from culvert.model.report import NodeReport, ObjectReport, ObjectState, ReportedFinding
from culvert.reports.session import NodeState, ReportSession

PENDING, PROGRAMMED = ObjectState.PENDING, ObjectState.PROGRAMMED


def finding(code: str) -> ReportedFinding:
    return ReportedFinding(code, "Service shop/web", "spec", "wrong", "mend it")


def state(*findings: str, **objects: ObjectState) -> NodeState:
    reports = [
        ObjectReport("TrafficPolicy", "shop", name, f"uid-{name}", 1, how)
        for name, how in objects.items()
    ]
    return NodeState({one.id: one for one in reports}, frozenset(map(finding, findings)))


def said(report: NodeReport) -> dict[str, list[str]]:
    """What a report says, by names alone."""
    parts = {
        "objects": [f"{one.name} {one.state}" for one in report.objects],
        "removed": [one.name for one in report.removed],
        "findings": [one.code for one in report.findings],
        "resolved": [one.code for one in report.resolved],
    }
    return {name: part for name, part in parts.items() if part}


def session_that_said(known: NodeState) -> ReportSession:
    session = ReportSession("node-a", "s")
    session.next_report(known)
    session.acknowledged()
    return session


def test_first_report_is_full_even_with_nothing_to_say() -> None:
    session = ReportSession("node-a", "s")
    assert session.has_news(NodeState())
    report = session.next_report(NodeState())
    assert report.full
    assert said(report) == {}


def test_later_reports_say_only_what_changed() -> None:
    session = session_that_said(state("CV1", "CV2", a=PENDING, b=PROGRAMMED, c=PROGRAMMED))
    report = session.next_report(state("CV2", "CV3", a=PROGRAMMED, b=PROGRAMMED, d=PENDING))
    assert not report.full
    assert said(report) == {
        "objects": ["a programmed", "d pending"],
        "removed": ["c"],
        "findings": ["CV3"],
        "resolved": ["CV1"],
    }


def test_what_is_known_is_no_news_and_a_heartbeat_is_empty() -> None:
    known = state("CV1", a=PENDING)
    session = session_that_said(known)
    assert not session.has_news(state("CV1", a=PENDING))
    assert said(session.next_report(known)) == {}


def test_unanswered_report_leaves_what_it_said_in_doubt_until_the_next_acknowledgement() -> None:
    before = state("CV1", a=PENDING, b=PENDING)
    session = session_that_said(before)
    session.next_report(state("CV2", a=PROGRAMMED, c=PENDING, b=PENDING))
    session.unanswered()
    assert session.has_news(before)
    report = session.next_report(before)
    assert said(report) == {
        "objects": ["a pending"],
        "removed": ["c"],
        "findings": ["CV1"],
        "resolved": ["CV2"],
    }
    session.acknowledged()
    assert not session.has_news(before)


def test_refused_report_leaves_no_doubt() -> None:
    session = session_that_said(state(a=PENDING))
    session.next_report(state(a=PROGRAMMED))
    session.refused()
    assert not session.has_news(state(a=PENDING))


def test_controller_that_knows_nothing_is_told_everything() -> None:
    known = state("CV1", a=PENDING)
    session = session_that_said(known)
    session.next_report(known)
    session.refused(send_full=True)
    report = session.next_report(known)
    assert report.full
    assert said(report) == {"objects": ["a pending"], "findings": ["CV1"]}


def test_every_report_has_a_number_of_its_own_and_its_base_is_an_acknowledged_one() -> None:
    session = session_that_said(state())
    numbers = []
    for _ in range(3):
        report = session.next_report(state())
        numbers.append((report.sequence, report.base))
        session.unanswered()
    assert numbers == [(2, 1), (3, 1), (4, 1)]
