from __future__ import annotations

import pytest
from culvert.control.cadence import (
    HEARTBEATS_PER_SECOND,
    MIN_HEARTBEAT_SECONDS,
    REPORTS_PER_SECOND,
    heartbeat_seconds,
    spread_seconds,
)
from culvert.model.report import MAX_HEARTBEAT_SECONDS, SILENT_SECONDS


@pytest.mark.parametrize("nodes", [500, 1000, 5000])
def test_heartbeats_of_all_nodes_keep_to_their_rate(nodes: int) -> None:
    assert nodes / heartbeat_seconds(nodes) == HEARTBEATS_PER_SECOND


@pytest.mark.parametrize(
    ("nodes", "seconds"), [(0, MIN_HEARTBEAT_SECONDS), (100_000, MAX_HEARTBEAT_SECONDS)]
)
def test_heartbeats_are_neither_too_frequent_nor_too_rare(nodes: int, seconds: float) -> None:
    assert heartbeat_seconds(nodes) == seconds


def test_three_heartbeats_may_be_missed_before_a_node_counts_as_silent() -> None:
    assert 3 * MAX_HEARTBEAT_SECONDS < SILENT_SECONDS


def test_what_all_nodes_see_at_once_is_spread_and_one_node_does_not_wait() -> None:
    assert 5000 / spread_seconds(5000) == REPORTS_PER_SECOND
    assert spread_seconds(1) < 0.01
