from __future__ import annotations

import pytest
from culvert.control import reported_findings
from culvert.control.reported_findings import FEW_NODES, ReportedFindings
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


def test_each_of_the_first_few_nodes_with_a_finding_is_news_and_further_ones_are_not() -> None:
    findings = ReportedFindings()
    slots = range(FEW_NODES + 3)
    assert [findings.add(slot, [ONE]) for slot in slots] == [slot < FEW_NODES for slot in slots]
    assert not findings.add(0, [ONE]), "it said so before"
    assert not findings.remove(len(slots), [ONE]), "it never had it"
    left = [FEW_NODES + 2 - slot for slot in slots]
    assert [findings.remove(slot, [ONE]) for slot in slots] == [few < FEW_NODES for few in left]


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
