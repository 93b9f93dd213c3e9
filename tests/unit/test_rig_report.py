"""What load clients count."""

from __future__ import annotations

import json

from culvert.rig.workloads.latency import LatencyHistogram
from culvert.rig.workloads.report import Report
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(1e-5, 100.0), min_size=1, max_size=200), st.floats(1.0, 100.0))
def test_percentile_is_within_two_percent_of_a_recorded_latency(
    latencies: list[float], percent: float
) -> None:
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.record(latency)
    got = histogram.percentile_seconds(percent)
    assert got is not None
    assert any(abs(got - latency) <= 0.021 * latency for latency in latencies)
    below = sum(latency <= got * 1.021 for latency in latencies)
    assert below >= len(latencies) * percent / 100 - 1e-9


def test_summary_adds_the_intervals_up() -> None:
    report = Report()
    report.success(0.001, 10, "a")
    report.failure("reset")
    first = json.loads(report.interval_line(1.0))
    report.success(0.002, 5, "b")
    second = json.loads(report.interval_line(2.0))
    summary = json.loads(report.summary_line(2.0))
    assert (first["requests"], first["failures"], first["reasons"]) == (1, 1, {"reset": 1})
    assert (second["requests"], second["failures"]) == (1, 0)
    assert summary["requests"] == 2
    assert summary["failures"] == 1
    assert summary["bytes"] == 15
    assert summary["answers"] == {"a": 1, "b": 1}
    assert summary["requests_per_second"] == 1.0


def test_interval_without_a_success_has_no_percentiles() -> None:
    line = json.loads(Report().interval_line(1.0))
    assert (line["requests"], line["p50_ms"], line["p99_ms"]) == (0, None, None)
