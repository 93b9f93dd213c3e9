"""What an upgrade from the first version of the chart leaves as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chart.matrix import VALUES
from tests.chart.test_render import of_kind, rendered

FIRST = Path(__file__).parent / "first" / "culvert-0.1.0.tgz"
KNOWN_THEN = [
    "defaults",
    "named otherwise",
    "bare",
    "own account",
    "by digest",
    "mesh config",
    "other nodes",
    "switches",
]
"""Sets of values that the first version takes too."""


@pytest.mark.parametrize("name", KNOWN_THEN)
def test_upgrade_from_the_first_version_leaves_the_pods_of_envoy_as_they_are(name: str) -> None:
    before = of_kind(rendered(*VALUES[name], chart=FIRST), "DaemonSet", "-proxy")
    after = of_kind(rendered(*VALUES[name]), "DaemonSet", "-proxy")
    assert before["metadata"]["labels"] != after["metadata"]["labels"]
    assert before["spec"]["template"] == after["spec"]["template"]
