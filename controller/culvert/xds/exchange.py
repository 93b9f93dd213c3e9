"""The messages of a delta xDS stream as plain values, free of protobuf classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from culvert.model.desired import Resource

WILDCARD = "*"
"""The reserved name that subscribes to every resource of a type."""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """What a proxy says about one type: (N)ACK, change of interest, or what it already holds.

    ``initial_versions`` (resource name -> version) counts only in the first request for a type on
    a stream. ``error`` is the text of a NACK, ``None`` when there is none; it counts only together
    with ``response_nonce``.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    response_nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    """One push for one type. ``system_version`` is for humans reading a config dump."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    system_version: str = ""
