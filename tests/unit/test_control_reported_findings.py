from __future__ import annotations

import pytest
from culvert.control import reported_findings
from culvert.control.reported_findings import ReportedFindings
from culvert.model.report import ReportedFinding


def finding(code: str) -> ReportedFinding:
    return ReportedFinding(code, "Service shop/web", "spec", "wrong", "mend it")


ONE, TWO = finding("CV1"), finding("CV2")


def test_finding_is_there_from_its_first_node_to_its_last() -> None:
    findings = ReportedFindings()
    findings.add(0, [ONE])
    findings.add(4000, [ONE])
    assert (list(findings), findings.slots_of(ONE)) == ([ONE], 1 << 4000 | 1)
    findings.remove(0, [ONE])
    assert (list(findings), findings.slots_of(ONE)) == ([ONE], 1 << 4000)
    findings.remove(4000, [ONE])
    assert (list(findings), findings.slots_of(ONE)) == ([], 0)


def test_each_node_with_a_finding_is_news_once_and_so_is_each_without_it() -> None:
    findings = ReportedFindings()
    assert [findings.add(slot, [ONE]) for slot in (0, 1, 1)] == [True, True, False]
    assert [findings.remove(slot, [ONE]) for slot in (0, 0, 1, 1)] == [True, False, True, False]


def test_node_has_what_it_reported_itself() -> None:
    findings = ReportedFindings()
    findings.add(1, [ONE, TWO])
    findings.add(2, [TWO])
    assert findings.of_slot(1) == [ONE, TWO]
    assert findings.of_slot(2) == [TWO]
    assert findings.of_slot(0) == []


def test_resolving_what_a_node_does_not_have_changes_nothing() -> None:
    findings = ReportedFindings()
    findings.add(1, [ONE])
    assert not findings.remove(2, [ONE, TWO])
    assert (list(findings), findings.slots_of(ONE)) == ([ONE], 1 << 1)


def test_further_findings_than_there_is_room_for_are_counted_and_known_ones_still_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reported_findings, "MAX_FINDINGS", 1)
    findings = ReportedFindings()
    findings.add(0, [ONE, TWO])
    findings.add(1, [ONE])
    assert findings.ignored == 1
    assert (list(findings), findings.slots_of(ONE)) == ([ONE], 0b11)
