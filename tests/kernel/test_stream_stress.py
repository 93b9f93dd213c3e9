"""Streams stay what they were sent as, while everything changes that may change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from culvert.redirect.abi import Verdict
from culvert.rig import leftovers

from tests.e2e.town import Town
from tests.kernel.stream_stress import NODE, Load, Route, StressReport, build, run, stress_town

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with stress_town() as made:
        yield made
    assert leftovers(made.rig.rig_id) == []


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("stream_stress"))


def intact(town: Town, binary: Path, route: Route, load: Load) -> StressReport:
    captured = town.verdict(NODE, "connect_redirected")
    report = run(town, binary, route, load)
    print(json.dumps(asdict(report), indent=2))
    assert report.failures == 0, report.problems
    assert report.connections >= load.connections
    assert report.verified_bytes >= load.bytes
    # Streams that never went one of the ways would prove nothing.
    assert report.redirected_bytes > report.verified_bytes // 20
    assert report.tcp_bytes > report.verified_bytes // 20
    for reason in (Verdict.SEND_TCP_OFF, Verdict.SEND_TCP_UNACKED, Verdict.SEND_TCP_PEER_UNREAD):
        assert report.sends[reason.name.lower()] > 0
    assert report.changes > 0
    through_proxy = town.verdict(NODE, "connect_redirected") - captured
    assert through_proxy == (report.connections if route is Route.PROXY else 0)
    return report


@pytest.mark.parametrize("route", Route)
def test_streams_are_intact_while_settings_and_programs_change(
    town: Town, binary: Path, route: Route
) -> None:
    load = Load(connections=400, bytes=200 << 20, mean_bytes=512 << 10)
    intact(town, binary, route, load)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_streams_and_twenty_gigabytes_are_intact(town: Town, binary: Path) -> None:
    load = Load(connections=5_000, bytes=10 << 30, parallel=24, mean_bytes=2 << 20, seed=2)
    for route in Route:
        intact(town, binary, route, load)
