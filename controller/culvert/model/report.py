"""What an agent tells the controller, and what it is answered (``POST /v1/reports``, JSON).

A session is one run of an agent. Its first report is full: everything the node has to say. Those
after it are deltas over what the controller acknowledged last: ``objects`` and ``findings`` are new
or changed, ``removed`` and ``resolved`` are no more. ``sequence`` counts the acknowledged reports
of a session from 1; a report that was not acknowledged is repeated or overtaken under its number.

Unknown fields are ignored on both sides, so that agents and controller of neighbouring versions
understand each other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

REPORTS_PATH = "/v1/reports"

TOKEN_AUDIENCE = "culvert-controller"
"""The audience of the tokens that agents show; another's token is refused."""

MAX_REPORT_BYTES = 16 << 20
"""Of one report. An object takes about 200 bytes, a finding about 400."""

MAX_FINDINGS_PER_NODE = 1000
"""More are not reported: a cluster with so many has one cause, which is among the first."""

HEARTBEAT_SECONDS = 60.0
"""A node with nothing to say says so this often."""

SILENT_SECONDS = 200.0
"""A node that has said nothing for so long, three heartbeats missed, counts as unknown."""


class ObjectState(StrEnum):
    """How far a node is with one generation of one object."""

    PROGRAMMED = "programmed"
    """The proxy has acknowledged, and the maps hold, all that carries it."""
    PENDING = "pending"
    REJECTED = "rejected"
    """The proxy refused a part of it, or the maps have no room."""
    UNNEEDED = "unneeded"
    """The node has seen it and has nothing to hold for it."""


class ObjectId(NamedTuple):
    """One object of ``culvert.dev`` in its life: created anew under its name, it is another."""

    kind: str
    namespace: str
    name: str
    uid: str


class ObjectReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far one node is with one object. ``message`` says why, if it was rejected."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    state: ObjectState
    message: str = ""

    @property
    def id(self) -> ObjectId:
        """Which object it is about."""
        return ObjectId(self.kind, self.namespace, self.name, self.uid)


class ReportedFinding(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """A finding of the agent's (``model.finding.Finding``)."""

    code: str
    subject: str
    field: str
    message: str
    remedy: str
    severity: str = "error"


class NodeReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One report. A full one has neither ``removed`` nor ``resolved``."""

    node: str
    session_id: str
    sequence: int
    full: bool = False
    objects: tuple[ObjectReport, ...] = ()
    findings: tuple[ReportedFinding, ...] = ()
    removed: tuple[ObjectId, ...] = ()
    resolved: tuple[ReportedFinding, ...] = ()


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of every answer but 204: what is wrong and what would be right.

    ``reason`` is for programs: ``Unauthenticated`` (401), ``Forbidden`` (403), ``SendFull`` (409),
    ``TooLarge`` (413), ``Unreadable`` (400), ``NotLeader`` and ``Unavailable`` (503).
    """

    reason: str
    message: str
