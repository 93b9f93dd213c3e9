"""How often nodes report, by how many there are; pure."""

from __future__ import annotations

from culvert.model.report import MAX_HEARTBEAT_SECONDS

HEARTBEATS_PER_SECOND = 100
REPORTS_PER_SECOND = 250
"""About a fourth of what one process can take in; see ``make bench ARGS="--part reports"``.

Each comes by a connection of its own, and most of its cost is the handshake.
"""
MIN_HEARTBEAT_SECONDS = 5.0


def heartbeat_seconds(nodes: int) -> float:
    """How long at most a node keeps silent. A new leader knows of all nodes after this long."""
    return min(MAX_HEARTBEAT_SECONDS, max(MIN_HEARTBEAT_SECONDS, nodes / HEARTBEATS_PER_SECOND))


def spread_seconds(nodes: int) -> float:
    """Over how long nodes spread what they all have to say at once."""
    return nodes / REPORTS_PER_SECOND
