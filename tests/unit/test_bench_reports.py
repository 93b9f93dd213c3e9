from __future__ import annotations

import msgspec
from culvert.control.aggregate import Aggregate
from culvert.model.conditions import NodeTally

from tests.bench.reports_document import render_reports
from tests.bench.reports_figures import PhaseFigures, Reports, from_json, to_json
from tests.bench.reports_nodes import (
    EDITED,
    FINDINGS,
    OBJECTS,
    change_report,
    full_report,
    heartbeat,
    node_name,
    token_of,
)

MEASURED = Reports(
    machine={"CPU": "a machine, 2 threads"},
    command="make bench",
    nodes=5000,
    objects=200,
    findings=5,
    phases=[
        PhaseFigures("a change", 5000, 280, 10.0, 4.0, 85 << 20, 0.25),
        PhaseFigures("a heartbeat", 5000, 125, 10.0, 5.0, 85 << 20),
    ],
    empty_bytes=79 << 20,
    full_bytes=84 << 20,
)


def test_rows_are_by_second_and_by_thousand_and_say_what_was_not_counted() -> None:
    lines = (render_reports(MEASURED)).splitlines()
    assert "| a change | 280 | 500 | 0.80 s | 85 MiB | 0.25 s |" in lines
    assert "| a heartbeat | 125 | 500 | 1.00 s | 85 MiB | – |" in lines


def test_figures_survive_json() -> None:
    assert from_json(to_json(MEASURED)) == MEASURED


def test_simulated_nodes_are_told_apart() -> None:
    assert len({(node_name(node), token_of(node)) for node in range(5000)}) == 5000


def test_simulated_reports_are_taken_and_follow_each_other() -> None:
    aggregate = Aggregate(0.0)
    for report_of, generation in ((full_report, 1), (change_report, 2), (heartbeat, 2)):
        for node in range(3):
            assert aggregate.take(report_of(node), 0.0)
        assert aggregate.tally(EDITED, generation) == NodeTally(3, 3)
    assert aggregate.object_count == OBJECTS == len(full_report(0).objects)
    assert len(aggregate.findings()) == FINDINGS


def test_everything_is_much_more_to_say_than_a_change() -> None:
    full, change = (len(msgspec.json.encode(one(0))) for one in (full_report, change_report))
    assert full > 50 * change
