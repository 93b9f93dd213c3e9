"""What the part about identities measured: values, and their form as JSON."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """One load on every way: values by way, in order of rounds. ``unit`` is of ``rate``."""

    table: str
    name: str
    unit: str
    rate: dict[str, list[float]]
    p50_ms: dict[str, list[float]]
    p99_ms: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Identities:
    """One run."""

    machine: dict[str, str]
    command: str
    rounds: int
    seconds: int
    rows: list[IdentityRow]


def to_json(measured: Identities) -> bytes:
    """As JSON, for people and programs alike."""
    return msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n"


def from_json(text: bytes) -> Identities:
    """The inverse of ``to_json``.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.json.decode(text, type=Identities)
