"""What the propagation part measured: values, and their form as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

ENDPOINTS_CHANGED = "an endpoint's readiness"
SERVICE_ADDED = "a new Service"
KINDS = (ENDPOINTS_CHANGED, SERVICE_ADDED)


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """A minute of changes at a steady rate.

    ``delays_seconds`` has one for each change but deletions; ``worlds`` is how many worlds the
    agent applied for them. CPU is that of user and kernel together; memory is resident, the agent's
    the most during the minute.
    """

    seconds: float
    changes: int
    delays_seconds: list[float]
    worlds: int
    agent_cpu_seconds: float
    envoy_cpu_seconds: float
    agent_peak_bytes: int
    envoy_bytes: int


@dataclass(frozen=True, slots=True)
class WorldFigures:
    """One size of world.

    ``sync_seconds`` is from the start of agent and Envoy, with the programs in the kernel already,
    until Envoy has acknowledged everything and the maps hold it; ``sync_cpu_seconds`` the agent's
    share. ``delays_seconds`` has, by kind of change, one for each: from the API's answer to the
    write until Envoy has acknowledged it and the maps hold it. Memory is resident, after the sync.
    """

    services: int
    endpoints: int
    nodes: int
    sync_seconds: float
    sync_cpu_seconds: float
    agent_bytes: int
    agent_peak_bytes: int
    envoy_bytes: int
    delays_seconds: dict[str, list[float]]
    under_load: UnderLoad


@dataclass(frozen=True, slots=True)
class Propagation:
    """One run: on what machine, by what command, and the worlds from small to large."""

    machine: dict[str, str]
    command: str
    worlds: list[WorldFigures]


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of the values that so many percent are not above (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values: nothing was measured")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def to_json(measured: Propagation) -> bytes:
    """As JSON, for people and programs alike."""
    return msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n"


def from_json(text: bytes) -> Propagation:
    """The inverse of ``to_json``.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.json.decode(text, type=Propagation)
