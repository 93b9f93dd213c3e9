"""The status document: one value that the command line, the demo and the tests read."""

from __future__ import annotations

import msgspec


class FindingLine(msgspec.Struct, frozen=True):
    """One finding, as it is shown."""

    code: str
    severity: str
    subject: str
    field: str
    message: str
    remedy: str


class TypeStatus(msgspec.Struct, frozen=True):
    """One resource type of one proxy: how many resources it accepted and how many are under way."""

    type_url: str
    accepted: int
    pending: int
    rejected: int


class ProxyStatus(msgspec.Struct, frozen=True):
    """One connected proxy."""

    node_id: str
    synced: bool
    types: list[TypeStatus]


class MapStatus(msgspec.Struct, frozen=True):
    """How full one map is."""

    name: str
    entries: int
    max_entries: int


class VerdictCount(msgspec.Struct, frozen=True):
    """How often one decision was reached since the maps exist, and over how many payload bytes."""

    count: int
    bytes: int


class CaseLine(msgspec.Struct, frozen=True):
    """One case of the start-up self-test."""

    name: str
    passed: bool
    detail: str


class SourceStatus(msgspec.Struct, frozen=True):
    """Where the world comes from: ``manifests`` or ``kubernetes``, and how good the picture is.

    ``synced``: every kind has been read once. ``stale_since_seconds`` maps the kinds that are not
    followed now to the UNIX time since when; what was known of them stays in force. ``absent`` are
    kinds that the server does not have, ``errors`` the last failure of each kind that has one.
    """

    kind: str
    synced: bool
    stale_since_seconds: dict[str, float] = {}
    absent: list[str] = []
    errors: dict[str, str] = {}


class ReportStatus(msgspec.Struct, frozen=True):
    """What becomes of the reports to the controller.

    ``acknowledged_seconds`` is the UNIX time of the last that was taken; ``error`` says why the
    newest was not, empty where it was.
    """

    acknowledged_seconds: float | None = None
    error: str = ""


class CertificateStatus(msgspec.Struct, frozen=True):
    """The certificate of one identity; times are UNIX seconds, None where there is none yet."""

    identity: str
    begins_seconds: float | None = None
    ends_seconds: float | None = None


class RemarkStatus(msgspec.Struct, frozen=True):
    """How many connections a policy that refuses nothing matched.

    ``remark`` is ``audited``, or ``would_deny`` for a dry run; ``policy`` is namespace and name,
    empty where it is that no ALLOW policy matches.
    """

    remark: str
    policy: str
    count: int


class IdentityStatus(msgspec.Struct, frozen=True):
    """Identities of this node's pods, and the connections that are judged by them.

    Totals are since the agent started: certificates issued, refusals and failures by reason, and
    connections that were ended because policies changed.
    """

    trust_domain: str
    certificates: list[CertificateStatus]
    issued_total: int
    failures_total: dict[str, int]
    live_connections: int
    cut_total: int
    remarks: list[RemarkStatus] = []


class AgentStatus(msgspec.Struct, frozen=True):
    """Everything one agent knows of itself.

    ``ready`` means: the programs are attached, the maps hold what the newest world asks for, and
    every connected proxy has taken the matching configuration. ``generation`` counts worlds.
    ``captured_cgroup_ids`` are the pods that the maps hold. ``early_connections`` tells how many
    connections a pod made past the mesh before it was captured, under ``namespace/name``, for
    those that made any; the total is over all pods that were captured since the agent started.
    """

    node: str
    version: str
    ready: bool
    generation: int
    applied_generation: int
    capture: str
    acceleration: str
    acceleration_reason: str
    kernel: str
    source_sha256: str
    program_tags: dict[str, str]
    self_test: list[CaseLine]
    captured_cgroup_ids: list[int]
    proxy_listeners: int
    proxies: list[ProxyStatus]
    maps: list[MapStatus]
    verdicts: dict[str, VerdictCount]
    source: SourceStatus
    findings: list[FindingLine]
    reports: ReportStatus | None = None
    identities: IdentityStatus | None = None
    early_connections: dict[str, int] = {}
    early_connections_total: int = 0
