"""What an agent tells the controller, and what it is answered (``POST /v1/reports``, JSON).

A session is one run of an agent. Its first report is full: everything the node has to say. Those
after it are deltas: ``objects`` and ``findings`` are new or changed, ``removed`` and ``resolved``
are no more. ``sequence`` counts what a session has sent, from 1, and ``base`` is the number of the
acknowledged report that a delta starts from. A delta covers all that was sent since its base, for
what was sent and not answered may have arrived or not: it fits whatever of it has.

Unknown fields are ignored on both sides, so that agents and controller of neighbouring versions
understand each other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self

import msgspec

from culvert.model.finding import Finding

REPORTS_PATH = "/v1/reports"

TOKEN_AUDIENCE = "culvert-controller"
"""The audience of the tokens that agents show; another's token is refused."""

MAX_REPORT_BYTES = 16 << 20
"""Of one report. An object takes about 200 bytes, a finding about 400."""

MAX_FINDINGS_PER_NODE = 1000
"""More are not reported: a cluster with so many has one cause, which is among the first."""

MAX_HEARTBEAT_SECONDS = 60.0
"""A node with nothing to say says so at least this often; the controller may ask for more."""

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

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """A finding, as it is reported."""
        return cls(
            finding.code,
            finding.subject,
            finding.field,
            finding.message,
            finding.remedy,
            finding.severity.value,
        )


class NodeReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One report. A full one has base 0 and neither ``removed`` nor ``resolved``."""

    node: str
    session_id: str
    sequence: int
    base: int = 0
    objects: tuple[ObjectReport, ...] = ()
    findings: tuple[ReportedFinding, ...] = ()
    removed: tuple[ObjectId, ...] = ()
    resolved: tuple[ReportedFinding, ...] = ()

    @property
    def full(self) -> bool:
        """Whether it is all that the node has to say."""
        return self.base == 0


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer 200: the report was taken, and how often to report from now on.

    ``spread_seconds`` is over how long the nodes are asked to spread what they report of one event,
    which all of them see at the same moment; ``heartbeat_seconds`` how long at most a node with
    nothing to say keeps silent.
    """

    spread_seconds: float
    heartbeat_seconds: float


def server_name(namespace: str, service: str) -> str:
    """The name in the certificate of the controller's Service."""
    return f"{service}.{namespace}.svc"
