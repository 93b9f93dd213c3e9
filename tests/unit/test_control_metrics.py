"""What a controller's metrics show, while it leads and while it does not."""

from __future__ import annotations

from culvert.control.aggregate import Aggregate
from culvert.control.metrics import LeaderCollector
from culvert.model.report import NodeReport


def samples(aggregate: Aggregate | None) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for metric in LeaderCollector(lambda: aggregate).collect()
        for sample in metric.samples
    }


def test_one_that_does_not_lead_says_that_and_nothing_else() -> None:
    assert samples(None) == {"culvert_controller_leader": 0.0}


def test_leader_counts_the_nodes_and_those_that_fell_silent() -> None:
    aggregate = Aggregate(started_seconds=0.0)
    for number in range(3):
        report = NodeReport(node=f"node-{number}", session_id="s", sequence=1)
        assert aggregate.take(report, now_seconds=float(number))
    aggregate.expire(now_seconds=201.5)
    shown = samples(aggregate)
    assert shown["culvert_controller_leader"] == 1
    assert shown["culvert_controller_nodes"] == 3
    assert shown["culvert_controller_nodes_silent"] == 2
    assert shown["culvert_controller_ignoredobjects"] == 0
