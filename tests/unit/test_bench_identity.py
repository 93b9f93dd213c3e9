from __future__ import annotations

from tests.bench.identity_document import render_identities
from tests.bench.identity_figures import Identities, IdentityRow, from_json, to_json

RATE = {"direct": [400.0, 400.0], "sidecars": [100.0, 100.0], "mutual": [300.0, 200.0]}
MEASURED = Identities(
    machine={"CPU": "a machine, 2 threads"},
    command="make bench",
    rounds=2,
    seconds=1,
    rows=[
        IdentityRow("cross", "HTTP", "requests/s", RATE, {"mutual": [1.0, 2.0]}, {"mutual": [3.0]}),
        IdentityRow("handshakes", "TLS handshakes", "handshakes/s", {"mutual": [9.0]}, {}, {}),
    ],
)


def test_ratios_are_within_rounds_and_what_was_not_measured_is_left_out() -> None:
    lines = render_identities(MEASURED).splitlines()
    assert "| HTTP | 400 | 100 | 250 | **2.50** | – |" in lines
    assert "| HTTP | – | – | 1.5 / 3 |" in lines
    assert "| TLS handshakes | 9 | – |" in lines


def test_figures_come_back_from_their_file() -> None:
    assert from_json(to_json(MEASURED)) == MEASURED
