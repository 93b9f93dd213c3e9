from __future__ import annotations

import pytest
from culvert.control import reported_findings
from culvert.control.reported_findings import ReportedFindings
from culvert.model.report import ReportedFinding


def finding(code: str) -> ReportedFinding:
    return ReportedFinding(code, "Service shop/web", "spec", "wrong", "mend it")


ONE, TWO = finding("CV1"), finding("CV2")


def test_finding_is_new_with_its_first_node_and_gone_with_its_last() -> None:
    findings = ReportedFindings()
    assert findings.add(0, [ONE])
    assert not findings.add(4000, [ONE])
    assert list(findings) == [(ONE, 2, 0)]
    assert not findings.remove(0, [ONE])
    assert list(findings) == [(ONE, 1, 4000)]
    assert findings.remove(4000, [ONE])
    assert list(findings) == []


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
    assert list(findings) == [(ONE, 1, 1)]


def test_further_findings_than_there_is_room_for_are_counted_and_known_ones_still_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reported_findings, "MAX_FINDINGS", 1)
    findings = ReportedFindings()
    findings.add(0, [ONE, TWO])
    findings.add(1, [ONE])
    assert findings.ignored == 1
    assert list(findings) == [(ONE, 2, 0)]
